/** The front door of the store: the port, and its implementations. */
import type { EtcdStoreOptions } from './etcd.ts'
import type { Store, StoreReclaim, StoreRecords, StoreStats } from './store.ts'

export type { Entry, ListOptions, ListResult, Revision, Store, StoreEvent, StoreReclaim, StoreRecords, StoreStats, WriteOptions } from './store.ts'
export type { CompactionPolicy } from './compactor.ts'
export { createMemoryStore, type MemoryStoreOptions } from './memory.ts'
export { openSqliteStore, type SqliteStoreOptions } from './sqlite.ts'
export { backupSqliteStore, restoreSqliteStore } from './sqlite-backup.ts'
export type { EtcdAddress } from './etcd-client.ts'
export type { EtcdStoreOptions } from './etcd.ts'

/** Opens the store on an etcd, making its mark when it is new. The gRPC client is loaded only now. @throws AppError with the way out */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store & StoreStats & StoreRecords & StoreReclaim> {
  return (await import('./etcd.ts')).openEtcd(options)
}
export { newestOf, type NewestRevision } from './newest.ts'
