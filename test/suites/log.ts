/** What every bounded log promises, fake included. Adapters call `logSuite` with a way to open one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { BoundedLog } from '../../src/telemetry/mod.ts'

export interface LogSubject {
  open(options: { maxBytes: number; maxRecordBytes?: number }): Promise<BoundedLog>
  /** Closes and opens the same log again; absent for logs that live in memory. */
  reopen?(log: BoundedLog): Promise<BoundedLog>
}

const bytes = (n: number, fill = 7): Uint8Array => new Uint8Array(n).fill(fill)

export function logSuite(name: string, make: () => Promise<LogSubject>): void {
  test(`${name}: numbers records from 1 and reads them back in order within the byte limit`, async () => {
    const subject = await make()
    await using log = await subject.open({ maxBytes: 1 << 20 })
    assert.equal(log.last, 0)
    assert.deepEqual(await log.read(0, 1000), [])
    const seqs = await Promise.all(Array.from({ length: 50 }, (_, i) => log.append({ meta: `{"n":${i}}`, payload: bytes(100, i) })))
    assert.deepEqual(seqs, Array.from({ length: 50 }, (_, i) => i + 1))
    const some = await log.read(10, 500)
    assert.ok(some.length >= 1 && some.length < 5, `${some.length} records for 500 bytes`)
    assert.equal(some[0]?.seq, 11)
    assert.equal(some[0]?.meta, '{"n":10}')
    assert.deepEqual(Uint8Array.from(some[0]?.payload ?? []), bytes(100, 10))
    assert.equal((await log.read(49, 1)).length, 1, 'at least one record, however small the limit')
  })

  test(`${name}: wakes a waiting reader at the next append, and ends the wait on abort`, async () => {
    const subject = await make()
    await using log = await subject.open({ maxBytes: 1 << 20 })
    const found = log.waitFor(0, new AbortController().signal)
    await log.append({ meta: '{}', payload: bytes(1) })
    assert.equal(await found, true)
    const abort = new AbortController()
    const none = log.waitFor(1, abort.signal)
    abort.abort()
    assert.equal(await none, false)
  })

  test(`${name}: keeps within its bytes and writes what it dropped unacked in the ledger`, async () => {
    const subject = await make()
    await using log = await subject.open({ maxBytes: 40_000 })
    for (let i = 0; i < 200; i++) {
      await log.append({ meta: '{}', payload: bytes(1000) })
      assert.ok(log.usage().bytes <= 40_000)
    }
    const first = (await log.read(0, 1))[0]?.seq ?? 0
    assert.ok(first > 100)
    assert.deepEqual(log.ledger().map((l) => [l.fromSeq, l.toSeq, l.reason]), [[1, first - 1, 'full']])
  })

  test(`${name}: drops acked records silently`, async () => {
    const subject = await make()
    await using log = await subject.open({ maxBytes: 40_000 })
    for (let i = 0; i < 200; i++) await log.ack('c', await log.append({ meta: '{}', payload: bytes(1000) }))
    assert.deepEqual(log.ledger(), [])
    assert.equal(log.usage('c').pending, 0)
    assert.equal(log.acked('c'), 200)
  })

  test(`${name}: refuses a record over the limit and keeps numbering without a gap`, async () => {
    const subject = await make()
    await using log = await subject.open({ maxBytes: 1 << 20, maxRecordBytes: 1000 })
    await log.append({ meta: '{}', payload: bytes(10) })
    await assert.rejects(log.append({ meta: '{}', payload: bytes(1001) }), { code: 'too-large', message: /1001 bytes is over 1000/ })
    assert.equal(await log.append({ meta: '{}', payload: bytes(10) }), 2)
  })

  test(`${name}: over any history each number is readable, acked or in the ledger`, async () => {
    const op = fc.oneof(
      { weight: 6, arbitrary: fc.record({ op: fc.constant('append' as const), size: fc.integer({ min: 0, max: 3000 }), n: fc.integer({ min: 1, max: 4 }) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant('ack' as const), cursor: fc.constantFrom('a', 'b'), share: fc.integer({ min: 0, max: 100 }) }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant('reopen' as const) }) },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(op, { maxLength: 60 }), async (history) => {
        const subject = await make()
        let log = await subject.open({ maxBytes: 20_000 })
        let appended = 0
        const acked = new Map([['a', 0], ['b', 0]])
        for (const cursor of acked.keys()) await log.ack(cursor, 0) // known from the start, so that nothing counts as done with for want of readers
        for (const step of history) {
          if (step.op === 'append') {
            const seqs = await Promise.all(Array.from({ length: step.n }, () => log.append({ meta: `{"i":1}`, payload: bytes(step.size, appended & 255) })))
            for (const seq of seqs) assert.equal(seq, ++appended)
          } else if (step.op === 'ack') {
            const seq = Math.floor((log.last * step.share) / 100)
            await log.ack(step.cursor, seq)
            acked.set(step.cursor, Math.max(acked.get(step.cursor) ?? 0, seq))
          } else if (subject.reopen) {
            const { epoch } = log
            log = await subject.reopen(log)
            assert.equal(log.epoch, epoch)
          }
        }
        assert.equal(log.last, appended)
        for (const [cursor, seq] of acked) assert.equal(log.acked(cursor), seq)
        const seen = new Set<number>()
        let after = 0
        for (;;) {
          const records = await log.read(after, 5000)
          if (records.length === 0) break
          for (const r of records) {
            assert.ok(r.seq > after, 'in order')
            seen.add((after = r.seq))
          }
        }
        const least = Math.min(...acked.values())
        for (let seq = 1; seq <= appended; seq++) {
          const lost = log.ledger().some((l) => l.fromSeq <= seq && seq <= l.toSeq)
          assert.ok(seen.has(seq) || seq <= least || lost, `record ${seq} is nowhere`)
          assert.ok(!(seen.has(seq) && lost), `record ${seq} is readable and called lost`)
        }
        await log[Symbol.asyncDispose]()
      }),
      { numRuns: 40 },
    )
  })
}
