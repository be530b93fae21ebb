/** `skerry store`, as a user runs it: a cluster goes to a file and back, from SQLite to etcd, and out of trouble with its disk. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { Etcd, noEtcd } from '../kit/etcd.ts'
import { KUBECTL, run, Site, SKERRY, type Ran } from '../kit/processes.ts'
import { until } from '../kit/until.ts'

const PORT = 7880
const ETCD_PORT = 7882
const noKubectl = existsSync(KUBECTL) ? false : 'kubectl is missing: script/bootstrap --tests'
let site: Site
let etcd: Etcd | undefined

before(async () => {
  site = await Site.create({ name: 'et-store', port: PORT })
  if (noEtcd === false) etcd = await Etcd.start(ETCD_PORT)
})
afterEach(async () => {
  await site.close()
  mkdirSync(join(site.dir, 'logs'), { recursive: true })
})
after(async () => {
  await site.close()
  await etcd?.stop()
})

const ok = (ran: Ran): string => {
  assert.equal(ran.code, 0, ran.err)
  return ran.out
}
function refused(ran: Ran, words: RegExp): void {
  assert.equal(ran.code, 1, ran.out)
  assert.match(ran.err, words)
  assert.doesNotMatch(ran.err, /^\s+at .*:\d+:\d+/m, 'no stack traces for users')
}
const note = async (name: string): Promise<string> => ok(await site.kubectl('create', 'configmap', name, '--from-literal=text=kept'))
const notes = async (): Promise<string> => ok(await site.kubectl('get', 'configmaps', '-o', 'name'))

test('mistakes of the store commands are named, with the way out', async () => {
  refused(await site.skerry('store', 'backup'), /name the file, as in `skerry store backup/)
  refused(await site.skerry('store', 'backup', '/tmp/et-store/x'), /no such file; give the --data-dir or the --store/)
  refused(await site.skerry('store', 'restore', '/tmp/et-store/none'), /restore backup "\/tmp\/et-store\/none": there is no such file/)
  refused(await site.skerry('store', 'compact'), /no such file; give the --data-dir/)
  refused(await site.skerry('store', 'move'), /name the etcd, as in `skerry store move --to/)
  refused(await site.skerry('store', 'move', '--to', 'sqlite'), /--to "sqlite" and --store "sqlite" are of one kind/)
  refused(await site.skerry('store', 'backup', 'x', '--store', 'etcd://127.0.0.1'), /names the member "127.0.0.1", expected host:port/)
  refused(await site.skerry('store', 'backup', '/tmp/et-store/x', '--store', 'etcd://127.0.0.1:7899'), /etcd at 127\.0\.0\.1:7899: .*check that it runs/)
})

test('a server comes back from a torn file by its backup', { skip: noKubectl, timeout: 60_000 }, async () => {
  const copy = join(site.dir, 'copy.backup')
  let server = await site.startServer()
  await note('before')
  assert.match(ok(await site.skerry('store', 'backup', copy)), /saved to .*server\/tls: keep a copy/)
  await note('later')
  refused(await site.skerry('store', 'restore', copy), /another process has it open; stop the other server/)
  assert.match(ok(await site.skerry('store', 'compact')), /compacted: .* MiB before, .* MiB now/, 'by the server that runs')
  await server.end()
  const file = join(site.serverData, 'server/state.db')
  truncateSync(file, statSync(file).size - 40_960)
  const torn = await site.skerry('server', '--no-agent', '--bind-address', '127.0.0.1', '--port', String(PORT))
  refused(torn, /state\.db.*skerry store restore/s)
  assert.equal(torn.err.trim().split('\n').filter((l) => /corrupt|does not check|malformed|skerry:/.test(l)).length, 1, torn.err)
  ok(await site.skerry('store', 'restore', copy))
  assert.match(ok(await site.skerry('store', 'compact')), /compacted: .* MiB before, .* MiB now/)
  server = await site.startServer()
  const kept = await notes()
  assert.match(kept, /configmap\/before/)
  assert.doesNotMatch(kept, /configmap\/later/)
})

test('a server moves from SQLite to etcd and keeps everything, with its CA', { skip: noEtcd || noKubectl, timeout: 90_000 }, async () => {
  const url = etcd?.url('/moved') ?? ''
  let server = await site.startServer()
  await note('old')
  refused(await site.skerry('store', 'move', '--to', url), /another process has it open; stop the other server/)
  await server.end()
  assert.match(ok(await site.skerry('store', 'move', '--to', url)), /moved \d+ objects; start the server with --store/)
  refused(await site.skerry('server', '--no-agent'), /it was moved to etcd: start with the same --store/)
  server = await site.startServer('--store', url)
  // The kubeconfig from before is good: same CA, same objects.
  assert.match(await notes(), /configmap\/old/)
  await note('new')
  const copy = join(site.dir, 'etcd.backup')
  ok(await site.skerry('store', 'backup', copy, '--store', url))
  assert.match(ok(await site.skerry('store', 'compact', '--store', url)), /compacted/)
  assert.match(await notes(), /configmap\/new/)
  refused(await site.skerry('store', 'restore', copy, '--store', url), /holds a store below "\/moved\/" already; name another one/)
  await server.end()
  const other = etcd?.url('/other') ?? ''
  ok(await site.skerry('store', 'restore', copy, '--store', other))
  server = await site.startServer('--store', other)
  assert.match(await notes(), /configmap\/new/)
  await server.end()
  // And back on SQLite, from the etcd itself and from the copy.
  assert.match(ok(await site.skerry('store', 'move', '--store', other, '--to', 'sqlite')), /moved \d+ objects to .*state\.db; start one server/)
  server = await site.startServer()
  assert.match(await notes(), /configmap\/new/)
  await server.end()
  refused(await site.skerry('store', 'move', '--store', other, '--to', 'sqlite'), /state\.db" is there already/)
  ok(await run(SKERRY, ['store', 'restore', copy, '--data-dir', site.serverData]))
  server = await site.startServer()
  assert.match(await notes(), /configmap\/new/)
})

const noMount = process.getuid?.() !== 0 ? 'needs root, to mount a small disk' : false

test('a full disk refuses writes with the reason while reads go on, and room is all it needs', { skip: noKubectl || noMount, timeout: 60_000 }, async () => {
  const small = site.serverData
  mkdirSync(small, { recursive: true })
  assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'et-small', small]).status, 0)
  let server = await site.startServer().catch((error: unknown) => {
    spawnSync('umount', [small])
    throw error
  })
  try {
    await note('first')
    const ballast = join(small, 'ballast')
    spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k'], { stdio: 'ignore' })
    writeFileSync(join(site.dir, 'big'), 'x'.repeat(600_000))
    let last = ''
    await until('a write is refused', async () => {
      const ran = await site.kubectl('create', 'configmap', `big-${Date.now()}`, `--from-file=${join(site.dir, 'big')}`)
      last = ran.err
      return ran.code !== 0
    })
    assert.match(last, /full|space/i)
    assert.match(await notes(), /configmap\/first/)
    assert.ok(server.runs)
    rmSync(ballast)
    await note('after')
    await server.end()
    server = await site.startServer()
    assert.match(await notes(), /configmap\/after/)
  } finally {
    await server.end('SIGKILL')
    assert.equal(spawnSync('umount', [small]).status, 0)
  }
})
