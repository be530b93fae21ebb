import assert from 'node:assert/strict'
import { it } from 'node:test'
import { AppError } from '../base/errors.ts'
import { Fanout } from './fanout.ts'
import type { StoreEvent } from './store.ts'

const put = (revision: number, key = '/a'): StoreEvent => ({ type: 'put', key, revision, created: 1, value: '', previous: undefined })

/** A source whose history may grow while it is read. */
function source(count: number) {
  const events = Array.from({ length: count }, (_, i) => put(i + 1))
  return {
    events,
    revision: () => events.length,
    compacted: () => 0,
    history: (_prefix: string, after: number, upTo: number, limit: number) => {
      const found = events.filter((e) => e.revision > after && e.revision <= upTo).slice(0, limit)
      return { events: found, through: found.length < limit ? upTo : (found.at(-1)?.revision ?? upTo) }
    },
  }
}

it('joins the live stream where history ended, however it grew meanwhile', async () => {
  const from = source(1200)
  const fanout = new Fanout(from, 100)
  const seen: number[] = []
  const stop = new AbortController()
  for await (const batch of fanout.watch('/', 0, stop.signal)) {
    seen.push(...batch.map((e) => e.revision))
    if (from.events.length < 1300) {
      const event = put(from.events.length + 1)
      from.events.push(event)
      fanout.publish([event])
    } else stop.abort()
    await new Promise(setImmediate)
    if (seen.length === 1205) stop.abort()
  }
  assert.deepEqual(seen, Array.from({ length: seen.length }, (_, i) => i + 1))
  assert.ok(seen.length >= 1204)
})

it('forgets a watcher that ends, by abort, return or error', async () => {
  const fanout = new Fanout(source(0), 2)
  const stop = new AbortController()
  const watch = (signal = new AbortController().signal) => fanout.watch('/', 0, signal)[Symbol.asyncIterator]()
  const aborted = watch(stop.signal)
  const [returned, slow, ended] = [watch(), watch(), watch()]
  const [a, r, s, e] = [aborted.next(), returned.next(), slow.next(), ended.next()]
  await new Promise(setImmediate)
  assert.equal(fanout.size, 4)
  stop.abort()
  assert.equal((await a).done, true)
  fanout.publish([put(1)])
  await Promise.all([r, s, e])
  await returned.return?.()
  fanout.publish([put(2), put(3), put(4)])
  fanout.end(new AppError('unavailable', 'closed'))
  await assert.rejects(slow.next(), { code: 'unavailable' })
  await assert.rejects(ended.next(), { code: 'unavailable' })
  assert.equal(fanout.size, 0)
})

it('knows which keys nobody watches', async () => {
  const fanout = new Fanout(source(0), 10)
  const next = fanout.watch('/pods/', 0, AbortSignal.timeout(1000)).next()
  await new Promise(setImmediate)
  assert.deepEqual([fanout.wants('/pods/a'), fanout.wants('/nodes/a')], [true, false])
  fanout.publish([put(1, '/pods/a')])
  assert.equal((await next).value?.length, 1)
})
