/**
 * Answers from what the node knows: which of its caches hold what a request asks for, and what a get, a list or a watch of
 * them says. Pure but for {@link watchLocal}, which listens to the caches. Used while the server cannot be reached.
 */
import { matchesFields, matchesLabels, parseFieldSelector, parseLabelSelector } from '../../api/selectors.ts'
import type { KubeList, KubeObject } from '../../api/meta.ts'
import type { Cache, ResourceRef } from '../../client/mod.ts'
import type { ResourceRequest } from './request.ts'

/**
 * The revision that lists made here carry. A client that goes on from it once the server is back is told that it is too old,
 * so that it lists again: what it saw was this node's part only. (2^62: a number for clients that insist on one.)
 */
export const LOCAL_REVISION = '4611686018427387904'

const META = 'meta.k8s.io/v1'

/** One cache of this node and what it was asked to hold. */
export interface Known {
  readonly ref: ResourceRef
  readonly query: { readonly namespace?: string; readonly labelSelector?: string; readonly fieldSelector?: string }
  readonly cache: Pick<Cache<KubeObject>, 'isSynced' | 'list' | 'onChange'>
  /** When the server said so, ms since 1970, of an answer that was remembered: all there was then of what is asked for. @default until the line was lost */
  readonly asOf?: number
}

export interface Selected {
  readonly ref: ResourceRef
  readonly objects: readonly Readonly<KubeObject>[]
  /** Whether this is all there is, and not only this node's part of it. */
  readonly complete: boolean
  /** As in {@link Known}, of what is not from the node's own caches. */
  readonly asOf?: number | undefined
}

/** Whether an object is one that the request selects. @throws AppError `invalid` for selectors that do not parse */
export function selects(request: ResourceRequest, query: URLSearchParams): (object: Readonly<KubeObject>) => boolean {
  const labels = parseLabelSelector(query.get('labelSelector') ?? '')
  const fields = parseFieldSelector(query.get('fieldSelector') ?? '')
  return (o) =>
    (request.namespace === undefined || o.metadata?.namespace === request.namespace) &&
    (request.name === undefined || o.metadata?.name === request.name) &&
    matchesLabels(labels, o.metadata?.labels) &&
    matchesFields(fields, (path) => fieldText(o, path))
}

/** Those of the resource that is asked for. */
export function ofResource(known: readonly Known[], request: ResourceRequest): Known[] {
  return known.filter((k) => k.ref.resource === request.resource && k.ref.group === request.group && k.ref.version === request.version && k.cache.isSynced)
}

/** Whether the node's own caches hold everything that the request can ask for. */
export function isComplete(known: readonly Known[], request: ResourceRequest, query: URLSearchParams): boolean {
  return ofResource(known, request).some((k) => k.asOf === undefined && covers(k.query, request, query))
}

/** What is known of what is asked for, the node's own caches before what was remembered; undefined when nothing is of this resource and filled. */
export function selectKnown(known: readonly Known[], request: ResourceRequest, query: URLSearchParams): Selected | undefined {
  const mine = ofResource(known, request)
  const [first] = mine
  if (!first) return undefined
  const fits = selects(request, query)
  const found = new Map<string, { readonly object: Readonly<KubeObject>; readonly asOf: number | undefined }>()
  for (const { cache, asOf } of mine) {
    for (const object of cache.list()) {
      const id = `${object.metadata?.namespace ?? ''}/${object.metadata?.name}`
      if (fits(object) && (asOf === undefined || !found.has(id))) found.set(id, { object, asOf })
    }
  }
  const sorted = [...found.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, f]) => f)
  const complete = isComplete(known, request, query)
  // One object is as old as itself; a list that takes in what was remembered is as old as that.
  const asOf = request.name !== undefined ? sorted[0]?.asOf : complete ? undefined : mine.find((k) => k.asOf !== undefined)?.asOf
  return { ref: first.ref, objects: sorted.map((f) => f.object), complete, asOf }
}

/** Whether a cache of this selection holds everything that the request can ask for. */
export function covers(held: Known['query'], request: ResourceRequest, query: URLSearchParams): boolean {
  if (held.namespace !== undefined && held.namespace !== request.namespace) return false
  if (held.labelSelector !== undefined && held.labelSelector !== '') return false
  const asked = parseFieldSelector(query.get('fieldSelector') ?? '')
  return parseFieldSelector(held.fieldSelector ?? '').every(
    (h) => (h.equal && h.field === 'metadata.name' && request.name === h.value) || asked.some((a) => a.field === h.field && a.value === h.value && a.equal === h.equal),
  )
}

/** The text of a field by its dotted path; empty when absent, as in field selectors. */
function fieldText(object: Readonly<KubeObject>, path: string): string {
  let value: unknown = object
  for (const key of path.split('.')) value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined
  return value === undefined || value === null ? '' : String(value)
}

/** A list as the API gives it; `metadata` alone of each object for who asks for that. */
export function listOf(selected: Selected, metadata = false): KubeList {
  const { group, version, kind } = selected.ref
  if (metadata) return { kind: 'PartialObjectMetadataList', apiVersion: META, metadata: { resourceVersion: LOCAL_REVISION }, items: selected.objects.map(partial) } as KubeList
  return { kind: `${kind}List`, apiVersion: apiVersion(group, version), metadata: { resourceVersion: LOCAL_REVISION }, items: [...selected.objects] } as KubeList
}

/** An object as the API gives it: kind and version said, which items of a list leave out. */
export function whole(ref: ResourceRef, object: Readonly<KubeObject>): KubeObject {
  return { ...object, kind: ref.kind, apiVersion: apiVersion(ref.group, ref.version) }
}

/** What of an object is not particular to its kind. */
export function partial(object: Readonly<KubeObject>): KubeObject {
  return { kind: 'PartialObjectMetadata', apiVersion: META, metadata: object.metadata ?? {} }
}

function apiVersion(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`
}

/** One event of a watch that the node answers itself. */
export interface LocalEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: KubeObject
}

/**
 * Watches the caches: first what there is, when the client says no revision, then changes. `send` gets one event at a time.
 * Returns how to stop. Keeps nothing but the names of what it has shown.
 */
export function watchLocal(
  known: readonly Known[],
  request: ResourceRequest,
  query: URLSearchParams,
  send: (event: LocalEvent) => void,
  now: (ref: ResourceRef, object: Readonly<KubeObject>) => Readonly<KubeObject> = (_ref, o) => o,
): () => void {
  const fits = selects(request, query)
  const from = query.get('resourceVersion') ?? ''
  const initial = query.get('sendInitialEvents') === 'true'
  const silent = !initial && from !== '' && from !== '0'
  const shown = new Set<string>()
  const mine = ofResource(known, request)
  let first = true
  const change = (ref: ResourceRef, after: Readonly<KubeObject> | undefined, before: Readonly<KubeObject> | undefined): void => {
    const object = after ?? before
    if (!object) return
    const id = `${object.metadata?.namespace ?? ''}/${object.metadata?.name}`
    if (after && fits(after)) {
      const type = shown.has(id) ? 'MODIFIED' : 'ADDED'
      shown.add(id)
      if (!first || !silent) send({ type, object: whole(ref, now(ref, after)) })
    } else if (shown.delete(id)) send({ type: 'DELETED', object: whole(ref, object) })
  }
  const stops = mine.map((k) => k.cache.onChange((after, before) => change(k.ref, after, before)))
  first = false
  const ref = mine[0]?.ref
  // The end of what there is, for clients that list by watching.
  if (initial && ref) send({ type: 'BOOKMARK', object: whole(ref, { metadata: { resourceVersion: LOCAL_REVISION, annotations: { 'k8s.io/initial-events-end': 'true' } } }) })
  return () => {
    for (const stop of stops) stop()
  }
}
