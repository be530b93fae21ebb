/**
 * Objects from one version of their resource to another: built-in ones by their tables, custom ones by name alone or by the
 * conversion webhook of their definition, all objects of a list in one call. Used by the verbs and by admission webhooks.
 */
import { fromStored, toStored } from '../api/convert.ts'
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import { parseApiVersion } from '../api/resource.ts'
import { internalError } from '../api/status.ts'
import { messageOf } from '../base/errors.ts'
import { annotationErrors, labelErrors } from '../api/validate/meta.ts'
import type { Core } from './core.ts'
import { customText, markVersion, splitVersion } from './custom-text.ts'
import { textOf, type Stored } from './encode.ts'
import { toStored as asText, type Obj } from './stored-text.ts'

/** Kubernetes' own time for one conversion. */
const TIMEOUT_MS = 30_000

/** Converted objects kept for a definition: a watcher asks for what a list has just shown. */
const KEPT = 512

interface Review {
  readonly response?: { readonly uid?: string; readonly result?: { readonly status?: string; readonly message?: string; readonly reason?: string }; readonly convertedObjects?: unknown[] }
}

/** One object of `from` as an object of `to`, another version (or group) of the same. */
export async function convertObject(core: Core, from: ResourceDef, to: ResourceDef, object: Obj, signal: AbortSignal): Promise<Obj> {
  if (from === to) return object
  if (!to.custom) return fromStored(to, toStored(from, object)) as Obj
  return (await convertCustom(core, to, [{ ...object, apiVersion: object.apiVersion || apiVersionOf(from), kind: to.kind }], signal))[0] as Obj
}

/**
 * Custom objects, whose `apiVersion` says what they are, in the version of `to`. Objects that are in it already are given back as they are.
 * @throws ApiError 500 when the webhook cannot be reached, refuses, or changes what it may not
 */
export async function convertCustom(core: Core, to: ResourceDef, objects: readonly Obj[], signal: AbortSignal): Promise<Obj[]> {
  const apiVersion = apiVersionOf(to)
  const converter = to.custom?.converter
  if (!converter) return objects.map((o) => (o.apiVersion === apiVersion ? o : { ...o, apiVersion }))
  const foreign = objects.filter((o) => o.apiVersion !== apiVersion)
  if (foreign.length === 0) return [...objects]
  const { group, version } = parseApiVersion(foreign[0]?.apiVersion ?? '')
  const fail = (why: string): never => {
    throw internalError(`conversion webhook for ${group}/${version}, Kind=${to.kind} failed: ${why}`)
  }
  const uid = crypto.randomUUID()
  const review = converter.reviews.find((v) => v === 'v1' || v === 'v1beta1') ?? 'v1'
  let response: Review['response']
  try {
    const [{ post }, { wayTo }] = await Promise.all([import('./webhooks/call.ts'), import('./webhooks/reach.ts')])
    const body = { kind: 'ConversionReview', apiVersion: `apiextensions.k8s.io/${review}`, request: { uid, desiredAPIVersion: apiVersion, objects: foreign } }
    response = ((await post(wayTo(core, converter.client), converter.client, body, { timeoutMs: TIMEOUT_MS, clock: core.clock, signal })) as Review | null)?.response
  } catch (error) {
    signal.throwIfAborted()
    return fail(messageOf(error))
  }
  if (!response) return fail('the answer is no ConversionReview with a response')
  if (response.uid !== uid) return fail(`invalid response: expected response.uid=${uid}, got ${response.uid ?? ''}`)
  if (response.result?.status !== 'Success') return fail(response.result?.message || response.result?.reason || 'response.result.status was not Success')
  const converted = response.convertedObjects ?? []
  if (converted.length !== foreign.length) return fail(`expected ${foreign.length} converted objects, got ${converted.length}`)
  let next = 0
  return objects.map((o) => {
    if (o.apiVersion === apiVersion) return o
    const index = next++
    const settled = settle(o, converted[index], apiVersion)
    return typeof settled === 'string' ? fail(`invalid converted object at index ${index}: ${settled}`) : settled
  })
}

/** The converted object with the metadata it must keep; or what is wrong with it. */
function settle(before: Obj, after: unknown, apiVersion: string): Obj | string {
  if (typeof after !== 'object' || after === null || Array.isArray(after)) return 'it is not an object'
  const object = after as Partial<Obj>
  if (object.kind !== before.kind) return `invalid converted kind: expected ${before.kind}, got ${String(object.kind)}`
  if (object.apiVersion !== apiVersion) return `invalid converted apiVersion: expected ${apiVersion}, got ${String(object.apiVersion)}`
  if (typeof object.metadata !== 'object' || object.metadata === null) return 'missing metadata in converted object'
  for (const key of ['name', 'namespace', 'uid'] as const) {
    if ((object.metadata[key] ?? '') !== (before.metadata[key] ?? '')) return `invalid metadata: must have the same ${key}: ${before.metadata[key] ?? ''} != ${object.metadata[key] ?? ''}`
  }
  const { labels, annotations } = object.metadata
  const wrong = [...labelErrors(labels, 'metadata.labels'), ...annotationErrors(annotations, 'metadata.annotations')][0]
  if (wrong) return `invalid metadata: ${wrong.field}: ${wrong.message}`
  // Of metadata a webhook may change labels and annotations, nothing else.
  const { labels: _l, annotations: _a, ...kept } = before.metadata
  return { ...object, metadata: { ...kept, ...(labels && Object.keys(labels).length > 0 ? { labels } : {}), ...(annotations && Object.keys(annotations).length > 0 ? { annotations } : {}) } } as Obj
}

/** True when a webhook stands between the versions of a resource. */
export function hasConverter(def: ResourceDef): boolean {
  return def.custom?.converter !== undefined && def.custom.keepsMark !== true
}

/** Converted texts by definition (its converter's own object), object, revision and version; oldest out first. */
const kept = new WeakMap<object, Map<string, string>>()

/** Stored objects in the version of `def`; what is in it already, or needs nobody to convert it, is given back as it is. */
export async function inVersion<T extends Stored>(core: Core, def: ResourceDef, items: readonly T[], signal: AbortSignal): Promise<(T | Stored)[]> {
  const converter = def.custom?.converter
  if (!converter || !hasConverter(def)) return [...items]
  const wanted = apiVersionOf(def)
  const stored = apiVersionOf({ group: def.group, version: def.custom?.storageVersion ?? def.version })
  let memory = kept.get(converter)
  if (!memory) kept.set(converter, (memory = new Map()))
  const parsed = items.map((item) => {
    const { text, apiVersion = stored } = splitVersion(item.text)
    if (apiVersion === wanted) return undefined
    const object = { apiVersion, kind: def.kind, ...(JSON.parse(text) as Obj) }
    return { object, key: `${wanted} ${apiVersion} ${object.metadata.uid ?? ''} ${item.revision}` }
  })
  const missing = parsed.filter((p) => p !== undefined && !memory.has(p.key)) as { object: Obj; key: string }[]
  const converted = await convertCustom(core, def, missing.map((m) => m.object), signal)
  const fresh = new Map(missing.map((m, i) => [m.key, markVersion(asText(converted[i] as Obj), wanted)]))
  return items.map((item, i) => {
    const key = parsed[i]?.key
    if (key === undefined) return item
    const text = fresh.get(key) ?? (memory.get(key) as string)
    memory.delete(key)
    memory.set(key, text)
    if (memory.size > KEPT) memory.delete(memory.keys().next().value as string)
    return { text, revision: item.revision }
  })
}

/** What to store for an object, and what to answer with: the same text, save where a webhook stands between both versions. */
export async function textsOf(core: Core, def: ResourceDef, object: Obj, signal: AbortSignal): Promise<{ readonly text: string; readonly shown: string }> {
  const version = def.custom?.storageVersion
  if (!hasConverter(def) || version === undefined || version === def.version) {
    const text = textOf(def, object)
    return { text, shown: text }
  }
  const [stored] = await convertCustom(core, { ...def, version }, [{ ...object, apiVersion: apiVersionOf(def), kind: def.kind }], signal)
  return { text: customText(def, stored as Obj), shown: customText(def, object, def.version) }
}
