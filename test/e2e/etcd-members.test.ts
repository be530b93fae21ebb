/** A store on three etcd members: whichever is killed, reads and writes go on with the others, and watches miss nothing. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { hasCode } from '../../src/base/errors.ts'
import { setLogSink } from '../../src/base/log.ts'
import { openEtcdStore } from '../../src/store/mod.ts'
import { Etcd, noEtcd } from '../kit/etcd.ts'
import { until } from '../kit/until.ts'

const PORTS = [7884, 7886, 7888]

describe('three etcd members', { skip: noEtcd }, () => {
  it('are one store as long as two live', { timeout: 120_000 }, async () => {
    const sink = setLogSink(() => {})
    const cluster = PORTS.map((p, i) => `m${i}=http://127.0.0.1:${p + 1}`).join()
    const started = await Promise.allSettled(PORTS.map((p, i) => Etcd.start(p, { flags: ['--name', `m${i}`, '--initial-cluster', cluster] })))
    const members = started.flatMap((s) => (s.status === 'fulfilled' ? s.value : []))
    try {
      assert.equal(members.length, 3)
      await using store = await openEtcdStore({ address: { endpoints: members.map((m) => m.endpoint), prefix: '/three/', tls: undefined } })
      const stop = new AbortController()
      const seen: number[] = []
      const watching = (async () => {
        while (!stop.signal.aborted) for await (const events of store.watch('/', seen.at(-1) ?? 0, stop.signal)) seen.push(...events.map((e) => e.revision))
      })()
      const written = new Map<string, number>()
      let n = 0
      const write = async (count: number): Promise<void> => {
        for (const goal = written.size + count; written.size < goal; ) {
          const key = `/k/${n++}`
          try {
            written.set(key, await store.put(key, key, 0))
          } catch (error) {
            // It may have been kept; nobody was told so.
            assert.ok(hasCode(error, 'unavailable') || hasCode(error, 'timeout'), String(error))
            await new Promise((resolve) => setTimeout(resolve, 100))
          }
        }
      }
      await write(20)
      for (const member of members) {
        await member.down('SIGKILL')
        await write(20)
        assert.equal((await store.get('/k/0')).entry?.value, '/k/0')
        await member.up()
      }
      const { entries } = await store.list('/k/')
      const kept = new Map(entries.map((e) => [e.key, e.revision]))
      for (const [key, revision] of written) assert.equal(kept.get(key), revision, key)
      const all = [...kept.values()].sort((a, b) => a - b)
      await until('the watch has all', () => seen.at(-1) === all.at(-1), 60_000)
      assert.deepEqual(seen, all)
      stop.abort()
      await watching
    } finally {
      for (const member of members) await member.stop()
      setLogSink(sink)
    }
  })
})
