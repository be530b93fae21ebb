import assert from 'node:assert/strict'
import { mkdtemp, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createSeal } from '../../agent/seal/sealing.ts'
import { FakeClock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { setLogSink } from '../../base/log.ts'
import { createCa, createKey, issue, publicKeyOf } from '../../base/pki.ts'
import { FakeRuntime } from '../../cri/mod.ts'
import { RevokedError, type renewCertificate } from '../../tunnel/mod.ts'
import { loadNodeIdentity, type NodeIdentity } from './node-identity.ts'
import { Renewal } from './renewal.ts'
import { beginWipe, isWiping, wipePods, wipeStore } from './revoked.ts'

setLogSink(() => {})
const SEAL = createSeal(Buffer.alloc(32, 3))

async function setUp(days: number): Promise<{ dir: string; clock: FakeClock; identity: NodeIdentity; fresh: string }> {
  const clock = new FakeClock()
  const [ca, key] = await Promise.all([createCa({ cn: 'ca', years: 10, now: clock.now() }), createKey()])
  const sign = (d: number): Promise<string> => issue({ ca, publicKeyPem: key.publicKeyPem, cn: 'system:node:n', usage: 'client', days: d, now: clock.now() })
  const identity: NodeIdentity = { node: 'n', server: 'https://s:6443', keyPem: key.keyPem, certPem: await sign(days), caPem: ca.certPem, config: { clusterCidr: '', serviceCidr: '', version: '' } }
  return { dir: await mkdtemp(join(tmpdir(), 'skerry-renewal-')), clock, identity, fresh: await sign(365) }
}

test('a certificate is renewed in time, and at once when the server refuses it, though not in a storm', async () => {
  const { dir, clock, identity, fresh } = await setUp(365)
  const stop = new AbortController()
  try {
    let now = identity
    let asked = 0
    let away = true
    const renew: typeof renewCertificate = async () => {
      asked++
      if (away) throw new AppError('unavailable', 'away')
      return { certPem: fresh, keyPem: identity.keyPem, caPem: identity.caPem, config: {} }
    }
    const reset = Promise.withResolvers<void>()
    const renewal = new Renewal({ identity: () => now, server: () => now.server, paths: dir, seal: SEAL, clock, proxy: () => undefined, session: { reset: () => reset.resolve() }, keep: (next) => (now = next), renew })
    const done = renewal.run(stop.signal)
    const settle = async (): Promise<void> => {
      for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
    }
    await settle()
    assert.equal(asked, 0, 'a fresh certificate is left alone')
    for (let i = 0; i < 5; i++) {
      renewal.now()
      await settle()
    }
    assert.equal(asked, 1, 'a server that goes on refusing is not stormed')
    away = false
    await clock.advance(61_000)
    renewal.now()
    await reset.promise
    assert.equal(now.certPem, fresh)
    assert.equal((await loadNodeIdentity(dir, SEAL))?.certPem, fresh)
    stop.abort()
    await assert.rejects(done, { name: 'AbortError' })
  } finally {
    stop.abort()
    await rm(dir, { recursive: true })
  }
})

test('another CA of the cluster is learnt, with a certificate of it, when a server is connected', async () => {
  const { dir, clock, identity } = await setUp(365)
  const stop = new AbortController()
  try {
    const next = await createCa({ cn: 'next', years: 10, now: clock.now() })
    const byNext = await issue({ ca: next, publicKeyPem: publicKeyOf(identity.keyPem), cn: 'system:node:n', usage: 'client', days: 365, now: clock.now() })
    let [told, now, asked]: [string | undefined, NodeIdentity, number] = [undefined, identity, 0]
    let [certPem, renewed] = [identity.certPem, Promise.withResolvers<void>()]
    const looks = [Promise.withResolvers<void>()]
    const renew: typeof renewCertificate = async () => {
      asked++
      return { certPem, keyPem: identity.keyPem, caPem: told ?? '', config: {} }
    }
    let broken = false
    const cas = async (): Promise<string | undefined> => {
      looks.at(-1)?.resolve()
      if (broken) throw new AppError('unavailable', 'the line has just come back')
      return told
    }
    const renewal = new Renewal({ identity: () => now, server: () => now.server, paths: dir, seal: SEAL, clock, proxy: () => undefined, session: { reset: () => renewed.resolve() }, keep: (n) => (now = n), renew, cas })
    const done = renewal.run(stop.signal)
    const look = async (): Promise<void> => {
      looks.push(Promise.withResolvers())
      await new Promise((resolve) => setImmediate(resolve))
      renewal.look()
      await looks.at(-1)?.promise
      await new Promise((resolve) => setImmediate(resolve))
    }
    await look()
    told = identity.caPem
    await look()
    assert.equal(asked, 0, 'nothing is new')
    // One that is only trusted so far, and then signs.
    told = identity.caPem + next.certPem
    await look()
    await renewed.promise
    assert.equal(now.caPem, told)
    await look()
    assert.equal(asked, 1)
    renewed = Promise.withResolvers()
    told = next.certPem + identity.caPem
    certPem = byNext
    // A look that fails is made again, also when nobody asks for it.
    broken = true
    await look()
    broken = false
    await clock.advance(20_000)
    await renewed.promise
    assert.deepEqual([now.certPem, now.caPem, asked], [byNext, told, 2])
    await look()
    assert.equal(asked, 2)
    stop.abort()
    await assert.rejects(done, { name: 'AbortError' })
  } finally {
    stop.abort()
    await rm(dir, { recursive: true })
  }
})

test('a revoked node ends with the reason; a server that is away does not', async () => {
  const { dir, clock, identity } = await setUp(365)
  try {
    const renewal = new Renewal({ identity: () => identity, server: () => identity.server, paths: dir, seal: SEAL, clock, proxy: () => undefined, session: { reset: () => {} }, keep: () => {}, renew: async () => { throw new RevokedError('it was revoked') } })
    const done = renewal.run(new AbortController().signal)
    renewal.now()
    await assert.rejects(done, RevokedError)
  } finally {
    await rm(dir, { recursive: true })
  }
})

test('a wipe ends pods and containerd and leaves nothing; cut short, it is known', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-wipe-'))
  try {
    const dirs = { data: join(dir, 'data'), run: join(dir, 'run') }
    for (const d of ['tokens', 'stash', 'pods/u1/volumes/v', 'containerd/content', 'local-api']) {
      await mkdir(join(dirs.data, 'agent', d), { recursive: true })
      await writeFile(join(dirs.data, 'agent', d, 'x'), 'secret')
    }
    await writeFile(join(dirs.data, 'agent/identity.json'), '{}')
    await mkdir(join(dirs.run, 'pods/u1/volumes/token'), { recursive: true })
    await beginWipe(dirs.data, 'revoked')
    assert.ok(isWiping(dirs.data))
    const runtime = new FakeRuntime({ clock: new FakeClock(), images: { app: {} } })
    const security = { privileged: false, runAsUser: undefined, runAsUserName: undefined, runAsGroup: undefined, supplementalGroups: [], readOnlyRoot: false, noNewPrivileges: false, addCapabilities: [], dropCapabilities: [], seccomp: '', maskedPaths: undefined, readonlyPaths: undefined }
    await runtime.sandboxes.run({ name: 'p', namespace: 'd', uid: 'u1', attempt: 0, hostname: '', logDirectory: '', dns: undefined, portMappings: [], labels: {}, annotations: {}, cgroupParent: '', hostNetwork: false, hostPID: false, hostIPC: false, sharePID: false, sysctls: {}, runtimeHandler: '', security })
    let ended = 0
    await wipePods({ runtime, stop: async () => void ended++ })
    assert.deepEqual([await runtime.sandboxes.list(), ended], [[], 1])
    await wipeStore(dirs)
    assert.deepEqual(await readdir(join(dirs.data, 'agent')), [])
    assert.deepEqual(await readdir(dirs.run), [])
    assert.ok(!isWiping(dirs.data))
  } finally {
    await rm(dir, { recursive: true })
  }
})
