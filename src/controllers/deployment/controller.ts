/**
 * Rolls a Deployment's template out through ReplicaSets. The deciding is in `plan.ts`; here: find the ReplicaSets, adopt,
 * carry the steps out, write status and revision.
 */
import type { Deployment, DeploymentStatus, ReplicaSet } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { labelSelectorOf, matchesLabels } from '../../api/selectors.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { referenceTo, splitKey } from '../../client/mod.ts'
import { claim, controllerOf, controllerRef, createController, isControlledBy, watchMapped, watchObjects, type Controller, type Result } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { BY_CONTROLLER, orphansOf, podCache } from '../pod-cache.ts'
import { planDeployment, type Step } from './plan.ts'
import { REVISION } from './revisions.ts'
import { canonical, sameTemplate } from './template.ts'

/** Reconciles a Deployment on any change of it, of its ReplicaSets, and on the end of its pods. */
export function createDeploymentController({ client, caches, clock, recorder }: ControllerContext): Controller {
  const deployments = caches.cache<Deployment>(KINDS.Deployment)
  const sets = caches.cache<ReplicaSet>(KINDS.ReplicaSet, {
    indexes: { [BY_CONTROLLER]: (s) => [controllerOf(s)?.uid ?? orphansOf(s.metadata?.namespace)] },
  })
  const pods = podCache(caches)
  const api = client.resource<Deployment>(KINDS.Deployment)
  const setApi = client.resource<ReplicaSet>(KINDS.ReplicaSet)
  const events = recorder('deployment-controller')

  const claimSets = async (d: Readonly<Deployment>): Promise<ReplicaSet[]> => {
    const { uid = '', namespace = '', name = '' } = d.metadata ?? {}
    const selector = labelSelectorOf(d.spec?.selector)
    const candidates = [...sets.byIndex(BY_CONTROLLER, uid), ...sets.byIndex(BY_CONTROLLER, orphansOf(namespace))]
    const { owned, adopt, release } = claim(d, candidates, (s) => matchesLabels(selector, s.metadata?.labels))
    const result = [...owned]
    if (adopt.length > 0) {
      const fresh = await api.get(name, namespace)
      if (fresh.metadata?.uid !== uid || fresh.metadata.deletionTimestamp !== undefined) return result
    }
    for (const set of adopt) {
      result.push(await patchOwners(set, [...(set.metadata?.ownerReferences ?? []), controllerRef(d, KINDS.Deployment)]))
    }
    for (const set of release) await patchOwners(set, (set.metadata?.ownerReferences ?? []).filter((r) => r.uid !== uid))
    return result
  }

  const patchOwners = async (set: Readonly<ReplicaSet>, ownerReferences: object[]): Promise<ReplicaSet> => {
    const { name = '', namespace, resourceVersion } = set.metadata ?? {}
    return await setApi.patch(name, namespace, { metadata: { resourceVersion, ownerReferences } }, 'merge')
  }

  const perform = async (d: Readonly<Deployment>, step: Step): Promise<void> => {
    const { name = '', namespace, resourceVersion } = step.set.metadata ?? {}
    const say = (text: string): void => events.event(referenceTo(d, KINDS.Deployment), 'Normal', 'ScalingReplicaSet', text)
    switch (step.do) {
      case 'create':
        await createSet(d, step.set)
        if ((step.set.spec?.replicas ?? 0) > 0) say(`Scaled up replica set ${name} from 0 to ${step.set.spec?.replicas}`)
        return
      case 'scale':
        await setApi.patch(name, namespace, { metadata: { resourceVersion, annotations: step.annotations }, spec: { replicas: step.to } }, 'merge')
        if (step.from !== step.to) say(`Scaled ${step.to > step.from ? 'up' : 'down'} replica set ${name} from ${step.from} to ${step.to}`)
        return
      case 'annotate':
        await setApi.patch(name, namespace, { metadata: { annotations: step.annotations }, spec: { minReadySeconds: step.minReadySeconds } }, 'merge')
        return
      case 'delete':
        await setApi.delete(name, namespace, { preconditions: { uid: step.set.metadata?.uid ?? '' } }).catch((error: unknown) => {
          if (!hasCode(error, 'not-found')) throw error
        })
        return
      default:
        throw new Error(`perform step: unknown ${JSON.stringify(step satisfies never)}`)
    }
  }

  /** The name comes from the template: one that exists is ours already (the cache was behind) or a collision of hashes. */
  const createSet = async (d: Readonly<Deployment>, set: ReplicaSet): Promise<void> => {
    try {
      await setApi.create(set)
    } catch (error) {
      if (!hasCode(error, 'exists')) {
        events.event(referenceTo(d, KINDS.Deployment), 'Warning', 'ReplicaSetCreateError', `Failed to create new replica set "${set.metadata?.name}": ${messageOf(error)}`)
        throw error
      }
      const found = await setApi.get(set.metadata?.name ?? '', set.metadata?.namespace)
      if (isControlledBy(found, d) && sameTemplate(found.spec?.template, d.spec?.template)) return
      const collisionCount = (d.status?.collisionCount ?? 0) + 1
      await api.patch(d.metadata?.name ?? '', d.metadata?.namespace, { status: { collisionCount } }, 'merge', { subresource: 'status' })
      throw error
    }
  }

  const reconcile = async (key: string): Promise<Result | void> => {
    const { namespace, name } = splitKey(key)
    const d = deployments.get(name, namespace)
    if (!d) return
    const oldPodsRun = (old: readonly ReplicaSet[]): boolean =>
      old.some((s) => pods.byIndex(BY_CONTROLLER, s.metadata?.uid ?? '').some((p) => p.status?.phase !== 'Succeeded' && p.status?.phase !== 'Failed'))
    const plan = planDeployment({ deployment: d, sets: await claimSets(d), oldPodsRun, nowMs: clock.now() })
    for (const step of plan.steps) await perform(d, step)
    // Cleaned of resourceVersion: the annotation is this controller's alone, and a user's edit must not delay it.
    const latest = plan.revision === undefined ? d : await api.patch(name, namespace, { metadata: { annotations: { [REVISION]: plan.revision } } }, 'merge')
    if (canonical(said(plan.status)) !== canonical(said(d.status))) {
      // Of the newest: annotations go through the status door too, and an older text would take that of the revision away.
      await api.update({ ...latest, status: plan.status }, { subresource: 'status' })
    }
    return plan.requeueAfterMs === undefined ? undefined : { requeueAfterMs: plan.requeueAfterMs }
  }

  const ofSet = (set: Readonly<ReplicaSet>): string[] => {
    const { namespace = '' } = set.metadata ?? {}
    const owner = controllerOf(set)
    if (owner) return owner.kind === 'Deployment' ? [`${namespace}/${owner.name}`] : []
    return deployments
      .list(namespace)
      .filter((d) => matchesLabels(labelSelectorOf(d.spec?.selector), set.metadata?.labels))
      .map((d) => `${namespace}/${d.metadata?.name}`)
  }

  // A pod matters only by its going: Recreate waits for the last old one.
  const watchPods = (enqueue: (key: string) => void): (() => void) =>
    pods.onChange((now, old) => {
      const finished = now?.status?.phase === 'Succeeded' || now?.status?.phase === 'Failed'
      const owner = old && (!now || finished) ? controllerOf(old) : undefined
      const set = owner?.kind === 'ReplicaSet' ? sets.get(owner.name, old?.metadata?.namespace) : undefined
      if (set) for (const key of ofSet(set)) enqueue(key)
    })

  const sources = [watchObjects(deployments), watchMapped(sets, ofSet), watchPods]
  return createController({ name: 'deployment', clock, sources, caches: [deployments, sets, pods], reconcile })
}

/** A status without its zeros, which the API leaves out. */
function said(status: Readonly<DeploymentStatus> = {}): object {
  return Object.fromEntries(Object.entries(status).filter(([, value]) => value !== 0))
}
