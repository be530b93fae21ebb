/** A server whose disk has no room left: writes are refused with the reason, reads go on, it lives, starts again, and writes when there is room. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { KUBECTL, run, Site, type Ran, type Running } from '../kit/processes.ts'
import { until } from '../kit/until.ts'

const PORT = 7896
const NAME = 'et-server-disk'
const skip = process.getuid?.() !== 0 ? 'needs root, for a small file system' : !existsSync(KUBECTL) && 'kubectl is missing: script/bootstrap --tests'

describe('a server whose disk is full', { skip }, () => {
  let site: Site
  let server: Running
  let data = ''
  const kubectl = (...args: string[]): Promise<Ran> => run(KUBECTL, [...args, '--request-timeout=20s'], { env: { ...process.env, HOME: site.dir, KUBECONFIG: join(site.dir, 'admin.kubeconfig') } })
  const start = async (): Promise<void> => {
    server = await site.startServer('--write-kubeconfig', join(site.dir, 'admin.kubeconfig'))
  }
  const create = (name: string): Promise<Ran> => kubectl('create', 'configmap', name, `--from-file=data=${join(site.dir, 'data')}`)
  /** Not one page is left. */
  const fill = (): void => {
    spawnSync('dd', ['if=/dev/zero', `of=${join(data, 'ballast')}`, 'bs=4k', 'oflag=append', 'conv=notrunc'], { stdio: 'ignore' })
    assert.equal(statfsSync(data).bavail, 0)
  }

  before(async () => {
    spawnSync('umount', ['-l', `/tmp/${NAME}/server`], { stdio: 'ignore' }) // What an earlier run left.
    site = await Site.create({ name: NAME, port: PORT })
    data = site.serverData
    mkdirSync(data, { recursive: true })
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=700', NAME, data]).status, 0)
    writeFileSync(join(site.dir, 'data'), 'x'.repeat(200_000))
    await start()
    await until('the server has kept room aside', () => (statSync(join(data, 'server/reserve'), { throwIfNoEntry: false })?.size ?? 0) === 4 << 20)
  })
  after(async () => {
    await server?.end('SIGKILL')
    spawnSync('umount', ['-l', data], { stdio: 'ignore' })
    await site?.close()
  })

  test('writes are refused with the reason, what is there is read, and the server lives', { timeout: 240_000 }, async () => {
    assert.equal((await create('before')).code, 0)
    fill()
    // The log beside the database may have room of its own for some more.
    let n = 0
    const refused = await until('a write to be refused', async () => {
      const r = await create(`more-${n++}`)
      return r.code !== 0 && r
    }, 120_000)
    assert.match(refused.err, /write store .*: database or disk is full; free disk space, writes then go on by themselves/)
    for (let i = 0; i < 5; i++) {
      assert.equal((await kubectl('get', 'configmap', 'before', '-o', 'jsonpath={.metadata.name}')).out, 'before')
      assert.notEqual((await create('still')).code, 0)
    }
    const list = await kubectl('get', 'configmaps', '-o', 'name')
    assert.equal(list.out.split('\n').filter((l) => l.includes('more-')).length, n - 1, 'what was acknowledged is there, what was refused is not')
  })

  test('it writes again when there is room, without a restart', { timeout: 120_000 }, async () => {
    rmSync(join(data, 'ballast'))
    await until('a write', async () => (await create('after')).code === 0, 60_000)
    assert.equal(await server.end(), 0, 'it ended well')
  })

  test('killed and started on the full disk it reads, refuses writes with the reason, and has all that was acknowledged', { timeout: 240_000 }, async () => {
    await start()
    fill()
    const kept = ['before', 'after']
    const refused = /database or disk is full; free disk space, writes then go on by themselves/
    /** Writes until the disk has refused one. */
    const untilRefused = async (name: string): Promise<void> => {
      const told = await until('a write to be refused', async () => {
        const r = await create(`${name}-${kept.length}`)
        if (r.code === 0) kept.push(`${name}-${kept.length}`)
        return r.code !== 0 && r
      }, 120_000)
      assert.match(told.err, refused)
    }
    const seen = async (): Promise<void> => {
      assert.equal((await kubectl('get', 'configmap', 'before', '-o', 'jsonpath={.metadata.name}')).out, 'before')
      const names = (await kubectl('get', 'configmaps', '-o', 'name')).out
      assert.deepEqual(kept.filter((name) => !names.includes(`configmap/${name}\n`)), [])
    }
    await untilRefused('late')
    for (const signal of ['SIGKILL', 'SIGKILL', 'SIGTERM'] as const) {
      await server.end(signal)
      fill()
      await start()
      assert.equal(statfsSync(data).bavail, 0, 'what it kept aside for its start it has taken back')
      await seen()
      await untilRefused(signal.toLowerCase())
    }
    rmSync(join(data, 'ballast'))
    await until('a write', async () => (await create('last')).code === 0, 60_000)
    kept.push('last')
    assert.equal(await server.end(), 0)
    await start()
    await seen()
    assert.equal(await server.end(), 0)
  })

  test('with nothing kept aside it says so and ends; with room again it has all', { timeout: 120_000 }, async () => {
    rmSync(join(data, 'server/reserve'))
    fill()
    const told = await site.skerry('server', '--no-agent', '--bind-address', '127.0.0.1', '--port', String(PORT))
    assert.equal(told.code, 1)
    assert.match(told.err, /takes no more \(ENOSPC\): what is stored is whole; free disk space and start again|database or disk is full/)
    rmSync(join(data, 'ballast'))
    await start()
    for (const name of ['before', 'after', 'last']) assert.equal((await kubectl('get', 'configmap', name, '-o', 'jsonpath={.metadata.name}')).out, name)
    assert.equal((await create('again')).code, 0)
  })
})
