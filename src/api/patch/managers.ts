/**
 * The owners of an object's fields: entries of `metadata.managedFields` read and written, and kept few. Pure. Used by
 * server-side apply.
 */
import type { ManagedFieldsEntry } from '../meta.ts'
import { isEmpty, readFields, union } from './field-set.ts'
import type { Fields } from './field-set.ts'

export interface Writer {
  /** `fieldManager`, or the first word of the user agent. */
  readonly manager: string
  readonly apiVersion: string
  /** The door of the write when it is not the main one: `status`, `scale`. */
  readonly subresource?: string | undefined
  /** RFC 3339, seconds. */
  readonly time: string
  /** The kind has a status subresource, so the main door owns nothing of the status and the other nothing but. */
  readonly hasStatus: boolean
}

/** One entry and its set. */
export interface Owner {
  entry: ManagedFieldsEntry
  fields: Fields
}

/** More entries of plain updates than this are merged, as in Kubernetes. */
const MAX_UPDATE_MANAGERS = 10
const ANCIENT = 'ancient-changes'

/** The owners as entries tell them; undefined when an entry cannot be read, and then none of them counts. */
export function readOwners(entries: readonly ManagedFieldsEntry[] | undefined): Owner[] | undefined {
  const out: Owner[] = []
  for (const entry of entries ?? []) {
    if (typeof entry !== 'object' || entry === null) return undefined
    if (entry.operation !== 'Apply' && entry.operation !== 'Update') return undefined
    if (entry.fieldsType !== 'FieldsV1' || !entry.apiVersion) return undefined
    const fields = readFields(entry.fieldsV1 ?? {})
    if (fields === undefined) return undefined
    out.push({ entry, fields })
  }
  return out
}

/** Entries to store: none without fields; applies first, then by time, as Kubernetes orders them. */
export function writeOwners(owners: readonly Owner[]): ManagedFieldsEntry[] {
  const kept = owners.filter((o) => !isEmpty(o.fields)).map((o) => ({ ...o.entry, fieldsType: 'FieldsV1', fieldsV1: o.fields }))
  return kept.length < 2 ? kept : kept.sort(byOrder)
}

function byOrder(p: ManagedFieldsEntry, q: ManagedFieldsEntry): number {
  const order = (a: string | undefined = '', b: string | undefined = ''): number => (a < b ? -1 : a > b ? 1 : 0)
  return order(p.operation, q.operation) || order(p.time, q.time) || order(p.manager, q.manager) || order(p.apiVersion, q.apiVersion) || order(p.subresource, q.subresource)
}

/** A new entry of this writer. */
export function entryOf(writer: Writer, operation: 'Apply' | 'Update'): ManagedFieldsEntry {
  const { manager, apiVersion, time, subresource } = writer
  return { manager, operation, apiVersion, time, fieldsType: 'FieldsV1', ...(subresource !== undefined && { subresource }) }
}

/** Whether an entry is this writer's: an applier stays the same in each version, an updater is another one. */
export function isSame(entry: ManagedFieldsEntry, writer: Writer, operation: 'Apply' | 'Update'): boolean {
  const sameVersion = operation === 'Apply' || entry.apiVersion === writer.apiVersion
  return entry.manager === writer.manager && entry.operation === operation && sameVersion && (entry.subresource ?? '') === (writer.subresource ?? '')
}

/** Keeps the list short: the oldest updates of a version become one entry, so that a fleet of clients cannot grow an object for ever. */
export function capUpdates(owners: readonly Owner[]): Owner[] {
  const updates = owners.filter((o) => o.entry.operation === 'Update' && !isEmpty(o.fields))
  let over = updates.length - MAX_UPDATE_MANAGERS
  if (over <= 0) return [...owners]
  const gone = new Set<Owner>()
  const buckets = new Map<string, Owner>()
  for (const owner of updates.sort((a, b) => byOrder(a.entry, b.entry))) {
    if (over <= 0) break
    const { apiVersion = '', time = '' } = owner.entry
    const bucket = buckets.get(apiVersion)
    gone.add(owner)
    if (bucket) over--
    const entry: ManagedFieldsEntry = { manager: ANCIENT, operation: 'Update', apiVersion, time, fieldsType: 'FieldsV1' }
    buckets.set(apiVersion, { entry, fields: union(bucket?.fields ?? {}, owner.fields) })
  }
  return [...buckets.values(), ...owners.filter((o) => !gone.has(o))]
}

/** `"kubectl" with subresource "status" using apps/v1`: an owner as conflicts name it. */
export function ownerText(owner: ManagedFieldsEntry): string {
  let who = JSON.stringify(owner.manager ?? '')
  if (owner.subresource) who += ` with subresource ${JSON.stringify(owner.subresource)}`
  if (owner.operation === 'Update') who += ` using ${owner.apiVersion}`
  return who
}
