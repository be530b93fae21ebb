/**
 * Server-side apply: merges an applied object into the live one, field by field, with an owner for each field. What the manager
 * applied before and does not any more is removed unless someone else owns it too; what someone else owns with another value is a
 * conflict unless forced. Also keeps the owners current after writes that are no applies. Pure.
 */
import { AppError } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'
import type { KubeObject, ManagedFieldsEntry } from '../meta.ts'
import type { Schema } from '../schema-types.ts'
import { applyConflict } from '../status.ts'
import type { StatusCause } from '../status.ts'
import { childSchema, compare, difference, factsOf, fieldsOf, intersection, isEmpty, itemKey, pathsOf, shapeOf, union } from './field-set.ts'
import type { Fields } from './field-set.ts'
import { equal } from './json-patch.ts'
import { isObject } from './merge-patch.ts'

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

/** More entries of plain updates than this are merged into one, as in Kubernetes. */
const MAX_UPDATE_MANAGERS = 10

/**
 * The object after applying `applied` to `live` (undefined when it does not exist yet), with its managedFields.
 * @throws ApiError 409 naming each conflict and its owner
 */
export function serverSideApply(live: KubeObject | undefined, applied: KubeObject, schema: Schema, writer: Writer, force: boolean): KubeObject {
  if (applied.metadata?.managedFields?.length) throw new AppError('invalid', 'metadata.managedFields must be nil')
  const base: KubeObject = live === undefined ? {} : withoutManaged(live)
  const root = factsOf(schema)
  const sent = owned(fieldsOf(applied, root), writer)
  const entries = decode(live?.metadata?.managedFields)
  const mine = entries.find((e) => isSame(e.entry, writer, 'Apply'))
  const others = entries.filter((e) => e !== mine)
  const merged = mergeValue(base, withoutManaged(applied), root) as KubeObject
  const shared = others.reduce<Fields>((all, e) => union(all, e.fields), {})
  const still = union(sent, shared)
  const gone = mine === undefined ? {} : difference(mine.fields, still)
  const result = (isEmpty(gone) ? merged : removeFields(merged, gone, still, root)) as KubeObject
  const { changed } = compare(base, result, root)
  const contested = intersection(changed, sent)
  const conflicts = others.map((e) => ({ owner: e, fields: intersection(contested, e.fields) })).filter((c) => !isEmpty(c.fields))
  if (conflicts.length > 0 && !force) throw applyConflict(conflicts.flatMap((c) => causesOf(c.owner.entry, c.fields)))
  for (const c of conflicts) c.owner.fields = difference(c.owner.fields, c.fields)
  const unchanged = mine !== undefined && equal(mine.fields, sent) && isEmpty(changed)
  const entry = unchanged ? mine.entry : entryOf(writer, 'Apply')
  return withManaged(result, [...others, { entry, fields: sent }])
}

/**
 * The managedFields after a write that is no apply: the writer owns what it changed, nobody owns what is gone. A caller that sends
 * its own managedFields sets the base; an empty list there forgets them all.
 */
export function managedAfterUpdate(old: KubeObject | undefined, next: KubeObject, schema: Schema, writer: Writer): ManagedFieldsEntry[] {
  const root = factsOf(schema)
  const sentList = next.metadata?.managedFields
  const reset = sentList?.length === 1 && Object.keys(sentList[0] as object).length === 0
  const entries = decode(reset ? [] : (sentList ?? old?.metadata?.managedFields))
  const delta = compare(old === undefined ? {} : withoutManaged(old), withoutManaged(next), root)
  const changed = owned(delta.changed, writer)
  const { removed } = delta
  let mine = entries.find((e) => isSame(e.entry, writer, 'Update'))
  for (const e of entries) {
    if (e !== mine) e.fields = difference(e.fields, changed)
    e.fields = difference(e.fields, removed)
  }
  if (!isEmpty(changed)) {
    if (mine === undefined) entries.push((mine = { entry: entryOf(writer, 'Update'), fields: {} }))
    mine.fields = union(mine.fields, changed)
    mine.entry = entryOf(writer, 'Update')
  }
  return encode(capUpdates(entries))
}

interface Owner {
  entry: ManagedFieldsEntry
  fields: Fields
}

function decode(entries: readonly ManagedFieldsEntry[] | undefined): Owner[] {
  return (entries ?? []).map((entry) => ({ entry, fields: (entry.fieldsV1 ?? {}) as Fields }))
}

function encode(owners: readonly Owner[]): ManagedFieldsEntry[] {
  return owners.filter((o) => !isEmpty(o.fields)).map((o) => ({ ...o.entry, fieldsType: 'FieldsV1', fieldsV1: o.fields }))
}

function entryOf(writer: Writer, operation: 'Apply' | 'Update'): ManagedFieldsEntry {
  const { manager, apiVersion, time, subresource } = writer
  return { manager, operation, apiVersion, time, fieldsType: 'FieldsV1', ...(subresource !== undefined && { subresource }) }
}

function isSame(entry: ManagedFieldsEntry, writer: Writer, operation: string): boolean {
  const sameVersion = operation === 'Apply' || entry.apiVersion === writer.apiVersion
  return entry.manager === writer.manager && entry.operation === operation && sameVersion && (entry.subresource ?? '') === (writer.subresource ?? '')
}

/** Keeps the list short: the oldest plain updates become one entry, so that a fleet of clients cannot grow an object for ever. */
function capUpdates(owners: Owner[]): Owner[] {
  const updates = owners.filter((o) => o.entry.operation === 'Update' && o.entry.subresource === undefined && !isEmpty(o.fields))
  if (updates.length <= MAX_UPDATE_MANAGERS) return owners
  const oldest = [...updates].sort((a, b) => ((a.entry.time ?? '') < (b.entry.time ?? '') ? -1 : 1)).slice(0, updates.length - MAX_UPDATE_MANAGERS + 1)
  const first = oldest[0] as Owner
  const together: Owner = {
    entry: { ...first.entry, manager: 'ancient-changes' },
    fields: oldest.reduce<Fields>((all, o) => union(all, o.fields), {}),
  }
  return [together, ...owners.filter((o) => !oldest.includes(o))]
}

/** Fields that belong to the server, never to a manager. */
const SERVER_OWNED: Fields = {
  'f:apiVersion': {},
  'f:kind': {},
  'f:metadata': Object.fromEntries(
    ['name', 'namespace', 'generateName', 'creationTimestamp', 'selfLink', 'uid', 'generation', 'managedFields', 'resourceVersion', 'deletionTimestamp', 'deletionGracePeriodSeconds'].map((k) => [`f:${k}`, {}]),
  ),
}

function owned(fields: Fields, writer: Writer): Fields {
  const mine = Object.fromEntries(
    Object.entries(difference(fields, SERVER_OWNED)).filter(([key]) => {
      if (!writer.hasStatus) return true
      return writer.subresource === 'status' ? key === 'f:status' || key === 'f:metadata' : key !== 'f:status'
    }),
  )
  return mine['f:metadata'] !== undefined && isEmpty(mine['f:metadata']) ? Object.fromEntries(Object.entries(mine).filter(([k]) => k !== 'f:metadata')) : mine
}

function mergeValue(live: unknown, applied: unknown, schema: Schema): unknown {
  const shape = shapeOf(schema, applied)
  if (shape === 'whole' || shapeOf(schema, live) !== shape) return shape === 'fields' ? mergeFields({}, applied as Record<string, unknown>, schema) : cloneJson(applied)
  return shape === 'fields' ? mergeFields(live as Record<string, unknown>, applied as Record<string, unknown>, schema) : mergeItems(live as unknown[], applied as unknown[], schema)
}

function mergeFields(live: Record<string, unknown>, applied: Record<string, unknown>, schema: Schema): Record<string, unknown> {
  const out = { ...live }
  for (const [key, value] of Object.entries(applied)) {
    if (value === undefined) continue
    if (value === null) delete out[key]
    else Object.defineProperty(out, key, { value: mergeValue(out[key], value, childSchema(schema, key)), writable: true, enumerable: true, configurable: true })
  }
  return out
}

/** Items keep their places; new ones come at the end in the order applied. */
function mergeItems(live: readonly unknown[], applied: readonly unknown[], schema: Schema): unknown[] {
  const out = [...live]
  const items = factsOf(schema.items)
  for (const item of applied) {
    const key = itemKey(schema, item)
    const at = out.findIndex((o) => itemKey(schema, o) === key)
    if (at < 0) out.push(cloneJson(item))
    else out[at] = mergeValue(out[at], item, items)
  }
  return out
}

/** The value without the fields of a set. A container that this leaves empty goes too, unless it is in `still`, the set that has owners. */
function removeFields(value: unknown, fields: Fields, still: Fields | undefined, schema: Schema): unknown {
  switch (shapeOf(schema, value)) {
    case 'fields': {
      const out: Record<string, unknown> = { ...(value as Record<string, unknown>) }
      for (const [key, node] of Object.entries(fields)) {
        const name = key.slice(2)
        if (!key.startsWith('f:') || out[name] === undefined) continue
        const left = isEmpty(node) ? undefined : removeFields(out[name], node, still?.[key], childSchema(schema, name))
        if (left === undefined) delete out[name]
        else out[name] = left
      }
      return Object.keys(out).length === 0 && still === undefined ? undefined : out
    }
    case 'items': {
      const items = factsOf(schema.items)
      const out = (value as unknown[]).flatMap((item) => {
        const key = itemKey(schema, item)
        const node = fields[key]
        if (node === undefined) return [item]
        if ('.' in node || isEmpty(node)) return []
        const left = removeFields(item, node, still?.[key], items)
        return left === undefined ? [] : [left]
      })
      return out.length === 0 && still === undefined ? undefined : out
    }
    case 'whole':
      return value
  }
}

function causesOf(owner: ManagedFieldsEntry, fields: Fields): StatusCause[] {
  let who = JSON.stringify(owner.manager ?? '')
  if (owner.subresource) who += ` with subresource ${JSON.stringify(owner.subresource)}`
  if (owner.operation === 'Update') who += ` using ${owner.apiVersion}${owner.time ? ` at ${owner.time}` : ''}`
  return pathsOf(fields).map((field) => ({ reason: 'FieldManagerConflict', message: `conflict with ${who}`, field }))
}

function withoutManaged<T extends KubeObject>(object: T): T {
  if (!isObject(object.metadata) || object.metadata.managedFields === undefined) return object
  const { managedFields: _managed, ...metadata } = object.metadata
  return { ...object, metadata }
}

function withManaged(object: KubeObject, owners: readonly Owner[]): KubeObject {
  return { ...object, metadata: { ...object.metadata, managedFields: encode(owners) } }
}
