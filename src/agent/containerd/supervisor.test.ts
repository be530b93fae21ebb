import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { setLogSink } from '../../base/log.ts'
import { containerConfig, runtimeSuite, sandboxConfig } from '../../../test/suites/runtime.ts'
import { cannotRunContainers, Instance, powerLoss } from '../../../test/kit/containerd.ts'
import { instancePids } from './process.ts'

const skip = cannotRunContainers()
const RUNS = 'docker.io/library/runs:1'
const EXITS3 = 'docker.io/library/exits3:1'
const STUBBORN = 'docker.io/library/stubborn:1'

if (skip) test('real containerd', { skip }, () => {})
else {
  setLogSink(() => {})
  runtimeSuite('containerd', async () => {
    const instance = await Instance.make('suite', '10.199.1.0/24')
    await instance.boot()
    assert.deepEqual(await instance.image(RUNS, 'trap "exit 0" TERM; nc -ll -p 7 -e cat & while :; do sleep 0.05; done'), [RUNS])
    await instance.image(EXITS3, 'exit 3')
    await instance.image(STUBBORN, 'trap "" TERM; : > /ready; while :; do sleep 1; done')
    return {
      runtime: instance.own.runtime,
      images: { runs: RUNS, exits3: EXITS3, stubborn: STUBBORN },
      isStubborn: async (id) => assert.equal((await instance.own.runtime.streams.execSync(id, ['/bin/sh', '-c', 'until [ -e /ready ]; do sleep 0.02; done'], 30)).exitCode, 0),
      ...instance.place(),
      close: () => instance.remove(),
    }
  })

  describe('our own containerd', () => {
    let i: Instance
    before(async () => {
      i = await Instance.make('own', '10.199.2.0/24')
      await i.boot()
      await i.image(RUNS, 'echo hello; exec sleep 1000')
    })
    after(() => i.remove())

    test('an exec ends its stdin, has a terminal of the size asked for, and says when there is no such program', async () => {
      const { sandbox, id } = await i.pod(RUNS)
      const { streams } = i.own.runtime
      const cat = await streams.exec(id, ['/bin/sh', '-c', 'cat; echo end'], { stdin: true, tty: false })
      cat.stdin?.write('one ')
      cat.stdin?.end('two\n')
      let out = ''
      cat.stdout.on('data', (d) => (out += String(d)))
      assert.equal(await cat.exit, 0)
      assert.equal(out, 'one two\nend\n')
      const tty = await streams.exec(id, ['/bin/sh', '-c', 'sleep 0.2; busybox stty size'], { stdin: true, tty: true })
      tty.resize(100, 40)
      let size = ''
      tty.stdout.on('data', (d) => (size += String(d)))
      assert.equal(await tty.exit, 0)
      assert.equal(size.trim(), '40 100')
      await assert.rejects(streams.exec(id, ['/nope'], { stdin: false, tty: false }), /no such file or directory/)
      const killed = await streams.exec(id, ['/bin/sleep', '100'], { stdin: false, tty: false })
      killed.close()
      assert.equal(await killed.exit, 137)
      await i.own.runtime.sandboxes.remove(sandbox)
    })

    test('writes the log where it was told, in the CRI format', async () => {
      const config = sandboxConfig(i.place())
      await mkdir(join(config.logDirectory, 'main'), { recursive: true })
      const sandbox = await i.own.runtime.sandboxes.run(config)
      const id = await i.own.runtime.containers.create(sandbox, containerConfig(RUNS), config)
      await i.own.runtime.containers.start(id)
      const file = join(config.logDirectory, 'main/0.log')
      for (let tries = 0; !readFileSync(file, 'utf8').includes('hello') && tries < 100; tries++) await new Promise((r) => setTimeout(r, 20))
      assert.match(readFileSync(file, 'utf8'), /^\S+T\S+ stdout F hello\n/)
      await i.own.runtime.sandboxes.remove(sandbox)
    })

    test('outlives the agent and is taken over by the next one', async () => {
      const { sandbox, id } = await i.pod(RUNS)
      const pids = instancePids(i.own.paths, true)
      await i.leave()
      assert.deepEqual(instancePids(i.own.paths, true).sort(), pids.sort())
      await i.boot()
      assert.equal(i.own.adopted, true)
      assert.equal((await i.own.runtime.containers.inspect(id)).state, 'running')
      await i.own.runtime.sandboxes.remove(sandbox)
    })

    test('is started again when it dies, and the pods never notice', async () => {
      const { sandbox, id } = await i.pod(RUNS)
      const before = JSON.parse(readFileSync(i.own.paths.pidFile, 'utf8')) as { pid: number }
      process.kill(before.pid, 'SIGKILL')
      const up = async (): Promise<boolean> => {
        const now = JSON.parse(readFileSync(i.own.paths.pidFile, 'utf8')) as { pid: number }
        return now.pid !== before.pid && (await i.own.runtime.status().then((s) => s.ready, () => false))
      }
      for (let tries = 0; !(await up()); tries++) {
        assert.ok(tries < 200, 'containerd is back within 10 s')
        await new Promise((r) => setTimeout(r, 50))
      }
      assert.equal((await i.own.runtime.containers.inspect(id)).state, 'running')
      assert.equal((await i.own.runtime.streams.execSync(id, ['/bin/sh', '-c', 'exit 7'], 5)).exitCode, 7)
      await i.own.runtime.sandboxes.remove(sandbox)
    })

    test('comes up after a power loss with stale records, and makes pods at once', async () => {
      const lost = await i.pod(RUNS)
      await i.leave()
      await powerLoss(i.own.paths)
      const start = performance.now()
      await i.boot()
      assert.equal(i.own.adopted, false)
      assert.equal((await i.own.runtime.containers.inspect(lost.id)).state, 'exited')
      assert.equal((await i.own.runtime.sandboxes.list()).find((s) => s.id === lost.sandbox)?.state, 'not-ready')
      const fresh = await i.pod(RUNS)
      assert.equal((await i.own.runtime.containers.inspect(fresh.id)).state, 'running')
      assert.ok(performance.now() - start < 10_000, 'within 10 s')
      await i.own.runtime.sandboxes.remove(lost.sandbox)
      assert.equal((await i.own.runtime.sandboxes.ips(fresh.sandbox)).length, 1, 'the removal of the lost pod left the new one its address')
      await i.own.runtime.sandboxes.remove(fresh.sandbox)
    })

    test('damaged records are moved aside, and images come back from what is left', async () => {
      const { root } = i.own.paths
      const meta = join(root, 'io.containerd.metadata.v1.bolt/meta.db')
      const snapshots = join(root, 'io.containerd.snapshotter.v1.overlayfs/metadata.db')
      const damages: [string, () => Promise<void>][] = [
        ['garbage', () => writeFile(meta, Buffer.alloc(statSync(meta).size, 0xa5))],
        ['emptied', () => truncate(meta)],
        ['torn pages', () => writeFile(meta, readFileSync(meta).fill(0x5a, 8192))],
        ['snapshots lost', () => writeFile(snapshots, Buffer.alloc(statSync(snapshots).size, 0xa5))],
      ]
      for (const [name, damage] of damages) {
        await i.leave()
        await powerLoss(i.own.paths)
        await damage()
        const messages: string[] = []
        const former = setLogSink((r) => void messages.push(`${r.level} ${r.message}`))
        try {
          await i.boot()
        } finally {
          setLogSink(former)
        }
        assert.ok(messages.some((m) => m.startsWith('error containerd records are damaged')), `${name}: ${messages.join('\n')}`)
        assert.ok(existsSync(`${root}.damaged`))
        const { sandbox, id } = await i.pod(RUNS)
        assert.equal((await i.own.runtime.containers.inspect(id)).state, 'running', name)
        await i.own.runtime.sandboxes.remove(sandbox)
      }
    })

    test('asks the mirror first, and says so plainly when nobody has the image', async () => {
      const asked: string[] = []
      const server: Server = createServer((request, response) => {
        asked.push(request.url ?? '')
        response.writeHead(404).end()
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      try {
        await i.own.setMirror(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
        await assert.rejects(i.own.runtime.images.pull('localhost:1/team/app:1', undefined), /app:1/)
        assert.ok(asked.some((u) => u.startsWith('/v2/team/app/manifests/1?ns=localhost')), asked.join(' '))
        await assert.rejects(i.own.runtime.images.pull('localhost:1/x:1', undefined, AbortSignal.abort()), (e: Error) => e.name === 'AbortError')
      } finally {
        await i.own.setMirror(undefined)
        server.close()
      }
    })

    test('a missing archive is named', async () => {
      await assert.rejects(i.own.importImage('/nowhere/app.tar'), (e) => hasCode(e, 'not-found') && /\/nowhere\/app\.tar/.test(String(e)))
    })
  })
}
