/**
 * Keeps as many pods as a ReplicaSet says: adopts matching orphans, makes and deletes in bounded bursts, writes status.
 * The deciding is in `plan.ts`. Expectations keep it from counting before its cache shows what it did.
 */
import type { Pod, ReplicaSet, ReplicaSetCondition } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { labelSelectorOf, matchesLabels } from '../../api/selectors.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { referenceTo, splitKey } from '../../client/mod.ts'
import {
  claim, controllerOf, controllerRef, createController, dropCondition, Expectations, findCondition, kubeTime, setCondition, watchObjects,
  type Controller, type Result, type Source,
} from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { BY_CONTROLLER, orphansOf, podCache } from '../pod-cache.ts'
import { planReplicaSet, sameStatus } from './plan.ts'

/** Reconciles a ReplicaSet on any change of it or of pods that are or could be its own. */
export function createReplicaSetController({ client, caches, clock, recorder }: ControllerContext): Controller {
  const sets = caches.cache<ReplicaSet>(KINDS.ReplicaSet)
  const pods = podCache(caches)
  const podApi = client.resource<Pod>(KINDS.Pod)
  const setApi = client.resource<ReplicaSet>(KINDS.ReplicaSet)
  const expectations = new Expectations(clock)
  const events = recorder('replicaset-controller')

  const watchPods: Source = (enqueue) =>
    pods.onChange((now, old) => {
      const pod = now ?? old
      if (!pod) return
      const namespace = pod.metadata?.namespace ?? ''
      for (const owner of new Set([now, old].map((p) => p && controllerOf(p)))) {
        if (owner?.kind !== 'ReplicaSet') continue
        const key = `${namespace}/${owner.name}`
        if (now && !old) expectations.sawCreate(key)
        if (!now || now.metadata?.deletionTimestamp !== undefined) expectations.sawDelete(key, pod.metadata?.uid ?? '')
        enqueue(key)
      }
      if (now && !controllerOf(now)) {
        for (const set of sets.list(namespace)) if (matches(set, now)) enqueue(`${namespace}/${set.metadata?.name}`)
      }
    })

  /** The set's pods, after adopting and releasing what the selector says. */
  const claimPods = async (set: Readonly<ReplicaSet>): Promise<Pod[]> => {
    const { uid = '', namespace = '', name = '' } = set.metadata ?? {}
    const candidates = [...pods.byIndex(BY_CONTROLLER, uid), ...pods.byIndex(BY_CONTROLLER, orphansOf(namespace))]
    const { owned, adopt, release } = claim(set, candidates, (p) => matches(set, p))
    const result = [...owned]
    if (adopt.length > 0) {
      // The cache may not know yet that the set is going; adopting then would doom the pods.
      const fresh = await setApi.get(name, namespace)
      if (fresh.metadata?.uid !== uid || fresh.metadata.deletionTimestamp !== undefined) return result
    }
    for (const pod of adopt) {
      const ownerReferences = [...(pod.metadata?.ownerReferences ?? []), controllerRef(set, KINDS.ReplicaSet)]
      if (await patchOwners(pod, ownerReferences)) result.push(pod)
    }
    for (const pod of release) await patchOwners(pod, (pod.metadata?.ownerReferences ?? []).filter((r) => r.uid !== uid))
    return result
  }

  const patchOwners = async (pod: Readonly<Pod>, ownerReferences: object[]): Promise<boolean> => {
    const { name = '', namespace, resourceVersion } = pod.metadata ?? {}
    try {
      await podApi.patch(name, namespace, { metadata: { resourceVersion, ownerReferences } }, 'merge')
      return true
    } catch (error) {
      if (hasCode(error, 'not-found')) return false
      throw error
    }
  }

  /** Makes pods in growing batches, so that a set that cannot (quota, bad spec) fails after one try and not after hundreds. */
  const create = async (set: Readonly<ReplicaSet>, key: string, count: number): Promise<unknown> => {
    expectations.expectCreates(key, count)
    for (let left = count, size = 1; left > 0; size *= 2) {
      const batch = Math.min(left, size)
      const results = await Promise.allSettled(Array.from({ length: batch }, () => podApi.create(podFrom(set))))
      left -= batch
      let failure: unknown
      for (const result of results) {
        if (result.status === 'fulfilled') {
          events.event(referenceTo(set, KINDS.ReplicaSet), 'Normal', 'SuccessfulCreate', `Created pod: ${result.value.metadata?.name}`)
        } else {
          failure = result.reason
          expectations.sawCreate(key)
          events.event(referenceTo(set, KINDS.ReplicaSet), 'Warning', 'FailedCreate', `Error creating: ${messageOf(result.reason)}`)
        }
      }
      if (failure !== undefined) {
        expectations.sawCreate(key, left)
        return failure
      }
    }
    return undefined
  }

  const remove = async (set: Readonly<ReplicaSet>, key: string, doomed: readonly Pod[]): Promise<unknown> => {
    let failure: unknown
    expectations.expectDeletes(key, doomed.map((p) => p.metadata?.uid ?? ''))
    for (const { metadata: { name = '', namespace, uid = '' } = {} } of doomed) {
      try {
        await podApi.delete(name, namespace, { preconditions: { uid } })
        events.event(referenceTo(set, KINDS.ReplicaSet), 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`)
      } catch (error) {
        expectations.sawDelete(key, uid)
        if (hasCode(error, 'not-found') || hasCode(error, 'conflict')) continue
        failure = error
        events.event(referenceTo(set, KINDS.ReplicaSet), 'Warning', 'FailedDelete', `Error deleting: ${messageOf(error)}`)
      }
    }
    return failure
  }

  const reconcile = async (key: string): Promise<Result | void> => {
    const { namespace, name } = splitKey(key)
    const set = sets.get(name, namespace)
    if (!set) return expectations.forget(key)
    const own = await claimPods(set)
    const plan = planReplicaSet(set, own, clock.now())
    let failure: { reason: string; error: unknown } | undefined
    if (expectations.met(key) && set.metadata?.deletionTimestamp === undefined) {
      if (plan.create > 0) failure = failed('FailedCreate', await create(set, key, plan.create))
      else if (plan.remove.length > 0) failure = failed('FailedDelete', await remove(set, key, plan.remove))
    }
    const status = { ...plan.status }
    const conditions = withFailure(status.conditions, failure, kubeTime(clock.now()))
    if (conditions.length > 0 || status.conditions !== undefined) status.conditions = conditions
    if (!sameStatus(set.status, status)) await setApi.update({ ...set, status }, { subresource: 'status' })
    if (failure) throw failure.error
    return plan.requeueAfterMs === undefined ? undefined : { requeueAfterMs: plan.requeueAfterMs }
  }

  return createController({ name: 'replicaset', clock, sources: [watchObjects(sets), watchPods], caches: [sets, pods], reconcile })
}

function matches(set: Readonly<ReplicaSet>, pod: Readonly<Pod>): boolean {
  const selector = set.spec?.selector
  const text = selector?.matchLabels ?? selector?.matchExpressions
  return text !== undefined && matchesLabels(labelSelectorOf(selector), pod.metadata?.labels)
}

/** The pod a set's template says. */
export function podFrom(set: Readonly<ReplicaSet>): Pod {
  const template = set.spec?.template
  const { labels, annotations, finalizers } = template?.metadata ?? {}
  const { namespace, name } = set.metadata ?? {}
  const metadata = {
    generateName: `${name}-`,
    ...(namespace === undefined ? {} : { namespace }),
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(finalizers === undefined ? {} : { finalizers }),
    ownerReferences: [controllerRef(set, KINDS.ReplicaSet)],
  }
  return { metadata, ...(template?.spec === undefined ? {} : { spec: template.spec }) }
}

function failed(reason: string, error: unknown): { reason: string; error: unknown } | undefined {
  return error === undefined ? undefined : { reason, error }
}

function withFailure(conditions: ReplicaSetCondition[] | undefined, failure: { reason: string; error: unknown } | undefined, now: string): ReplicaSetCondition[] {
  if (!failure) return findCondition(conditions, 'ReplicaFailure') ? dropCondition(conditions, 'ReplicaFailure') : (conditions ?? [])
  return setCondition(conditions, { type: 'ReplicaFailure', status: 'True', reason: failure.reason, message: messageOf(failure.error) }, now)
}
