/** The store on a real etcd: the contract, and what only a shared store does. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { Etcd, noEtcd } from '../../test/kit/etcd.ts'
import { until } from '../../test/kit/until.ts'
import { storeSuite } from '../../test/suites/store.ts'
import { AppError, hasCode, type ErrorCode } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import { createCa } from '../base/pki.ts'
import { EtcdClient } from './etcd-client.ts'
import { generate } from './gen/generate.ts'
import { openEtcdStore, type Store, type StoreEvent } from './mod.ts'

const PORT = 7850
let etcd: Etcd

it('has a descriptor that says what the .proto file says', () => {
  assert.equal(readFileSync(new URL('./gen/descriptor.ts', import.meta.url), 'utf8'), generate())
})

const fails = (code: ErrorCode, text: RegExp) => (e: unknown) => {
  assert.ok(e instanceof AppError, String(e))
  assert.equal(e.code, code, e.message)
  assert.match(e.message, text)
  return true
}

/** Keeps what a watch of everything brings, resuming when it breaks. */
function follow(store: Store, from: number): { events: StoreEvent[]; stop: () => Promise<void> } {
  const stop = new AbortController()
  const events: StoreEvent[] = []
  const done = (async () => {
    while (!stop.signal.aborted) for await (const batch of store.watch('', events.at(-1)?.revision ?? from, stop.signal)) events.push(...batch)
  })()
  return { events, stop: () => (stop.abort(), done) }
}

describe('etcd', { skip: noEtcd }, () => {
  let sink: ReturnType<typeof setLogSink>
  before(async () => {
    sink = setLogSink(() => {})
    etcd = await Etcd.start(PORT, { tls: true })
  })
  after(async () => {
    await etcd.stop()
    setLogSink(sink)
  })

  storeSuite('etcd', ({ maxWatchLag }) => openEtcdStore({ address: etcd.address(), maxWatchLag }), { remote: true })

  it('keeps records, and replaces one only by who knows what stands there', async () => {
    await using store = await openEtcdStore({ address: etcd.address() })
    assert.equal(await store.createRecord('replaced', 'a'), 'a')
    const change = (former: string, value: string): Promise<boolean> => store.changeRecords([{ name: 'replaced', former, value }])
    assert.equal(await change('x', 'b'), false)
    const both = await Promise.all([change('a', 'b'), change('a', 'c')])
    assert.deepEqual(both.toSorted(), [false, true])
    assert.equal(await store.readRecord('replaced'), both[0] ? 'b' : 'c')
  })

  it('changes several records or none, and tells every server that there was a change', async () => {
    const address = etcd.address()
    await using one = await openEtcdStore({ address })
    await using two = await openEtcdStore({ address })
    let told = 0
    const stop = two.onRecord(() => told++)
    await one.createRecord('a', '1')
    await one.put('/no/record', 'x', 0)
    const [first, more] = [{ name: 'a', former: '1', value: '2' }, { name: 'b', former: undefined, value: '3' }]
    assert.equal(await one.changeRecords([first, { ...more, former: 'there is none' }]), false)
    assert.equal(await one.readRecord('a'), '1')
    assert.equal(await one.changeRecords([first, more]), true)
    assert.equal(await one.changeRecords([{ name: 'a', former: '2' }, { ...more, value: '4' }]), false, 'b is there by now')
    assert.equal(await one.changeRecords([{ name: 'a', former: '2' }, { name: 'b', former: '3', value: '4' }]), true)
    assert.deepEqual([await two.readRecord('a'), await two.readRecord('b')], ['2', '4'])
    await until('the other server was told of three', () => told === 3)
    stop()
  })

  it('shows two servers the same changes in the same order, and each what the other has just acknowledged', async () => {
    const address = etcd.address()
    await using one = await openEtcdStore({ address })
    await using two = await openEtcdStore({ address })
    const [a, b] = [follow(one, 0), follow(two, 0)]
    let last = 0
    for (let i = 0; i < 40; i++) {
      const [here, there] = i % 2 ? [one, two] : [two, one]
      const written = await here.put(`/k/${i % 7}`, `v${i}`, (await here.get(`/k/${i % 7}`)).entry?.revision ?? 0)
      const read = await there.get(`/k/${i % 7}`)
      assert.equal(read.entry?.value, `v${i}`)
      assert.ok(read.revision >= written && (await there.list('/k/')).revision >= written)
      last = Math.max(last, written)
    }
    await until('both watches have all', () => a.events.at(-1)?.revision === last && b.events.at(-1)?.revision === last)
    assert.deepEqual(a.events, b.events)
    assert.equal(a.events.length, 40)
    await Promise.all([a.stop(), b.stop()])
  })

  it('lets one of two servers win a key', async () => {
    const address = etcd.address()
    await using one = await openEtcdStore({ address })
    await using two = await openEtcdStore({ address })
    const won = await Promise.allSettled([one.put('/a', '1', 0), two.put('/a', '2', 0)])
    assert.equal(won.filter((w) => w.status === 'fulfilled').length, 1)
    assert.ok(won.some((w) => w.status === 'rejected' && hasCode(w.reason, 'exists')))
    assert.equal(await one.createRecord('identity', 'first'), 'first')
    assert.equal(await two.createRecord('identity', 'second'), 'first')
    assert.equal(await two.readRecord('identity'), 'first')
  })

  it('goes on when others write to the same etcd, and is not seen by them', async () => {
    const address = etcd.address()
    const stranger = new EtcdClient(etcd.address())
    const write = (): Promise<object> => stranger.call('Txn', { success: [{ requestPut: { key: Buffer.from('/stranger'), value: Buffer.from('x') } }] })
    await using store = await openEtcdStore({ address })
    const first = await store.put('/a', '1', 0)
    await write()
    const { revision } = await store.get('/none')
    assert.equal(revision, first, 'the newest revision is that of our own newest change: who waits for it does not wait in vain')
    await write()
    assert.equal((await store.list('/')).revision, first)
    const second = await store.put('/a', '2', first)
    const seen = follow(store, 0)
    await until('both changes', () => seen.events.at(-1)?.revision === second)
    assert.equal(seen.events.length, 2)
    await seen.stop()
    stranger.close()
  })

  it('resumes watches from before its own start, also from far back', async () => {
    const address = etcd.address()
    let last = 0
    {
      await using store = await openEtcdStore({ address })
      for (let i = 0; i < 3000; i += 100) last = Math.max(...(await Promise.all(Array.from({ length: 100 }, (_, j) => store.put(`/k/${i + j}`, '', 0)))))
    }
    await using store = await openEtcdStore({ address })
    assert.equal((await store.get('/none')).revision, last)
    for (const from of [0, 500, 1999, 2999]) {
      const seen = follow(store, from)
      await until(`all after ${from}`, () => seen.events.at(-1)?.revision === last)
      assert.deepEqual(seen.events.map((e) => e.revision), Array.from({ length: last - from }, (_, i) => from + 1 + i))
      await seen.stop()
    }
    const { entries } = await store.list('/k/')
    assert.equal(entries.length, 3000, 'a list longer than a page is whole')
  })

  it('tells a server whose history another one compacted', async () => {
    const address = etcd.address()
    await using one = await openEtcdStore({ address })
    await using two = await openEtcdStore({ address })
    const at: number[] = []
    for (let i = 0; i < 5; i++) at.push(await one.put('/a', String(i), at.at(-1) ?? 0))
    await one.compact(at[3] ?? 0)
    await two.compact(at[2] ?? 0)
    await assert.rejects(two.get('/a', at[1]), fails('compacted', /is no longer kept/))
    assert.equal((await two.get('/a', at[3])).entry?.value, '3')
  })

  it('waits or fails while etcd hangs, loses nothing, and goes on when it does', async () => {
    await using store = await openEtcdStore({ address: etcd.address() })
    const first = await store.put('/a', '1', 0)
    const seen = follow(store, 0)
    await etcd.freeze()
    try {
      let done = false
      const slow = store.put('/b', '2', 0).finally(() => (done = true))
      await new Promise((resolve) => setTimeout(resolve, 300))
      assert.equal(done, false, 'a write waits')
      etcd.thaw()
      assert.equal(await slow, first + 1)
    } finally {
      etcd.thaw()
    }
    await until('the watch', () => seen.events.length === 2)
    await seen.stop()
  })

  it('keeps every acknowledged write when etcd is killed, and its watches miss nothing', async () => {
    await using store = await openEtcdStore({ address: etcd.address() })
    const seen = follow(store, 0)
    const acknowledged = new Map<string, number>()
    const stop = new AbortController()
    const writer = async (w: number): Promise<void> => {
      for (let i = 0; !stop.signal.aborted; i++) {
        const key = `/${w}/${i}`
        await store.put(key, String(i), 0).then(
          (r) => acknowledged.set(key, r),
          (e: unknown) => {
            assert.ok(hasCode(e, 'unavailable') || hasCode(e, 'timeout'), String(e))
            return new Promise((resolve) => setTimeout(resolve, 50))
          },
        )
      }
    }
    const writers = Promise.all([0, 1, 2, 3].map(writer))
    const rounds = Number(process.env['SKERRY_SOAK'] ?? 0) || 1
    for (let round = 0; round < rounds; round++) {
      const [had, want] = [acknowledged.size, acknowledged.size + 20]
      await until(`writes, round ${round}`, () => acknowledged.size > want, 20_000)
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 100))
      await etcd.down('SIGKILL')
      assert.ok(acknowledged.size > had)
      // A call that is sent into the connection in the moment it breaks may hear nothing, until its time is over.
      await assert.rejects(store.get('/a'), /check that it runs, its address|Deadline exceeded/)
      await etcd.up()
    }
    const before = acknowledged.size
    await until('more writes', () => acknowledged.size > before + 20, 20_000)
    stop.abort()
    await writers
    const { entries } = await store.list('')
    const kept = new Map(entries.map((e) => [e.key, e.revision]))
    for (const [key, revision] of acknowledged) assert.equal(kept.get(key), revision, key)
    const all = [...kept.values()].sort((x, y) => x - y)
    await until('the watch has all', () => seen.events.at(-1)?.revision === all.at(-1))
    assert.deepEqual(seen.events.map((e) => e.revision), all)
    await seen.stop()
  })

  it('says "full" when etcd’s quota is used up, reads on, and takes writes again after room was made', { timeout: 60_000 }, async () => {
    const small = await Etcd.start(PORT + 4, { flags: ['--quota-backend-bytes', String(3 << 20)] })
    try {
      const address = small.address()
      await using store = await openEtcdStore({ address })
      let last = 0
      await assert.rejects(async () => {
        for (let i = 0; i < 100; i++) last = await store.put('/a', 'x'.repeat(200_000), last)
      }, fails('full', /skerry store compact/))
      const { entry, revision } = await store.get('/a')
      // etcd keeps the write that it refuses first, and none after it.
      assert.ok(entry && entry.revision >= last)
      await assert.rejects(store.put('/b', 'x', 0), fails('full', /skerry store compact/))
      await assert.rejects(store.put('/big', 'x'.repeat(2_000_000), 0), fails('too-large', /2000000 bytes/))
      await using second = await openEtcdStore({ address })
      assert.equal((await second.get('/a')).entry?.revision, entry.revision, 'a server starts on a full etcd')
      await second.compact(revision)
      await second.reclaim()
      await store.put('/a', 'room', entry.revision)
    } finally {
      await small.stop()
    }
  })

  it('refuses a server that it cannot trust, and is refused without a certificate', async () => {
    const address = etcd.address()
    const other = await createCa({ cn: 'other', years: 1 })
    await assert.rejects(openEtcdStore({ address: { ...address, tls: { ca: other.certPem, cert: undefined, key: undefined } } }), fails('unavailable', /ca, cert and key/))
    await assert.rejects(openEtcdStore({ address: { ...address, tls: { ca: etcd.tls?.ca ?? '', cert: undefined, key: undefined } } }), fails('unavailable', /ca, cert and key/))
    await assert.rejects(openEtcdStore({ address: { ...address, tls: undefined } }), fails('unavailable', /ca, cert and key/))
  })

  it('goes on with renewed certificates when etcd takes the former ones no more', { timeout: 60_000 }, async () => {
    const own = await Etcd.start(PORT + 8, { tls: true })
    try {
      let files = own.tls
      await using store = await openEtcdStore({ address: { ...own.address(), reload: () => files } })
      await store.put('/a', '1', 0)
      await own.down('SIGTERM')
      const renewed = await own.renewTls()
      await own.up()
      await assert.rejects(store.get('/a'), fails('unavailable', /ca, cert and key/))
      files = renewed
      await until('it reads again', () => store.get('/a').then((r) => r.entry?.value === '1', () => false), 20_000)
      await until('and writes', () => store.put('/b', '1', 0).then(() => true, () => false), 20_000)
    } finally {
      await own.stop()
    }
  })

  it('logs in as a user, again when etcd has forgotten it, and says what a wrong password is', { timeout: 60_000 }, async () => {
    const own = await Etcd.start(PORT + 10)
    try {
      await own.addUser('skerry', 'secret', '/mine/')
      const address = { ...own.address('/mine/'), user: { name: 'skerry', password: () => 'secret' } }
      await assert.rejects(openEtcdStore({ address: { ...address, user: { name: 'skerry', password: () => 'guess' } } }), fails('unauthorized', /log in to etcd at .* as "skerry": .*check user and password-file of --store/))
      await assert.rejects(openEtcdStore({ address: own.address('/mine/') }), /user name is empty/)
      await assert.rejects(openEtcdStore({ address: { ...address, prefix: '/theirs/' } }), fails('forbidden', /permission denied; give its user a role/))
      await using store = await openEtcdStore({ address })
      const stop = new AbortController()
      const seen: string[] = []
      const watching = (async () => {
        for await (const batch of store.watch('/', 0, stop.signal)) seen.push(...batch.map((e) => e.key))
      })()
      await store.put('/a', '1', 0)
      // Its simple tokens are in memory only.
      await own.down()
      await own.up()
      await until('it writes again', () => store.put('/b', '1', 0, { ttlSeconds: 60 }).then(() => true, () => false), 20_000)
      await until('the watch has both', () => seen.includes('/a') && seen.includes('/b'))
      stop.abort()
      await watching
    } finally {
      await own.stop()
    }
  })

  it('goes to the next endpoint when one is away', async () => {
    const address = etcd.address()
    await using store = await openEtcdStore({ address: { ...address, endpoints: ['127.0.0.1:7899', ...address.endpoints] } })
    await store.put('/a', '1', 0)
    assert.equal((await store.get('/a')).entry?.value, '1')
  })
})
