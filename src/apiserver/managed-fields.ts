/** Who last wrote which fields: the writer of a call, and the managedFields after a write that is not an apply. Used by the write verbs. */
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import type { ManagedFieldsEntry } from '../api/meta.ts'
import { managedAfterUpdate, type Writer } from '../api/patch/mod.ts'
import { hasStatus } from '../api/prepare.ts'
import { schemaOf } from '../api/schema-table.ts'
import type { Schema } from '../api/schema-types.ts'
import type { Call } from './core.ts'
import type { Obj } from './stored-text.ts'

/** Longest name of a field manager, characters: Kubernetes' own limit. */
const MAX_MANAGER = 128

/** @param now RFC 3339, seconds */
export function writerOf(call: Call, now: string): Writer {
  const { def, info, query, headers } = call
  const agent = (headers['user-agent'] ?? '').split('/')[0] || (call.user.name.startsWith('system:') ? call.user.name : 'unknown')
  return {
    manager: (query.get('fieldManager') ?? agent).slice(0, MAX_MANAGER),
    apiVersion: apiVersionOf(def),
    subresource: info.subresource,
    time: now,
    hasStatus: hasStatus(def),
  }
}

/** The schema of whole objects of a resource. */
export function schemaFor(def: ResourceDef): Schema {
  return def.custom?.schema ?? schemaOf(def.schema)
}

/** The managedFields to store; an empty list stores none. */
export function managedAfterWrite(call: Call, old: Obj | undefined, next: Obj, now: string): ManagedFieldsEntry[] {
  return managedAfterUpdate(old, next, schemaFor(call.def), writerOf(call, now))
}
