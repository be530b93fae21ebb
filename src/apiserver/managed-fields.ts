/** Who last wrote which fields, after a write that is not an apply. Used by the write verbs. */
import type { ManagedFieldsEntry } from '../api/meta.ts'
import type { Call } from './core.ts'
import type { Obj } from './stored-text.ts'

/** The managedFields to store; an empty list stores none. */
export function managedAfterWrite(_call: Call, old: Obj | undefined, next: Obj, _now: string): ManagedFieldsEntry[] {
  return next.metadata.managedFields ?? old?.metadata.managedFields ?? []
}
