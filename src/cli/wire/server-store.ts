/** Opens the store a server is told to use; one that is away for the moment is waited for. */
import { existsSync } from 'node:fs'
import type { Clock } from '../../base/clock.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { openEtcdStore, openSqliteStore, type Store, type StoreReclaim, type StoreRecords, type StoreStats } from '../../store/mod.ts'
import type { StoreChoice } from '../store-url.ts'
import { keyFile, keysInFile, sealSecrets, type KeyPlace } from './secrets.ts'

const log = logger('server.store')

/** How long a server waits for an etcd that does not answer, before it ends with the reason, ms: they often boot together. */
const WAIT_MS = 60_000

/** A store; with `records` when several servers may share it. */
export interface ServerStore {
  readonly store: Store
  readonly records: StoreRecords | undefined
  /** What an administrator may ask for. */
  readonly upkeep: Pick<Store, 'compact'> & StoreStats & StoreReclaim
}

/** @param path of the SQLite file @throws AppError with the way out */
export async function openServerStore(choice: StoreChoice, path: string, clock: Clock): Promise<ServerStore> {
  if (choice.kind === 'sqlite') {
    if (!existsSync(path) && existsSync(`${path}.moved`)) {
      throw new AppError('conflict', `open store "${path}": it was moved to etcd: start with the same --store etcd://…, or rename "${path}.moved" back to begin where it was left`)
    }
    const store = await openSqliteStore({ path, clock })
    return { store: await sealed(store, keysInFile(keyFile(path)), choice.encrypted ?? []), records: undefined, upkeep: store }
  }
  const started = clock.monotonic()
  for (let told = false; ; ) {
    try {
      const store = await openEtcdStore({ address: choice.address, clock })
      return { store, records: store, upkeep: store }
    } catch (error) {
      const away = error instanceof AppError && (error.code === 'unavailable' || error.code === 'timeout')
      if (!away || clock.monotonic() - started > WAIT_MS) throw error
      if (!told) log.warn('the store does not answer yet, waiting', { why: messageOf(error) })
      told = true
      await clock.sleep(1_000)
    }
  }
}

/** With what `encrypted` names sealed; a store whose values cannot be read is closed again. For a shared store once the cluster token is there. */
export async function sealed(store: Store, keys: KeyPlace, encrypted: readonly string[]): Promise<Store> {
  try {
    return await sealSecrets(store, keys, encrypted)
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
}
