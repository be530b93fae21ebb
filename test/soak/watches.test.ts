/**
 * Thousands of watches that drop and resume while objects change, for many rounds, on each store: nobody misses or doubles a
 * change, and when they are gone the memory is where it was. `SKERRY_SOAK` is the number of rounds.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { setLogSink } from '../../src/base/log.ts'
import { createMemoryStore, openEtcdStore, openSqliteStore, type Store } from '../../src/store/mod.ts'
import { startHarness, type Harness } from '../kit/api-harness.ts'
import { Etcd, noEtcd } from '../kit/etcd.ts'

const ROUNDS = Math.max(1, Number(process.env['SKERRY_SOAK'] ?? 0) || 3)
const WATCHES = 2_000
const CHANGES = 30
/** What the caches' windows (bounded) and the engine's own noise may differ by. */
const MARGIN = 24 << 20

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** What is left when collecting finds no more: weak references and their followers take a turn each. */
async function heap(): Promise<number> {
  for (let last = Infinity; ; ) {
    gc()
    await new Promise((resolve) => setTimeout(resolve, 100))
    const { heapUsed } = process.memoryUsage()
    if (heapUsed > last * 0.99) return heapUsed
    last = heapUsed
  }
}

const path = '/api/v1/namespaces/default/configmaps'

/** Creates, changes and deletes, one after the other; what a watcher must see, in order. */
async function change(h: Harness, round: number, seen: string[]): Promise<void> {
  for (let i = 0; i < CHANGES; i++) {
    const name = `cm-${i % 5}`
    const there = await h.call('GET', `${path}/${name}`)
    const act = there.status === 404 ? 'ADDED' : i % 3 === 0 ? 'DELETED' : 'MODIFIED'
    const body = { metadata: { name }, data: { text: `${round}-${i}` } }
    const answer = act === 'ADDED' ? await h.call('POST', path, body) : act === 'DELETED' ? await h.call('DELETE', `${path}/${name}`) : await h.call('PUT', `${path}/${name}`, body)
    assert.ok(answer.status < 300, JSON.stringify(answer.body))
    seen.push(`${act} ${name}`)
  }
}

/** Watches from `from` until it has seen `count` changes, dropping the connection at random. */
async function follow(h: Harness, from: string, count: number): Promise<string[]> {
  const got: string[] = []
  let at = from
  while (got.length < count) {
    const watch = await h.watch(`${path}?watch=true&resourceVersion=${at}`)
    assert.equal(watch.status, 200)
    const drop = Math.random() < 0.5 ? got.length + 1 + Math.floor(Math.random() * CHANGES) : Infinity
    while (got.length < Math.min(count, drop)) {
      const event = await watch.next()
      if (!event) break
      assert.notEqual(event.type, 'ERROR', JSON.stringify(event.object))
      const meta = event.object['metadata'] as { name: string; resourceVersion: string }
      assert.ok(Number(meta.resourceVersion) > Number(at), 'revisions go up')
      at = meta.resourceVersion
      got.push(`${event.type} ${meta.name}`)
    }
    await watch.end()
  }
  return got
}

async function soak(store: Store): Promise<void> {
  await using h = await startHarness({ store })
  const round = async (n: number): Promise<void> => {
    const list = await h.call<{ metadata: { resourceVersion: string } }>('GET', path)
    const expected: string[] = []
    const watching = Promise.all(Array.from({ length: WATCHES }, () => follow(h, list.body.metadata.resourceVersion, CHANGES)))
    await change(h, n, expected)
    for (const got of await watching) assert.deepEqual(got, expected)
  }
  await round(0)
  const before = await heap()
  for (let n = 1; n <= ROUNDS; n++) await round(n)
  const after_ = await heap()
  assert.ok(after_ - before < MARGIN, `heap went from ${(before / 1e6).toFixed(1)} to ${(after_ / 1e6).toFixed(1)} MB in ${ROUNDS} rounds of ${WATCHES} watches`)
}

describe(`${WATCHES} watches that drop and resume, ${ROUNDS} rounds`, () => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-soak-'))
  let sink: ReturnType<typeof setLogSink>
  before(() => {
    sink = setLogSink(() => {})
  })
  after(() => {
    rmSync(directory, { recursive: true, force: true })
    setLogSink(sink)
  })

  it('memory', async () => {
    await using store = createMemoryStore()
    await soak(store)
  })

  it('sqlite', async () => {
    await using store = await openSqliteStore({ path: join(directory, 'state.db') })
    await soak(store)
  })

  it('etcd', { skip: noEtcd }, async () => {
    const etcd = await Etcd.start(7890)
    try {
      await using store = await openEtcdStore({ address: etcd.address() })
      await soak(store)
    } finally {
      await etcd.stop()
    }
  })

  it('two servers on one etcd, written on one and watched on the other', { skip: noEtcd }, async () => {
    const etcd = await Etcd.start(7890)
    try {
      const address = etcd.address()
      await using here = await openEtcdStore({ address })
      await using there = await openEtcdStore({ address })
      await using writer = await startHarness({ store: here })
      await using reader = await startHarness({ store: there })
      for (let n = 0; n < ROUNDS; n++) {
        const list = await reader.call<{ metadata: { resourceVersion: string } }>('GET', path)
        const expected: string[] = []
        const watching = Promise.all(Array.from({ length: 200 }, () => follow(reader, list.body.metadata.resourceVersion, CHANGES)))
        await change(writer, n, expected)
        // Whatever was acknowledged there is in a list made here afterwards.
        const [a, b] = [await writer.call<{ items: unknown[] }>('GET', path), await reader.call<{ items: unknown[] }>('GET', path)]
        assert.deepEqual(b.body.items, a.body.items)
        for (const got of await watching) assert.deepEqual(got, expected)
      }
    } finally {
      await etcd.stop()
    }
  })
})
