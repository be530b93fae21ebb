import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../base/clock.ts'
import { setLogSink } from '../base/log.ts'
import { RecordDecoder } from './batch.ts'
import { createForwarder, type FetchLike } from './forward.ts'
import { createMemoryLog } from './memory-log.ts'

setLogSink(() => undefined)
const payload = new Uint8Array(300)

function collector(): { request: FetchLike; seqs: number[]; losses: unknown[]; mode: 'up' | 'down' | 'deaf' | 'picky'; calls: number } {
  const self = {
    seqs: [] as number[],
    losses: [] as unknown[],
    mode: 'up' as 'up' | 'down' | 'deaf' | 'picky',
    calls: 0,
    request: (async (req) => {
      self.calls++
      if (self.mode === 'down') throw new Error('link is away')
      const records = new RecordDecoder().push(req.body)
      if (self.mode === 'picky' && records.some((r) => r.seq === 3)) return answer(422, 'record 3 is not to my taste')
      for (const r of records) if (r.seq > (self.seqs.at(-1) ?? 0)) self.seqs.push(r.seq)
      if (req.headers['x-skerry-losses']) self.losses.push(...(JSON.parse(req.headers['x-skerry-losses']) as unknown[]))
      if (self.mode === 'deaf') throw new Error('the answer was lost')
      return answer(200, JSON.stringify({ acked: records.at(-1)?.seq ?? 0 }))
    }) as FetchLike,
  }
  return self
}

function answer(status: number, text: string) {
  return { status, headers: {}, body: (async function* () { yield Buffer.from(text) })() }
}

const settle = async (clock: FakeClock): Promise<void> => clock.advance(0)

test('results arrive exactly once and in order over outages and lost answers', async () => {
  const clock = new FakeClock()
  const spool = createMemoryLog({ maxBytes: 1 << 20, clock })
  const server = collector()
  const forwarder = createForwarder({ spool, request: server.request, clock, maxBatchBytes: 1000 })
  const stop = new AbortController()
  const running = forwarder.run(stop.signal)
  for (let i = 0; i < 30; i++) {
    server.mode = i % 5 === 1 ? 'down' : i % 5 === 3 ? 'deaf' : 'up'
    await spool.append({ meta: '{}', payload })
    await clock.advance(700)
  }
  server.mode = 'up'
  forwarder.kick()
  for (let i = 0; i < 20; i++) await settle(clock)
  assert.deepEqual(server.seqs, Array.from({ length: 30 }, (_, i) => i + 1))
  assert.equal(forwarder.state().pending, 0)
  stop.abort()
  await running
  assert.equal(clock.pending, 0)
})

test('a kick ends the wait at once, and waits grow while the link is away', async () => {
  const clock = new FakeClock()
  const spool = createMemoryLog({ maxBytes: 1 << 20, clock })
  const server = collector()
  server.mode = 'down'
  const forwarder = createForwarder({ spool, request: server.request, clock, schedule: { firstMs: 1000, factor: 2, maxMs: 30_000, jitter: 0 } })
  const stop = new AbortController()
  const running = forwarder.run(stop.signal)
  await spool.append({ meta: '{}', payload })
  await clock.advance(120_000)
  assert.ok(server.calls <= 10, `${server.calls} tries in two minutes`)
  assert.match(forwarder.state().lastError ?? '', /link is away/)
  server.mode = 'up'
  forwarder.kick()
  for (let i = 0; i < 5; i++) await settle(clock)
  assert.deepEqual(server.seqs, [1])
  stop.abort()
  await running
})

test('losses are told once with the next batch, and a record the collector refuses does not hold up the rest', async () => {
  const clock = new FakeClock()
  const spool = createMemoryLog({ maxBytes: 1400, clock })
  for (let i = 0; i < 5; i++) await spool.append({ meta: '{}', payload }) // room for four: 1 is lost
  const server = collector()
  server.mode = 'picky'
  const refused: number[] = []
  const forwarder = createForwarder({ spool, request: server.request, clock, onRefused: (r) => void refused.push(r.seq) })
  const stop = new AbortController()
  const running = forwarder.run(stop.signal)
  for (let i = 0; i < 20; i++) await settle(clock)
  assert.deepEqual(server.seqs, [2, 4, 5])
  assert.deepEqual(refused, [3])
  assert.deepEqual(server.losses.map((l) => (l as { fromSeq: number }).fromSeq), [1, 3])
  stop.abort()
  await running
})
