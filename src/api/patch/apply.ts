/**
 * Server-side apply: merges an applied object into the live one, field by field, with an owner for each field. What the manager
 * applied before and does not any more is removed unless someone else owns it too; what someone else owns with another value is a
 * conflict unless forced. Also keeps the owners current after writes that are no applies. Owners of other versions of the kind are
 * compared in their own version. Pure.
 */
import { AppError } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'
import type { KubeObject, ManagedFieldsEntry } from '../meta.ts'
import type { Schema } from '../schema-types.ts'
import { applyConflict } from '../status.ts'
import type { StatusCause } from '../status.ts'
import { difference, intersection, isEmpty, isSubset, pathsOf, union } from './field-set.ts'
import type { Fields } from './field-set.ts'
import { childSchema, compare, factsOf, fieldsOf, itemKey, removeFields, shapeOf, withParents } from './fields-of.ts'
import type { Difference } from './fields-of.ts'
import { equal } from './json-patch.ts'
import { capUpdates, entryOf, isSame, ownerText, readOwners, writeOwners } from './managers.ts'
import type { Owner, Writer } from './managers.ts'
import { isObject } from './merge-patch.ts'

export type { Writer }

/** A version of a kind: how its objects merge, and how an object of the writer's version looks in it. */
export interface VersionShape {
  readonly schema: Schema
  readonly from: (object: KubeObject) => KubeObject
  readonly back: (object: KubeObject) => KubeObject
}

/** The shape of another version by `apiVersion`; undefined when it is not served: entries of it are dropped. */
export type Versions = (apiVersion: string) => VersionShape | undefined

/** Owner of all that an object had before anybody's writes to it were tracked. */
const BEFORE_FIRST_APPLY = 'before-first-apply'
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration'
/** Most characters of all annotations. */
const MAX_ANNOTATIONS = 256 << 10

/**
 * The object after applying `applied` to `live` (undefined when it does not exist yet), with its managedFields.
 * @throws ApiError 409 naming each conflict and its owner; AppError `invalid` when the applied object claims owners
 */
export function serverSideApply(live: KubeObject | undefined, applied: KubeObject, schema: Schema, writer: Writer, force: boolean, versions: Versions = noVersions): KubeObject {
  if (applied.metadata?.managedFields !== undefined && applied.metadata.managedFields !== null) throw new AppError('invalid', 'metadata.managedFields must be nil')
  const shapes = shapesOf(schema, writer, versions)
  const root = factsOf(schema)
  const base: KubeObject = live === undefined ? {} : withoutManaged(live)
  const sent = owned(fieldsOf(applied, root), writer)
  const owners = ownersOf(live, root, writer).filter((o) => shapes(o.entry.apiVersion))
  const mine = owners.find((o) => isSame(o.entry, writer, 'Apply'))
  const others = owners.filter((o) => o !== mine)
  const next: Owner = { entry: entryOf(writer, 'Apply'), fields: sent }
  const merged = mergeValue(base, applied, root) as KubeObject
  let result = mine === undefined ? merged : prune(merged, mine, [...others, next], shapes)
  const differences = differencesBy(base, result, shapes)
  const delta = differences(writer.apiVersion)
  const contested = others.map((o) => ({ owner: o, fields: intersection(differences(o.entry.apiVersion).changed, o.fields) })).filter((c) => !isEmpty(c.fields))
  if (contested.length > 0 && !force) {
    const allowed = writer.manager === 'kubectl' ? lastAppliedSet(base, root, writer) : {}
    const left = contested.map((c) => ({ ...c, fields: difference(c.fields, allowed) })).filter((c) => !isEmpty(c.fields))
    if (left.length > 0) throw applyConflict(left.sort((a, b) => (ownerText(a.owner.entry) < ownerText(b.owner.entry) ? -1 : 1)).flatMap((c) => causesOf(c.owner.entry, c.fields)))
  }
  for (const c of contested) c.owner.fields = difference(c.owner.fields, c.fields)
  for (const o of others) o.fields = difference(o.fields, differences(o.entry.apiVersion).removed)
  const unchanged = isEmpty(delta.changed) && isEmpty(delta.removed)
  // Times tell of changes; an apply that changes neither the object nor what its manager owns is none.
  if (unchanged && mine !== undefined && mine.entry.apiVersion === writer.apiVersion && equal(mine.fields, sent)) next.entry = mine.entry
  else if (writer.manager === 'kubectl') result = withLastApplied(result, applied)
  return { ...result, metadata: { ...result.metadata, managedFields: writeOwners([...others, next]) } }
}

/**
 * The managedFields after a write that is no apply: the writer owns what it changed, nobody owns what is gone. A caller that sends
 * its own managedFields through the main door sets the base; one empty entry there forgets them all.
 */
export function managedAfterUpdate(old: KubeObject | undefined, next: KubeObject, schema: Schema, writer: Writer, versions: Versions = noVersions): ManagedFieldsEntry[] {
  const shapes = shapesOf(schema, writer, versions)
  const sent = writer.subresource === undefined ? next.metadata?.managedFields : undefined
  const reset = sent?.length === 1 && Object.keys(sent[0] as object).length === 0
  const given = reset ? [] : readOwners(sent)
  const owners = (given?.length || reset ? (given ?? []) : (readOwners(old?.metadata?.managedFields) ?? [])).filter((o) => shapes(o.entry.apiVersion))
  const differences = differencesBy(old === undefined ? {} : withoutManaged(old), withoutManaged(next), shapes)
  const changed = owned(differences(writer.apiVersion).changed, writer)
  for (const o of owners) {
    const there = differences(o.entry.apiVersion)
    if (!isSame(o.entry, writer, 'Update')) o.fields = difference(o.fields, there.changed)
    o.fields = difference(o.fields, there.removed)
  }
  if (!isEmpty(changed)) {
    let mine = owners.find((o) => isSame(o.entry, writer, 'Update'))
    if (mine === undefined) owners.push((mine = { entry: entryOf(writer, 'Update'), fields: {} }))
    mine.fields = union(mine.fields, changed)
    mine.entry = entryOf(writer, 'Update')
  }
  return writeOwners(capUpdates(owners))
}

const noVersions: Versions = () => undefined

type Shapes = (apiVersion: string | undefined) => VersionShape | undefined

function shapesOf(schema: Schema, writer: Writer, versions: Versions): Shapes {
  const known = new Map<string, VersionShape | undefined>([[writer.apiVersion, { schema: factsOf(schema), from: (o) => o, back: (o) => o }]])
  return (apiVersion = '') => {
    if (known.has(apiVersion)) return known.get(apiVersion)
    const found = versions(apiVersion)
    const shape = found && { ...found, schema: factsOf(found.schema) }
    known.set(apiVersion, shape)
    return shape
  }
}

/** What differs, as each version sees it; asked only for versions with a shape. */
function differencesBy(a: KubeObject, b: KubeObject, shapes: Shapes): (apiVersion: string | undefined) => Difference {
  const known = new Map<string, Difference>()
  return (apiVersion = '') => {
    let found = known.get(apiVersion)
    const shape = shapes(apiVersion)
    if (!found) known.set(apiVersion, (found = shape ? compare(shape.from(a), shape.from(b), shape.schema) : { changed: {}, removed: {} }))
    return found
  }
}

/** The owners of a live object. What nobody is known to own was there before the first apply. */
function ownersOf(live: KubeObject | undefined, root: Schema, writer: Writer): Owner[] {
  if (live === undefined) return []
  const owners = readOwners(live.metadata?.managedFields) ?? []
  if (owners.length > 0) return owners
  const { time: _time, ...entry } = entryOf({ ...writer, manager: BEFORE_FIRST_APPLY, subresource: undefined }, 'Update')
  return [{ entry, fields: owned(compare({}, withoutManaged(live), root).changed, { ...writer, subresource: undefined }) }]
}

/** Without what `last` owned, unless someone owns it now: among `now` is what the same manager applies this time. */
function prune(merged: KubeObject, last: Owner, now: readonly Owner[], shapes: Shapes): KubeObject {
  const shape = shapes(last.entry.apiVersion) as VersionShape
  const kept = new Map<string, Fields>()
  for (const { entry, fields } of now) kept.set(entry.apiVersion ?? '', union(kept.get(entry.apiVersion ?? '') ?? {}, fields))
  if (isSubset(last.fields, kept.get(last.entry.apiVersion ?? '') ?? {})) return merged
  const lastSet = withParents(last.fields, shape.schema)
  const there = shape.from(merged)
  let pruned = shape.back(without(there, lastSet, shape.schema))
  for (const [apiVersion, fields] of kept) {
    const { schema, from, back } = shapes(apiVersion) as VersionShape
    const all = from(merged)
    const stay = union(withParents(fieldsOf(from(pruned), schema), schema), withParents(fields, schema))
    pruned = back(without(all, difference(withParents(fieldsOf(all, schema), schema), stay), schema))
  }
  // What nobody owns and this manager never did comes back too.
  const left = withParents(fieldsOf(shape.from(pruned), shape.schema), shape.schema)
  const gone = intersection(difference(withParents(fieldsOf(there, shape.schema), shape.schema), left), lastSet)
  return shape.back(without(there, gone, shape.schema))
}

const without = (object: KubeObject, fields: Fields, schema: Schema): KubeObject => removeFields(object, fields, schema) as KubeObject

/** Fields that belong to the server, never to a manager. */
const SERVER_OWNED = new Set(['.', 'f:apiVersion', 'f:kind'])
/** The same of metadata, which itself is nobody's. */
const SERVER_METADATA: Fields = Object.fromEntries(['name', 'namespace', 'creationTimestamp', 'selfLink', 'uid', 'generation', 'managedFields', 'resourceVersion'].map((k) => [`f:${k}`, {}]))

function owned(fields: Fields, { hasStatus, subresource }: Writer): Fields {
  const out: Record<string, Fields> = {}
  const ofStatus = subresource === 'status' || subresource === 'approval'
  for (const key of Object.keys(fields)) {
    if (SERVER_OWNED.has(key) || (hasStatus && (ofStatus ? key !== 'f:status' && key !== 'f:metadata' : key === 'f:status'))) continue
    const { '.': _self, ...mine } = key === 'f:metadata' ? difference(fields[key] as Fields, SERVER_METADATA) : {}
    if (key !== 'f:metadata') out[key] = fields[key] as Fields
    else if (!isEmpty(mine)) out[key] = mine
  }
  return out
}

function mergeValue(live: unknown, applied: unknown, schema: Schema): unknown {
  const shape = shapeOf(schema, applied)
  if (shape === 'whole') return cloneJson(applied)
  const alike = shapeOf(schema, live) === shape
  return shape === 'fields' ? mergeFields((alike ? live : {}) as Record<string, unknown>, applied as Record<string, unknown>, schema) : mergeItems((alike ? live : []) as unknown[], applied as unknown[], schema)
}

function mergeFields(live: Record<string, unknown>, applied: Record<string, unknown>, schema: Schema): Record<string, unknown> {
  const out = { ...live }
  for (const [key, value] of Object.entries(applied)) {
    if (value === undefined) continue
    const before = Object.hasOwn(out, key) ? out[key] : undefined
    Object.defineProperty(out, key, { value: mergeValue(before, value, childSchema(schema, key)), writable: true, enumerable: true, configurable: true })
  }
  return out
}

/** Items that are applied come in the order applied; those that only the live list has keep their places among them. */
function mergeItems(live: readonly unknown[], applied: readonly unknown[], schema: Schema): unknown[] {
  const items = factsOf(schema.items)
  const keyed = (list: readonly unknown[]): Map<string, unknown> => new Map([...list].reverse().map((item) => [itemKey(schema, item), item]))
  const [before, after] = [keyed(live), keyed(applied)]
  const order = [...new Set(live.map((item) => itemKey(schema, item)))]
  const wanted = [...new Set(applied.map((item) => itemKey(schema, item)))]
  const shared = wanted.filter((key) => before.has(key))
  const out: unknown[] = []
  const take = (key: string): void => void out.push(after.has(key) ? mergeValue(before.get(key), after.get(key), items) : before.get(key))
  for (let l = 0, r = 0; l < order.length || r < wanted.length; ) {
    const [left, right] = [order[l], wanted[r]]
    if (left !== undefined && right !== undefined) {
      if (left === right) {
        take(left)
        l++
        r++
        shared.shift()
        continue
      }
      // A shared item out of turn is taken when its turn in the applied order comes.
      if (after.has(left) && shared.length > 0 && shared[0] !== left) {
        l++
        continue
      }
    }
    if (left !== undefined && !after.has(left)) {
      take(left)
      l++
    } else if (right !== undefined) {
      take(right)
      r++
      if (shared[0] === right) shared.shift()
    } else l++
  }
  return out
}

/** What kubectl applied on its side before and is still so: kubectl may take that over without a conflict. */
function lastAppliedSet(live: KubeObject, root: Schema, writer: Writer): Fields {
  const text = live.metadata?.annotations?.[LAST_APPLIED]
  if (!text) return {}
  try {
    const last: unknown = JSON.parse(text)
    if (!isObject(last) || last.apiVersion !== writer.apiVersion) return {}
    const { changed, removed } = compare(last, live, root)
    return difference(difference(fieldsOf(last, root), changed), removed)
  } catch {
    // The annotation is the user's: one that cannot be read allows nothing.
    return {}
  }
}

/** Keeps kubectl's annotation current where there is one, so that one can go back to applying on the client. */
function withLastApplied(result: KubeObject, applied: KubeObject): KubeObject {
  const annotations = result.metadata?.annotations
  if (annotations === undefined || annotations === null || !Object.hasOwn(annotations, LAST_APPLIED)) return result
  const { [LAST_APPLIED]: _old, ...others } = applied.metadata?.annotations ?? {}
  const { annotations: _all, ...metadata } = applied.metadata ?? {}
  const text = `${JSON.stringify({ ...applied, metadata: { ...metadata, ...(applied.metadata?.annotations && { annotations: others }) } })}\n`
  const size = Object.entries(annotations).reduce((sum, [k, v]) => sum + k.length + (k === LAST_APPLIED ? text.length : v.length), 0)
  return { ...result, metadata: { ...result.metadata, annotations: { ...annotations, [LAST_APPLIED]: size > MAX_ANNOTATIONS ? '' : text } } }
}

function causesOf(owner: ManagedFieldsEntry, fields: Fields): StatusCause[] {
  return pathsOf(fields).map((field) => ({ reason: 'FieldManagerConflict', message: `conflict with ${ownerText(owner)}`, field }))
}

function withoutManaged<T extends KubeObject>(object: T): T {
  if (!isObject(object.metadata) || object.metadata.managedFields === undefined) return object
  const { managedFields: _managed, ...metadata } = object.metadata
  return { ...object, metadata }
}
