/**
 * Empties a namespace that is being deleted, custom resources included, then takes its finalizer off. What holds it up
 * stands in its status conditions, in Kubernetes' words.
 */
import type { Namespace, NamespaceCondition } from '../../api/gen/types.ts'
import type { KubeList } from '../../api/meta.ts'
import { KINDS } from '../../api/kinds.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { callJson, discover, resourcePath, type DiscoveredResource } from '../../client/mod.ts'
import { createController, kubeTime, setCondition, watchObjects, type Controller, type Result } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'

const FINALIZER = 'kubernetes'
/** While something is left (pods in their grace), look again after this, ms. */
const AGAIN_MS = 2_000

/** Works on namespaces whose deletion was asked for, until they are empty. */
export function createNamespaceController({ client, caches, clock }: ControllerContext): Controller {
  const namespaces = caches.cache<Namespace>(KINDS.Namespace)
  const api = client.resource<Namespace>(KINDS.Namespace)
  const { transport } = client

  /** Asks for the deletion of all objects of a resource; returns those that are still there. */
  const empty = async (resource: DiscoveredResource, namespace: string): Promise<KubeList> => {
    const path = resourcePath(resource, namespace)
    const before = await callJson<KubeList>(transport, { method: 'GET', path })
    if (before.items.length === 0) return before
    if (resource.verbs.includes('deletecollection')) await callJson(transport, { method: 'DELETE', path })
    else for (const item of before.items) await client.resource(resource).delete(item.metadata?.name ?? '', namespace)
    return await callJson<KubeList>(transport, { method: 'GET', path })
  }

  const reconcile = async (name: string): Promise<Result | void> => {
    const namespace = namespaces.get(name)
    if (!namespace || namespace.metadata?.deletionTimestamp === undefined || !namespace.spec?.finalizers?.includes(FINALIZER)) return
    const { resources, failed } = await discover(transport)
    const found: Findings = { failed, problems: [], remaining: [], finalizers: new Map() }
    // Pods go first: what guards them (policies, secrets, claims) stays until the last has ended.
    const isPods = (r: DiscoveredResource): boolean => r.group === '' && r.resource === 'pods'
    for (const resource of [...resources.filter(isPods), ...resources.filter((r) => !isPods(r))]) {
      if (!resource.namespaced || !resource.verbs.includes('delete') || !resource.verbs.includes('list')) continue
      try {
        const { items } = await empty(resource, name)
        if (items.length > 0) found.remaining.push(`${resource.resource}.${resource.group} has ${items.length} resource instances`)
        for (const item of items) for (const f of item.metadata?.finalizers ?? []) found.finalizers.set(f, (found.finalizers.get(f) ?? 0) + 1)
      } catch (error) {
        // A CRD that went away between discovery and here has no objects either.
        if (!hasCode(error, 'not-found') && !hasCode(error, 'unsupported')) found.problems.push(`${resource.resource}: ${messageOf(error)}`)
      }
      if (isPods(resource) && found.problems.length + found.remaining.length > 0) break
    }
    if (failed.length + found.problems.length + found.remaining.length === 0) return await release(namespace)
    const conditions = explain(namespace, found, kubeTime(clock.now()))
    if (JSON.stringify(conditions) !== JSON.stringify(namespace.status?.conditions)) {
      await api.patch(name, undefined, { status: { conditions } }, 'merge', { subresource: 'status' })
    }
    return { requeueAfterMs: AGAIN_MS }
  }

  const release = async (namespace: Readonly<Namespace>): Promise<void> => {
    const finalizers = (namespace.spec?.finalizers ?? []).filter((f) => f !== FINALIZER)
    try {
      await api.update({ ...namespace, spec: { ...namespace.spec, finalizers } }, { subresource: 'finalize' })
    } catch (error) {
      if (!hasCode(error, 'not-found')) throw error
    }
  }

  const source = watchObjects(namespaces, (now) => now?.metadata?.deletionTimestamp !== undefined)
  return createController({ name: 'namespace', clock, sources: [source], caches: [namespaces], reconcile })
}

interface Findings {
  readonly failed: readonly string[]
  readonly problems: string[]
  readonly remaining: string[]
  readonly finalizers: Map<string, number>
}

/** The conditions that say what holds the deletion up. */
function explain(namespace: Readonly<Namespace>, { failed, problems, remaining, finalizers }: Findings, now: string): NamespaceCondition[] {
  const held = [...finalizers].map(([f, n]) => `${f} in ${n} resource instances`)
  const rows = [
    ['NamespaceDeletionDiscoveryFailure', failed, 'DiscoveryFailed', 'Discovery failed for some groups: ', 'ResourcesDiscovered', 'All resources successfully discovered'],
    ['NamespaceDeletionGroupVersionParsingFailure', [], 'GroupVersionParsingFailed', '', 'ParsedGroupVersions', 'All legacy kube types successfully parsed'],
    ['NamespaceDeletionContentFailure', problems, 'ContentDeletionFailed', 'Failed to delete all resource types: ', 'ContentDeleted', 'All content successfully deleted, may be waiting on finalization'],
    ['NamespaceContentRemaining', remaining, 'SomeResourcesRemain', 'Some resources are remaining: ', 'ContentRemoved', 'All content successfully removed'],
    ['NamespaceFinalizersRemaining', held, 'SomeFinalizersRemain', 'Some content in the namespace has finalizers remaining: ', 'ContentHasNoFinalizers', 'All content-preserving finalizers finished'],
  ] as const
  let conditions = namespace.status?.conditions ?? []
  for (const [type, bad, badReason, badText, goodReason, goodText] of rows) {
    const condition = bad.length > 0 ? { type, status: 'True', reason: badReason, message: badText + bad.join(', ') } : { type, status: 'False', reason: goodReason, message: goodText }
    conditions = setCondition(conditions, condition, now)
  }
  return conditions
}
