/**
 * Deletes what nobody owns any more: follows the owner references of every kind the API serves, CRDs included, by watches
 * that carry metadata only. The deciding is in `graph.ts`. Before it deletes, an absent owner has been asked for by name.
 */
import type { CustomResourceDefinition } from '../../api/gen/types.ts'
import type { KubeObject, OwnerReference } from '../../api/meta.ts'
import { KINDS } from '../../api/kinds.ts'
import { apiVersionOf, parseApiVersion } from '../../api/resource.ts'
import { hasCode } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { Scope } from '../../base/scope.ts'
import { createClient, discover, runReflector, type DiscoveredResource, type ReflectorSink, type Transport } from '../../client/mod.ts'
import { createController, every, FINALIZER_FOREGROUND, FINALIZER_ORPHAN, type Controller, type Enqueue, type Result, type Source } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { OwnerGraph, type GraphNode } from './graph.ts'

const log = logger('controllers.gc')

/** Key of the work that looks which resources there are. */
const DISCOVER = '#discover'
const DISCOVER_MS = 60_000
/** Kinds that own nothing and are owned by nothing worth following; the busiest ones. */
const IGNORED = new Set(['/events', 'events.k8s.io/events'])

/** Its watches live and end with its `run`; new CRDs are followed within a second. */
export function createGarbageCollector({ client, caches, clock, recorder }: ControllerContext): Controller {
  const crds = caches.cache<CustomResourceDefinition>(KINDS.CustomResourceDefinition)
  const metadata = createClient(metadataOnly(client.transport))
  const graph = new OwnerGraph((owner) => resourceOf(owner)?.namespaced === true)
  const events = recorder('garbage-collector-controller')
  const watched = new Map<string, { resource: DiscoveredResource; scope: Scope; synced: boolean }>()
  let resources: readonly DiscoveredResource[] = []
  let enqueue: Enqueue = () => {}
  let root: Scope | undefined

  const resourceOf = (owner: OwnerReference): DiscoveredResource | undefined => {
    const { group } = parseApiVersion(owner.apiVersion)
    return resources.find((r) => r.group === group && r.kind === owner.kind)
  }
  /** Whom a change of this object concerns: itself, what it owns, owners that wait for it, and those that need not any more. */
  const put = (resource: DiscoveredResource, object: KubeObject): void => {
    const before = graph.get(object.metadata?.uid ?? '')?.owners ?? []
    const node = graph.put(resource, object)
    enqueue(node.uid)
    for (const owner of before) if (graph.get(owner.uid)?.leaving) enqueue(owner.uid)
    for (const owner of node.owners) if (!before.some((b) => b.uid === owner.uid) && isMisplaced(node, owner)) complain(node, owner)
    if (node.leaving) {
      for (const owner of node.owners) enqueue(owner.uid)
      for (const dependent of graph.dependentsOf(node.uid)) enqueue(dependent.uid)
    }
  }
  const isMisplaced = (node: GraphNode, { uid }: OwnerReference): boolean => {
    const there = graph.get(uid)?.namespace
    return there !== undefined && there !== node.namespace
  }
  const complain = ({ uid, ref, name, namespace = '' }: GraphNode, owner: OwnerReference): void => {
    const told = `[${owner.apiVersion}/${owner.kind}, namespace: ${namespace}, name: ${owner.name}, uid: ${owner.uid}]`
    const object = { apiVersion: apiVersionOf(ref), kind: ref.kind, metadata: { uid, name, ...(namespace && { namespace }) } }
    events.event(object, 'Warning', 'OwnerRefInvalidNamespace', `ownerRef ${told} does not exist in namespace "${namespace}"`)
  }
  const drop = (uid: string): void => {
    const { owners, dependents } = graph.remove(uid)
    for (const key of [...owners, ...dependents]) enqueue(key)
  }

  const watch = (resource: DiscoveredResource): void => {
    if (!root) return
    const scope = new Scope(`gc ${resource.resource}`, root.signal)
    const entry = { resource, scope, synced: false }
    watched.set(keyOfResource(resource), entry)
    const sink: ReflectorSink<KubeObject> = {
      replace(objects) {
        const now = new Set(objects.map((o) => o.metadata?.uid))
        for (const node of graph.of(resource)) if (!now.has(node.uid)) drop(node.uid)
        for (const object of objects) put(resource, object)
        entry.synced = true
      },
      apply(type, object) {
        if (type === 'DELETED') drop(object.metadata?.uid ?? '')
        else put(resource, object)
      },
      progress() {},
    }
    scope.run('watch', (signal) => runReflector({ resource: metadata.resource(resource), query: {}, sink, clock }, signal))
  }

  const rediscover = async (): Promise<void> => {
    const found = await discover(client.transport)
    if (found.failed.length > 0) log.warn('some groups cannot be read', { failed: found.failed.join('; ') })
    resources = found.resources
    const wanted = new Map(found.resources.filter(isFollowed).map((r) => [keyOfResource(r), r]))
    for (const [key, entry] of watched) {
      // A group that failed to answer is not gone.
      if (wanted.has(key) || found.failed.length > 0) continue
      watched.delete(key)
      await entry.scope.close()
      for (const node of graph.of(entry.resource)) drop(node.uid)
    }
    for (const [key, resource] of wanted) if (!watched.has(key)) watch(resource)
  }

  const reconcile = async (key: string): Promise<Result | void> => {
    if (key === DISCOVER) return await rediscover()
    const step = graph.step(key)
    const node = graph.get(key)
    if (!node || step.do === 'nothing') return
    // Deciding who depends on whom needs the whole picture once; afterwards watches keep it.
    if ([...watched.values()].some((w) => !w.synced)) return { requeueAfterMs: 200 }
    switch (step.do) {
      case 'verify':
        await verify(node, step.owners)
        return enqueue(key)
      case 'delete':
        if (step.unblock) await change(node, (m) => ({ ownerReferences: m.ownerReferences?.map((o) => ({ ...o, blockOwnerDeletion: false })) }))
        return await remove(node, step.policy)
      case 'unlink':
        return await unlink(node, new Set(step.uids))
      case 'orphan':
        for (const dependent of step.dependents) await unlink(dependent, new Set([node.uid]))
        return await removeFinalizer(node, FINALIZER_ORPHAN)
      case 'foreground':
        for (const dependent of step.dependents) enqueue(dependent.uid)
        return step.blocked ? undefined : await removeFinalizer(node, FINALIZER_FOREGROUND)
      default:
        throw new Error(`collect: unknown step ${JSON.stringify(step satisfies never)}`)
    }
  }

  /** Asks the API for owners that no watch has shown. An owner of an unknown kind is left alone: its CRD may come back. */
  const verify = async (node: GraphNode, owners: readonly OwnerReference[]): Promise<void> => {
    for (const owner of owners) {
      const resource = resourceOf(owner)
      if (!resource) throw new Error(`look up owner: no resource of kind "${owner.kind}" in "${owner.apiVersion}", named by ${node.ref.resource} "${node.name}"`)
      try {
        const found = await metadata.resource(resource).get(owner.name, resource.namespaced ? node.namespace : undefined)
        if (found.metadata?.uid === owner.uid) graph.put(resource, found)
        else graph.markAbsent(owner.uid)
      } catch (error) {
        if (!hasCode(error, 'not-found') && !hasCode(error, 'invalid')) throw error
        graph.markAbsent(owner.uid)
      }
    }
  }

  const remove = async (node: GraphNode, propagationPolicy: 'Background' | 'Foreground' | 'Orphan'): Promise<void> => {
    try {
      await client.resource(node.ref).delete(node.name, node.namespace, { propagationPolicy, preconditions: { uid: node.uid } })
    } catch (error) {
      if (!hasCode(error, 'not-found') && !hasCode(error, 'conflict')) throw error
    }
  }

  const unlink = async (node: GraphNode, uids: ReadonlySet<string>): Promise<void> => {
    await change(node, (m) => {
      const owners = m.ownerReferences ?? []
      return owners.some((o) => uids.has(o.uid)) ? { ownerReferences: owners.filter((o) => !uids.has(o.uid)) } : undefined
    })
  }
  const removeFinalizer = async (node: GraphNode, name: string): Promise<void> => {
    await change(node, (m) => (m.finalizers?.includes(name) ? { finalizers: m.finalizers.filter((f) => f !== name) } : undefined))
  }

  /** Patches the metadata of what is there now; an object of another uid is none of ours. */
  const change = async (node: GraphNode, edit: (m: NonNullable<KubeObject['metadata']>) => object | undefined): Promise<void> => {
    try {
      const now = await metadata.resource(node.ref).get(node.name, node.namespace)
      const part = now.metadata?.uid === node.uid ? edit(now.metadata) : undefined
      if (part === undefined) return
      const patch = { metadata: { resourceVersion: now.metadata?.resourceVersion, ...part } }
      await client.resource(node.ref).patch(node.name, node.namespace, patch, 'merge')
    } catch (error) {
      if (!hasCode(error, 'not-found')) throw error
    }
  }

  const source: Source = (add) => {
    enqueue = add
    root = new Scope('gc watches')
    const own = root
    // Awaited by the controller's scope: the watches end with it.
    return () => own.close()
  }
  const watchCrds: Source = (add) => crds.onChange(() => add(DISCOVER, 500))
  return createController({ name: 'gc', clock, sources: [source, watchCrds, every(clock, DISCOVER_MS, DISCOVER)], caches: [crds], reconcile })
}

function keyOfResource(r: DiscoveredResource): string {
  return `${r.group}/${r.version}/${r.resource}`
}

function isFollowed(r: DiscoveredResource): boolean {
  return ['list', 'watch', 'delete', 'get'].every((v) => r.verbs.includes(v)) && !IGNORED.has(`${r.group}/${r.resource}`)
}

/** Asks for names and references only; a server that cannot answers with whole objects, which do as well. */
function metadataOnly(transport: Transport): Transport {
  const g = 'g=meta.k8s.io;v=v1'
  const accept = `application/json;as=PartialObjectMetadataList;${g},application/json;as=PartialObjectMetadata;${g},application/json`
  const list = { accept }
  const one = { accept: `application/json;as=PartialObjectMetadata;${g},application/json` }
  return {
    request(request, signal) {
      if (request.method !== 'GET') return transport.request(request, signal)
      const isWatch = request.query?.get('watch') === 'true'
      const isList = request.query?.has('limit') === true
      return transport.request({ ...request, headers: { ...request.headers, ...(isList && !isWatch ? list : one) } }, signal)
    },
  }
}
