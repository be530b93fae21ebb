/**
 * The contract of the store port, run on every implementation. A history of random writes, watches that drop and resume, and
 * compactions is compared with a model: no change lost, doubled or out of order, no state that never was.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { FakeClock } from '../../src/base/clock.ts'
import { AppError, hasCode, type ErrorCode } from '../../src/base/errors.ts'
import type { Revision, Store, StoreEvent, StoreStats } from '../../src/store/store.ts'

export interface StoreUnderTest {
  readonly clock: FakeClock
  readonly maxWatchLag: number
  readonly expireEveryMs: number
}

/** Opens a fresh, empty store. */
export type OpenStore = (options: StoreUnderTest) => Promise<Store & StoreStats>

const rejects = (promise: Promise<unknown>, code: ErrorCode): Promise<void> =>
  assert.rejects(promise, (e) => e instanceof AppError && e.code === code, `expected an AppError with code ${code}`)

/** Reads a watch until it has brought the change of revision `to`. */
async function collect(store: Store, prefix: string, from: Revision, to: Revision): Promise<StoreEvent[]> {
  const stop = new AbortController()
  const seen: StoreEvent[] = []
  for await (const batch of store.watch(prefix, from, stop.signal)) {
    seen.push(...batch)
    if ((seen.at(-1)?.revision ?? 0) >= to) stop.abort()
  }
  return seen
}

const brief = (events: readonly StoreEvent[]): string[] => events.map((e) => `${e.revision} ${e.type} ${e.key} ${e.previous ?? '-'}>${e.value}`)

/** What a store that lives in another process cannot promise a test. */
export interface Remote {
  /** Writes that are handed in together may be applied in any order, and times to live run on the machine's clock. */
  readonly remote?: boolean
}

export function storeSuite(name: string, openWith: OpenStore, { remote = false }: Remote = {}): void {
  const clock = new FakeClock()
  const open = (options: Partial<StoreUnderTest> = {}) => openWith({ clock, maxWatchLag: 1000, expireEveryMs: 1000, ...options })

  describe(`store contract: ${name}`, () => {
    it('gives each change the next revision and reads back what was written', async () => {
      await using store = await open()
      assert.deepEqual(await store.get('/a'), { entry: undefined, revision: 0 })
      assert.equal(await store.put('/a', 'one', 0), 1)
      assert.equal(await store.put('/a', 'two ü 🌊 \u0000', 1), 2)
      assert.deepEqual(await store.get('/a'), { entry: { key: '/a', value: 'two ü 🌊 \u0000', revision: 2, created: 1 }, revision: 2 })
      assert.equal(await store.delete('/a', 2), 3)
      assert.deepEqual(await store.get('/a'), { entry: undefined, revision: 3 })
      assert.equal(await store.put('/a', 'again', 0), 4)
      assert.equal((await store.get('/a')).entry?.created, 4)
    })

    it('refuses a write whose expected revision is not the key’s', async () => {
      await using store = await open()
      await rejects(store.delete('/a', 1), 'not-found')
      await rejects(store.put('/a', 'x', 7), 'conflict')
      await store.put('/a', 'x', 0)
      await rejects(store.put('/a', 'y', 0), 'exists')
      await store.put('/a', 'y', 1)
      await rejects(store.put('/a', 'z', 1), 'conflict')
      await rejects(store.delete('/a', 1), 'conflict')
      assert.equal((await store.get('/a')).revision, 2, 'refused writes take no revision')
    })

    it('lets exactly one of many concurrent writers win', async () => {
      await using store = await open()
      const base = await store.put('/a', '0', 0)
      const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => store.put('/a', String(i), base)))
      assert.equal(results.filter((r) => r.status === 'fulfilled').length, 1)
      assert.ok(results.every((r) => r.status === 'fulfilled' || hasCode(r.reason, 'conflict')))
    })

    it('lists a prefix in key order, by pages, as of one revision', async () => {
      await using store = await open()
      for (const k of ['/p/c', '/p/a', '/q/x', '/p/b', '/p', '/p/', '/o/z']) await store.put(k, k, 0)
      const first = await store.list('/p/', { limit: 2 })
      assert.deepEqual(first.entries.map((e) => e.key), ['/p/', '/p/a'])
      assert.equal(first.remaining, 2)
      await store.put('/p/bb', 'late', 0)
      await store.delete('/p/b', 4)
      const second = await store.list('/p/', { limit: 2, after: '/p/a', revision: first.revision })
      assert.deepEqual(second.entries.map((e) => e.key), ['/p/b', '/p/c'])
      assert.equal(second.remaining, 0)
      assert.equal(second.revision, first.revision)
      assert.deepEqual((await store.list('/p/')).entries.map((e) => e.key), ['/p/', '/p/a', '/p/bb', '/p/c'])
      assert.equal((await store.list('')).entries.length, 7)
      assert.deepEqual(await store.list('/none'), { entries: [], revision: 9, remaining: 0 })
    })

    it('reads the state of an earlier revision, and says when it is gone or not there yet', async () => {
      await using store = await open()
      await store.put('/a', '1', 0)
      await store.put('/a', '2', 1)
      await store.delete('/a', 2)
      assert.equal((await store.get('/a', 1)).entry?.value, '1')
      assert.equal((await store.get('/a', 2)).entry?.value, '2')
      await rejects(store.get('/a', 4), 'invalid')
      await store.compact(2)
      await rejects(store.get('/a', 1), 'compacted')
      await rejects(store.list('/', { revision: 1 }), 'compacted')
      assert.equal((await store.get('/a', 2)).entry?.value, '2')
      await store.compact(3)
      assert.equal((await store.get('/a')).entry, undefined)
      await rejects(store.compact(4), 'invalid')
      assert.equal(await store.put('/b', 'x', 0), 4, 'compaction does not give revisions back')
    })

    it('watches from the past into the present without a gap, with the texts before', async () => {
      await using store = await open()
      await store.put('/w/a', '1', 0)
      await store.put('/x', 'other', 0)
      await store.put('/w/a', '2', 1)
      const watching = collect(store, '/w/', 1, 6)
      await new Promise(setImmediate)
      await store.put('/w/b', '3', 0)
      await store.delete('/w/a', 3)
      await store.put('/w/a', '5', 0)
      assert.deepEqual(brief(await watching), ['3 put /w/a 1>2', '4 put /w/b ->3', '5 delete /w/a 2>2', '6 put /w/a ->5'])
      assert.deepEqual(brief(await collect(store, '', 4, 6)), ['5 delete /w/a 2>2', '6 put /w/a ->5'])
    })

    it('brings a long history in batches, each change once', async () => {
      await using store = await open()
      const odd: Revision[] = []
      for (let i = 0; i < 1250; i += 50) {
        const revisions = await Promise.all(Array.from({ length: 50 }, (_, j) => store.put(`/${j % 2 ? 'odd' : 'even'}/${i + j}`, '', 0)))
        odd.push(...revisions.filter((_, j) => j % 2).sort((a, b) => a - b))
      }
      assert.deepEqual((await collect(store, '', 0, 1250)).map((e) => e.revision), Array.from({ length: 1250 }, (_, i) => i + 1))
      assert.deepEqual((await collect(store, '/odd/', 0, odd.at(-1) ?? 0)).map((e) => e.revision), odd)
    })

    it('ends a watch cleanly on abort, also while nothing happens', async () => {
      await using store = await open()
      const stop = new AbortController()
      const watching = (async () => {
        for await (const _ of store.watch('/', 0, stop.signal)) assert.fail('nothing happened')
      })()
      await new Promise(setImmediate)
      stop.abort()
      await watching
    })

    it('refuses a watch from a compacted revision and accepts one from the last kept', async () => {
      await using store = await open()
      for (let i = 0; i < 5; i++) await store.put(`/k${i}`, '', 0)
      await store.compact(3)
      const signal = new AbortController().signal
      await rejects(store.watch('/', 2, signal)[Symbol.asyncIterator]().next(), 'compacted')
      assert.deepEqual((await collect(store, '/', 3, 5)).map((e) => e.revision), [4, 5])
    })

    it('closes a watcher that falls behind, and it may resume', async () => {
      await using store = await open({ maxWatchLag: 10 })
      await store.put('/seed', '', 0)
      const slow = store.watch('/', 0, new AbortController().signal)[Symbol.asyncIterator]()
      assert.equal((await slow.next()).value?.length, 1)
      const joined = slow.next() // joins the live stream, then stops reading
      await new Promise(setImmediate)
      for (let i = 0; i < 30; i++) await store.put(`/k${i}`, '', 0)
      const got = (await joined).value ?? []
      await rejects(slow.next(), 'unavailable')
      const rest = await collect(store, '/', got.at(-1)?.revision ?? 1, 31)
      assert.deepEqual([...got, ...rest].map((e) => e.revision), Array.from({ length: 30 }, (_, i) => i + 2))
    })

    it('deletes a key about when its time is over on the machine’s clock, unless it was written again', { skip: remote ? false : 'the next test says it on a fake clock' }, async () => {
      await using store = await open()
      await store.put('/short', 'x', 0, { ttlSeconds: 2 })
      await store.put('/kept', 'x', 0, { ttlSeconds: 2 })
      await store.put('/kept', 'y', 2)
      assert.ok((await store.get('/short')).entry)
      assert.deepEqual(brief(await collect(store, '/', 3, 4)), ['4 delete /short x>x'])
      assert.equal((await store.get('/kept')).entry?.value, 'y')
    })

    it('deletes a key about when its time is over, unless it was written again', { skip: remote ? 'its clock is not ours to turn' : false }, async () => {
      const own = new FakeClock()
      await using store = await open({ clock: own })
      await store.put('/short', 'x', 0, { ttlSeconds: 60 })
      await store.put('/kept', 'x', 0, { ttlSeconds: 60 })
      await store.put('/kept', 'y', 2)
      await own.advance(50_000)
      assert.ok((await store.get('/short')).entry)
      const gone = collect(store, '/', 3, 4)
      await own.advance(20_000)
      assert.deepEqual(brief(await gone), ['4 delete /short x>x'])
      assert.equal((await store.get('/kept')).entry?.value, 'y')
    })

    it('keeps what is newest of each key through compaction', async () => {
      await using store = await open()
      let last = 0
      for (let i = 0; i < 300; i++) last = await store.put('/hot', String(i), last)
      await store.put('/cold', 'x', 0)
      await store.compact(301)
      assert.deepEqual((await store.list('/')).entries.map((e) => [e.key, e.value]), [['/cold', 'x'], ['/hot', '299']])
    })

    it('ends watches and refuses work once it is closed', async () => {
      const store = await open()
      await store.put('/a', '', 0)
      const watching = rejects(store.watch('/none', 1, new AbortController().signal)[Symbol.asyncIterator]().next(), 'unavailable')
      await new Promise(setImmediate)
      const accepted = store.put('/b', '', 0)
      await store[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
      assert.equal(await accepted, 2, 'what was accepted before the close is still written')
      await rejects(store.put('/c', '', 0), 'unavailable')
      await rejects(store.get('/a'), 'unavailable')
      await watching
    })

    it('shows random histories as the model does, through disconnects and compactions', async () => {
      const runs = Number(process.env.SKERRY_SOAK ?? 0) > 0 ? 300 : 25
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
          await using store = await open()
          await follow(store, remote ? steps.map((s) => ('wait' in s ? { ...s, wait: true } : s)) : steps)
        }),
        { numRuns: runs },
      )
    })
  })
}

type Step =
  | { readonly act: 'put' | 'delete'; readonly key: string; readonly stale: boolean; readonly wait: boolean }
  | { readonly act: 'compact'; readonly share: number }
  | { readonly act: 'drop' | 'read'; readonly watcher: number }
  | { readonly act: 'check'; readonly share: number; readonly limit: number }

const key = fc.constantFrom('/a/1', '/a/2', '/a/3', '/b/1', '/b/2', '/c')
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ act: fc.constantFrom('put' as const, 'put' as const, 'delete' as const), key, stale: fc.nat(9).map((n) => n === 0), wait: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('compact' as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constantFrom('drop' as const, 'read' as const), watcher: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('check' as const), share: fc.double({ min: 0, max: 1, noNaN: true }), limit: fc.integer({ min: 1, max: 5 }) }) },
)

/** A watcher that drops and resumes where it was; after `compacted` it lists and goes on from there, as clients do. */
class Follower {
  readonly store: Store
  readonly prefix: string
  cursor = 0
  state = new Map<string, string>()
  #stop = new AbortController()
  #running: Promise<void> | undefined

  constructor(store: Store, prefix: string) {
    this.store = store
    this.prefix = prefix
  }

  start(): void {
    this.#stop = new AbortController()
    this.#running = this.#run(this.#stop.signal)
  }

  async drop(): Promise<void> {
    this.#stop.abort()
    await this.#running
  }

  async reach(revision: Revision): Promise<void> {
    for (let i = 0; this.cursor < revision && i < 2000; i++) await new Promise((r) => setTimeout(r, 1))
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const batch of this.store.watch(this.prefix, this.cursor, signal)) for (const e of batch) this.#apply(e)
      } catch (error) {
        if (!hasCode(error, 'compacted')) throw error
        const list = await this.store.list(this.prefix)
        this.state = new Map(list.entries.map((e) => [e.key, e.value]))
        this.cursor = list.revision
      }
    }
  }

  #apply(e: StoreEvent): void {
    assert.ok(e.revision > this.cursor, `revision ${e.revision} came after ${this.cursor}`)
    assert.equal(e.previous, this.state.get(e.key), `the text before revision ${e.revision} of ${e.key}`)
    if (e.type === 'put') this.state.set(e.key, e.value)
    else assert.ok(this.state.delete(e.key))
    this.cursor = e.revision
  }
}

async function follow(store: Store, steps: readonly Step[]): Promise<void> {
  const history: Map<string, { value: string; revision: number }>[] = [new Map()]
  let compacted = 0
  let open: Promise<void>[] = []
  const followers = ['', '/a/', '/b/1'].map((p) => new Follower(store, p))
  for (const f of followers) f.start()
  const now = (): Map<string, { value: string; revision: number }> => history.at(-1) ?? new Map()
  let n = 0
  for (const s of steps) {
    switch (s.act) {
      case 'put':
      case 'delete': {
        // The model decides first: writes are applied in the order they were handed in.
        const had = now().get(s.key)
        const expected = s.stale ? 4711 : (had?.revision ?? 0)
        const value = `v${n++}`
        const allowed = !s.stale && (s.act === 'put' || had !== undefined)
        const revision = history.length
        if (allowed) {
          const next = new Map(now())
          if (s.act === 'put') next.set(s.key, { value, revision })
          else next.delete(s.key)
          history.push(next)
        }
        const done = (s.act === 'put' ? store.put(s.key, value, expected) : store.delete(s.key, expected)).then(
          (r) => assert.equal(allowed ? revision : 'a refusal', r),
          (e: unknown) => assert.ok(!allowed && e instanceof AppError, `unexpected ${String(e)}`),
        )
        open.push(done)
        if (s.wait) await done
        break
      }
      case 'compact':
        await Promise.all(open)
        compacted = Math.max(compacted, Math.floor((history.length - 1) * s.share))
        await store.compact(compacted)
        break
      case 'drop':
        await followers[s.watcher]?.drop()
        break
      case 'read':
        await followers[s.watcher]?.drop()
        followers[s.watcher]?.start()
        break
      case 'check': {
        await Promise.all(open)
        open = []
        const at = compacted + Math.floor((history.length - 1 - compacted) * s.share)
        const want = [...(history[at] ?? new Map<string, { value: string; revision: number }>())].filter(([k]) => k.startsWith('/a/')).sort(([a], [b]) => (a < b ? -1 : 1))
        const list = await store.list('/a/', { revision: at, limit: s.limit })
        assert.deepEqual(list.entries.map((e) => [e.key, e.value, e.revision]), want.slice(0, s.limit).map(([k, v]) => [k, v.value, v.revision]))
        assert.equal(list.remaining, Math.max(0, want.length - s.limit))
        break
      }
      default:
        s satisfies never
    }
  }
  await Promise.all(open)
  for (const f of followers) {
    await f.drop()
    f.start()
    const want = new Map([...now()].filter(([k]) => k.startsWith(f.prefix)).map(([k, v]) => [k, v.value]))
    const lastOfPrefix = history.findLastIndex((h, i) => i > 0 && [...new Set([...h.keys(), ...(history[i - 1]?.keys() ?? [])])].some((k) => k.startsWith(f.prefix) && h.get(k)?.revision !== history[i - 1]?.get(k)?.revision))
    await f.reach(Math.max(lastOfPrefix, 0))
    await f.drop()
    assert.deepEqual([...f.state].sort(), [...want].sort())
  }
}
