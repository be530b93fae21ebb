/** Who last wrote which fields: the writer of a call, and the managedFields after a write that is not an apply. Used by the write verbs. */
import { fromStored, toStored } from '../api/convert.ts'
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import type { ManagedFieldsEntry } from '../api/meta.ts'
import { managedAfterUpdate, type Versions, type Writer } from '../api/patch/mod.ts'
import { hasStatus } from '../api/prepare.ts'
import { schemaOf } from '../api/schema-table.ts'
import type { Schema } from '../api/schema-types.ts'
import type { Call, Core } from './core.ts'
import type { Resources } from './resources.ts'
import type { Obj } from './stored-text.ts'

/** Longest name of a field manager, bytes: Kubernetes' own limit. */
export const MAX_MANAGER = 128

/** @param now RFC 3339, seconds */
export function writerOf(call: Call, now: string): Writer {
  const { def, info, query, headers } = call
  return {
    manager: query.get('fieldManager') || fromUserAgent(headers['user-agent'] ?? '') || (call.user.name.startsWith('system:') ? call.user.name : 'unknown'),
    apiVersion: apiVersionOf(def),
    subresource: info.subresource,
    time: now,
    hasStatus: hasStatus(def),
  }
}

/** The first word of a user agent, as far as it prints and fits. */
function fromUserAgent(agent: string): string {
  const [word = ''] = agent.split('/')
  if (/^[\x20-\x7e]{0,128}$/.test(word)) return word
  let out = ''
  for (const char of word.replace(/\p{C}/gu, '')) {
    if (Buffer.byteLength(out + char) > MAX_MANAGER) break
    out += char
  }
  return out
}

/** The schema of whole objects of a resource. */
export function schemaFor(def: ResourceDef): Schema {
  return def.custom?.schema ?? schemaOf(def.schema)
}

/** How the other versions (and groups) of a resource see its objects. */
export function versionsOf(resources: Resources, def: ResourceDef): Versions {
  return (apiVersion) => {
    const other = resources.all.find((d) => d.storage === def.storage && apiVersionOf(d) === apiVersion)
    if (!other) return undefined
    return {
      schema: schemaFor(other),
      from: (object) => fromStored(other, toStored(def, object)),
      back: (object) => fromStored(def, toStored(other, object)),
    }
  }
}

/** The managedFields to store; an empty list stores none. */
export function managedAfterWrite(core: Core, call: Call, old: Obj | undefined, next: Obj, now: string): ManagedFieldsEntry[] {
  const writer = writerOf(call, now)
  return managedAfterUpdate(old, next, schemaFor(call.def), writer, versionsOf(core.resources, call.def))
}
