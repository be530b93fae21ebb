/** The front door of the store: the port, and its implementations. */
export type { Entry, ListOptions, ListResult, Revision, Store, StoreEvent, StoreStats, WriteOptions } from './store.ts'
export type { CompactionPolicy } from './compactor.ts'
export { createMemoryStore, type MemoryStoreOptions } from './memory.ts'
export { openSqliteStore, type SqliteStoreOptions } from './sqlite.ts'
export { backupSqliteStore, restoreSqliteStore } from './sqlite-backup.ts'
