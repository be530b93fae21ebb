import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import type { PersistentVolume } from '../../api/gen/types.ts'
import { ANN_LOCAL_NODE, FINALIZER_LOCAL_PATH } from '../../api/volumes.ts'
import { FakeClock } from '../../base/clock.ts'
import { setLogSink } from '../../base/log.ts'
import { Scope } from '../../base/scope.ts'
import { FakeApi } from '../testing.ts'
import { LocalPath } from './local-path.ts'

setLogSink(() => {})

async function make(t: TestContext): Promise<{ api: FakeApi; clock: FakeClock; directory: string; volume: PersistentVolume; start: () => Promise<LocalPath>; held: () => boolean }> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-local-path-'))
  const scope = new Scope('test')
  t.after(async () => {
    await scope.close()
    await rm(directory, { recursive: true, force: true })
  })
  const [api, clock] = [new FakeApi(), new FakeClock()]
  const volume = api.put('persistentvolumes', { metadata: { name: 'v', uid: 'u', annotations: { [ANN_LOCAL_NODE]: 'n' } }, spec: { local: { path: join(directory, 'v') } } } as PersistentVolume) as PersistentVolume
  return {
    api, clock, directory, volume,
    async start() {
      const local = new LocalPath({ directory, nodeName: 'n', client: api.client, caches: api.caches, clock })
      await local.start(scope)
      return local
    },
    held: () => api.objects.get('persistentvolumes//v')?.metadata?.finalizers?.includes(FINALIZER_LOCAL_PATH) === true,
  }
}

/** Passes time until the state is there. */
async function pass(clock: FakeClock, state: () => boolean): Promise<void> {
  // The disk takes its own time.
  for (const end = Date.now() + 30_000; !state() && Date.now() < end; ) {
    clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(state())
}

test('a directory made while the server is away is held as soon as that is back', async (t) => {
  const { api, clock, volume, start, held, directory } = await make(t)
  const local = await start()
  api.away = true
  await local.ensure(volume)
  assert.deepEqual([existsSync(join(directory, 'v')), held()], [true, false])
  api.away = false
  await pass(clock, held)
})

test('an agent that finds such a directory at its start holds its volume too', async (t) => {
  const { clock, directory, start, held } = await make(t)
  await mkdir(join(directory, 'v'))
  await start()
  await pass(clock, held)
})

test('a volume without a directory yet is nobody’s to hold', async (t) => {
  const { clock, directory, start, held } = await make(t)
  await mkdir(join(directory, 'other'))
  await start()
  for (let i = 0; i < 30; i++) {
    clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(held(), false)
})

test('a volume that was deleted before its cut-off node could hold it takes its directory along, unless it is to be kept', async (t) => {
  for (const keep of [false, true]) {
    const { api, clock, volume, start, directory } = await make(t)
    const [path, asked] = [join(directory, 'v'), { ...volume, spec: { ...volume.spec, ...(keep && { persistentVolumeReclaimPolicy: 'Retain' }) } } as PersistentVolume]
    const local = await start()
    api.away = true
    await local.ensure(asked)
    api.remove('persistentvolumes', undefined, 'v')
    api.away = false
    if (!keep) await pass(clock, () => !existsSync(path))
    else for (let i = 0; i < 30; i++) {
      clock.advance(1_000)
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.equal(existsSync(path), keep)
  }
})

test('so does one that is found gone only when the node is back, after a restart of its agent', async (t) => {
  const { api, clock, directory, start, held } = await make(t)
  const path = join(directory, 'v')
  await mkdir(path)
  api.away = true
  await start()
  api.remove('persistentvolumes', undefined, 'v')
  assert.ok(existsSync(path))
  api.away = false
  await pass(clock, () => !existsSync(path))
  assert.equal(held(), false)
})
