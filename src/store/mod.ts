/** The front door of the store: the port, and its implementations. */
import type { EtcdAddress } from './etcd-client.ts'
import type { Copied } from './etcd-copy.ts'
import type { EtcdStoreOptions } from './etcd.ts'
import type { Progress } from './sqlite-backup.ts'
import type { Store, StoreReclaim, StoreRecords, StoreStats } from './store.ts'

export type { Entry, ListOptions, ListResult, RecordChange, Revision, Store, StoreEvent, StoreReclaim, StoreRecords, StoreStats, WriteOptions } from './store.ts'
export type { CompactionPolicy } from './compactor.ts'
export { createMemoryStore, type MemoryStoreOptions } from './memory.ts'
export { openSqliteStore, type SqliteStoreOptions } from './sqlite.ts'
export { backupSqliteStore, compactSqliteStore, restoreSqliteStore, type Progress } from './sqlite-backup.ts'
export type { Copied, EtcdAddress }
export type { EtcdStoreOptions } from './etcd.ts'

/** Opens the store on an etcd, making its mark when it is new. The gRPC client is loaded only now. @throws AppError with the way out */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store & StoreStats & StoreRecords & StoreReclaim> {
  return (await import('./etcd.ts')).openEtcd(options)
}

/** Writes an etcd store's state of one moment to a file, while servers work. @throws AppError */
export async function backupEtcdStore(address: EtcdAddress, to: string, now: number, progress?: Progress): Promise<Copied> {
  return (await import('./etcd-copy.ts')).backupEtcd(address, to, now, progress)
}

/** Puts a backup into an etcd that holds no store below the prefix. @throws AppError `exists`, `corrupt` */
export async function restoreEtcdStore(from: string, address: EtcdAddress, now: number, progress?: Progress): Promise<Copied> {
  return (await import('./etcd-copy.ts')).restoreEtcd(from, address, now, progress)
}

/** Moves an SQLite store, which no server may have open, into an etcd; the file is kept as `<path>.moved`. @throws AppError */
export async function moveStoreToEtcd(path: string, address: EtcdAddress, now: number, progress?: Progress): Promise<Copied> {
  return (await import('./etcd-copy.ts')).moveToEtcd(path, address, now, progress)
}

/** Moves an etcd store, whose servers are stopped, to an SQLite file that must not exist; etcd keeps what it has. @throws AppError */
export async function moveStoreFromEtcd(address: EtcdAddress, path: string, now: number, progress?: Progress): Promise<Copied> {
  return (await import('./etcd-copy.ts')).moveFromEtcd(address, path, now, progress)
}
export { reseal, sealStore, type SealKey, type SealOptions } from './sealed.ts'
export { newestOf, type NewestRevision } from './newest.ts'
