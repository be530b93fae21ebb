/** The API's histories and garbage on the stores that outlive a process: SQLite, and a real etcd, alone and shared by two servers. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../src/base/clock.ts'
import { openEtcdStore, openSqliteStore, type Store } from '../../src/store/mod.ts'
import { Etcd, noEtcd } from '../kit/etcd.ts'
import { fuzzApi } from '../suites/api-fuzz.ts'
import { playHistories } from '../suites/api-history.ts'

const PORT = 7890
const timeout = 240_000
const FUZZ_RUNS = 60

describe('the API on SQLite', () => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-api-stores-'))
  after(() => rmSync(directory, { recursive: true, force: true }))
  fuzzApi('garbage', async () => [await openSqliteStore({ path: join(directory, 'fuzz.db'), clock: systemClock })], FUZZ_RUNS)
})

describe('the API on etcd', { skip: noEtcd }, () => {
  let etcd: Etcd
  before(async () => {
    etcd = await Etcd.start(PORT)
  })
  after(() => etcd?.stop())
  /** Stores of one prefix that nobody has used. */
  const shared = async (servers: number): Promise<Store[]> => {
    const address = etcd.address()
    return Promise.all(Array.from({ length: servers }, () => openEtcdStore({ address, clock: systemClock })))
  }
  test('histories of one server', { timeout }, () => playHistories(() => shared(1), 4))
  test('histories of two servers that are asked in turn', { timeout }, () => playHistories(() => shared(2), 6))
  fuzzApi('garbage, at two servers in turn', () => shared(2), FUZZ_RUNS)
})
