import assert from 'node:assert/strict'
import { appendFile, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { FakeClock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import { FakeRuntime } from '../cri/mod.ts'
import { NodeImages } from './node-images.ts'

const told: string[] = []
const never = new AbortController().signal
/** Long ago, so that no file seems to be written to. */
const OLD = new Date(0)

describe('images brought to a node', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-node-images-'))
  after(() => rm(dir, { recursive: true, force: true }))
  setLogSink((entry) => void told.push(JSON.stringify(entry)))
  after(() => setLogSink(() => {}))

  const clock = new FakeClock()
  const runtime = new FakeRuntime({ clock, images: { app: {}, other: {}, listed: { present: false }, absent: { present: false } } })
  const tried: string[] = []
  const make = (): NodeImages =>
    new NodeImages({
      directory: join(dir, 'images'),
      record: join(dir, 'record.json'),
      runtime,
      clock,
      importArchive: async (path) => {
        tried.push(path.slice(path.lastIndexOf('/') + 1))
        if (path.includes('torn')) throw new AppError('corrupt', `import image "${path}": it is torn`)
        if (path.includes('nameless')) return []
        return [path.includes('app') ? 'app' : 'other']
      },
    })
  const put = async (name: string, text = 'x'): Promise<void> => {
    await writeFile(join(dir, 'images', name), text)
    await utimes(join(dir, 'images', name), OLD, OLD)
  }
  /** Lets time pass, and the disk answer, until it is so. */
  const pass = async (so: () => boolean): Promise<void> => {
    for (const end = performance.now() + 20_000; !so() && performance.now() < end; await sleep(2)) await clock.advance(10_000)
  }
  const start = async (): Promise<NodeImages> => {
    tried.length = 0
    told.length = 0
    const images = make()
    await images.start(never)
    return images
  }

  test('archives are imported once, kept, and no longer when their file is gone', async () => {
    await start()
    assert.deepEqual(await readdir(dir), ['images'], 'an empty directory is made, and nothing written down')
    await put('app.tar')
    await put('README.md')
    assert.deepEqual([(await start()).pinned(), tried], [['app'], ['app.tar']])
    assert.match(told.join(), /not an image archive \(\.tar, \.tar\.gz, \.tgz, \.tar\.zst\) nor a list of images \(\.txt\), left alone.*README\.md/)
    assert.deepEqual([(await start()).pinned(), tried], [['app'], []], 'a start imports nothing twice')
    await appendFile(join(dir, 'images/app.tar'), 'more')
    assert.deepEqual([(await start()).pinned(), tried], [['app'], ['app.tar']], 'another archive under the same name')
    await runtime.images.remove((await runtime.images.find('app'))?.id ?? '')
    await start()
    assert.deepEqual(tried, ['app.tar'], 'an image that somebody removed comes back')
    await runtime.images.pull('app', undefined)
    await rm(join(dir, 'images/app.tar'))
    assert.deepEqual((await start()).pinned(), [])
  })

  test('a torn archive is told once, does not hold up the others, and is taken when it is whole', async (t) => {
    await put('a-torn.tar')
    await put('b-other.tar.gz')
    t.after(() => Promise.all(['a-torn.tar', 'b-other.tar.gz'].map((f) => rm(join(dir, 'images', f)))))
    const images = await start()
    assert.deepEqual(images.pinned(), ['other'])
    assert.equal(told.filter((line) => /images not brought from the directory/.test(line) && /it is torn/.test(line)).length, 1, told.join('\n'))
    const stop = new AbortController()
    t.after(() => stop.abort())
    const running = images.run(stop.signal)
    await pass(() => tried.length >= 4)
    assert.deepEqual(tried.slice(0, 4), ['a-torn.tar', 'b-other.tar.gz', 'a-torn.tar', 'a-torn.tar'], 'tried again from time to time')
    assert.equal(told.filter((line) => /it is torn/.test(line)).length, 1, 'the same fault of the same bytes is told once')
    stop.abort()
    await running
  })

  test('a list is pulled after the start, and again until all of it is here', async (t) => {
    await put('list.txt', '# images of this site\nlisted\n\nno-such-image\n')
    const images = await start()
    assert.equal(await runtime.images.find('listed'), undefined, 'the start waits for no registry')
    const stop = new AbortController()
    t.after(() => stop.abort())
    const running = images.run(stop.signal)
    await pass(() => told.some((line) => /of 2 failed/.test(line)))
    assert.match(told.join(), /1 of 2 failed: line 4, \\"no-such-image\\"/)
    assert.ok(await runtime.images.find('listed'))
    await put('list.txt', 'listed\n')
    await pass(() => images.pinned().length > 0)
    assert.deepEqual(images.pinned(), ['listed'])
    stop.abort()
    await running
  })

  test('by hand: kept over a start, listed as such, removed by hand; what a file brings is not', async () => {
    await rm(join(dir, 'images/list.txt'))
    const images = await start()
    assert.deepEqual(await images.import('/somewhere/app.tar'), ['app'])
    await assert.rejects(images.import('/somewhere/nameless.tar'), /it names no image/)
    await put('other.tar')
    const next = await start()
    assert.deepEqual(next.pinned(), ['app', 'other'])
    assert.deepEqual((await next.list()).map((i) => [i.name, i.kept]), [['app', true], ['listed', false], ['other', true]])
    await assert.rejects(next.remove('other'), /it comes from ".*\/images\/other\.tar": remove that file first/)
    await assert.rejects(next.remove('nobody'), /it is not on this node/)
    await next.remove('app')
    assert.equal(await runtime.images.find('app'), undefined)
    assert.deepEqual((await start()).pinned(), ['other'])
  })
})
