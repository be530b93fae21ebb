/** Backups of an etcd store, and the ways between the stores. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Etcd, noEtcd } from '../../test/kit/etcd.ts'
import { AppError, type ErrorCode } from '../base/errors.ts'
import { EtcdClient } from './etcd-client.ts'
import { backupEtcdStore, backupSqliteStore, compactSqliteStore, moveStoreToEtcd, openEtcdStore, openSqliteStore, restoreEtcdStore, restoreSqliteStore, type Store } from './mod.ts'

const directory = mkdtempSync(join(tmpdir(), 'skerry-copy-'))
after(() => rmSync(directory, { recursive: true, force: true }))
const fails = (code: ErrorCode, text: RegExp) => (e: unknown) => e instanceof AppError && e.code === code && text.test(e.message)
const state = async (store: Store): Promise<string[]> => (await store.list('')).entries.map((e) => `${e.key}=${e.value}`)

/** Enough for several pages, with history, deletes and something that ends by itself. */
async function fill(store: Store): Promise<string[]> {
  const made = await Promise.all(Array.from({ length: 1200 }, (_, i) => store.put(`/k/${String(i).padStart(4, '0')}`, `ü${i} ${'x'.repeat(i)}`, 0)))
  await store.put('/k/0000', 'changed', made[0] ?? 0)
  await store.delete('/k/0001', made[1] ?? 0)
  await store.put('/event', 'short', 0, { ttlSeconds: 5 })
  return state(store)
}

/** A client that remembers a revision from before is told to list again. */
async function tellsToList(store: Store, remembered: number): Promise<void> {
  await assert.rejects(store.watch('', remembered, new AbortController().signal)[Symbol.asyncIterator]().next(), fails('compacted', /list again/))
  assert.ok((await store.get('/')).revision > remembered)
}

it('compacts a store file that nobody has open', async () => {
  const path = join(directory, 'compact.db')
  await assert.rejects(compactSqliteStore(path), fails('not-found', /there is no such file/))
  let kept: string[]
  {
    await using store = await openSqliteStore({ path })
    let last = 0
    for (let i = 0; i < 200; i++) last = await store.put('/a', `${i}${'x'.repeat(20_000)}`, last)
    kept = await state(store)
    await assert.rejects(compactSqliteStore(path), fails('unavailable', /another process has it open; stop/))
  }
  const { before: was, after: is } = await compactSqliteStore(path)
  assert.ok(was > 3_000_000 && is < 200_000, `${was} to ${is}`)
  await using store = await openSqliteStore({ path })
  assert.deepEqual(await state(store), kept)
  assert.equal((await store.get('/a')).revision, 200, 'no revision is given out twice')
})

describe('copies with etcd', { skip: noEtcd }, () => {
  let etcd: Etcd
  before(async () => {
    etcd = await Etcd.start(7856)
  })
  after(() => etcd.stop())

  it('moves a store file to etcd, with what ends by itself, and clients list again', async () => {
    const path = join(directory, 'move.db')
    const address = etcd.address()
    let filled: string[]
    {
      await using store = await openSqliteStore({ path })
      filled = await fill(store)
      await assert.rejects(moveStoreToEtcd(path, address, Date.now()), fails('unavailable', /another process has it open; stop/))
    }
    const { entries } = await moveStoreToEtcd(path, address, Date.now())
    assert.equal(entries, filled.length)
    assert.ok(!existsSync(path) && existsSync(`${path}.moved`))
    await using store = await openEtcdStore({ address })
    assert.deepEqual(await state(store), filled)
    await tellsToList(store, filled.length)
    const { entry, revision } = await store.get('/k/0000')
    assert.ok(entry && entry.revision > 0 && entry.revision <= revision)
    const changed = await store.put('/k/0000', 'again', entry.revision)
    assert.ok(changed > revision)
    const signal = AbortSignal.timeout(20_000)
    for await (const events of store.watch('/event', changed, signal)) {
      assert.equal(events[0]?.type, 'delete', 'its time went on')
      break
    }
    assert.ok(!signal.aborted)
  })

  it('does not copy over a store, and takes up a copy that broke off', async () => {
    const [path, copy] = [join(directory, 'twice.db'), join(directory, 'twice.backup')]
    const address = etcd.address()
    let filled: string[]
    {
      await using store = await openSqliteStore({ path })
      filled = await fill(store)
      await backupSqliteStore(path, copy)
    }
    const client = new EtcdClient(address)
    await client.call('Txn', { success: [{ requestPut: { key: Buffer.from(`${address.prefix}data/left/over`), value: Buffer.from('x') } }] })
    client.close()
    await restoreEtcdStore(copy, address, Date.now())
    await assert.rejects(moveStoreToEtcd(path, address, Date.now()), fails('exists', /holds a store below .* already; name another one, as in etcd:/))
    assert.ok(existsSync(path), 'what was not moved is still there')
    await using store = await openEtcdStore({ address })
    assert.deepEqual(await state(store), filled)
  })

  it('backs up a store in use as of one moment, and restores it on either store', async () => {
    const [address, copy, path] = [etcd.address(), join(directory, 'etcd.backup'), join(directory, 'restored.db')]
    await assert.rejects(backupEtcdStore(address, copy, Date.now()), fails('not-found', /holds none below/))
    let filled: string[]
    let remembered: number
    {
      await using store = await openEtcdStore({ address })
      filled = await fill(store)
      const stop = new AbortController()
      // A pair is always written left first: a state with a right and no left never was.
      const writing = (async () => {
        for (let i = 0; !stop.signal.aborted; i++) for (const side of ['left', 'right']) await store.put(`/z/${side}/${i}`, '', 0)
      })()
      await backupEtcdStore(address, copy, Date.now())
      stop.abort()
      await writing
      remembered = (await store.get('/')).revision
    }
    await restoreSqliteStore(copy, path)
    const other = etcd.address()
    await restoreEtcdStore(copy, other, Date.now())
    await using sqlite = await openSqliteStore({ path })
    await using again = await openEtcdStore({ address: other })
    const restored = await state(sqlite)
    assert.deepEqual(await state(again), restored)
    assert.deepEqual(restored.filter((e) => !e.startsWith('/z/')), filled)
    for (const e of restored.filter((x) => x.startsWith('/z/right/'))) assert.ok(restored.includes(e.replace('right', 'left')), e)
    await tellsToList(sqlite, remembered)
    await tellsToList(again, remembered)
  })
})
