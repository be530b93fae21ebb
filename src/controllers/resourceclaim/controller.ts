/**
 * Device claims (DRA): made from templates for the pods that name them, told in the pods' status, no longer held by pods that
 * are done, freed when nobody holds them, and deleted with the pods they were made for. Allocation is the scheduler's.
 */
import type { Pod, ResourceClaimTemplate, ResourceResourceClaim } from '../../api/gen/types.ts'
import { claimOf, deviceClaimNames } from '../../api/claims.ts'
import { KINDS } from '../../api/kinds.ts'
import { AppError, hasCode, messageOf } from '../../base/errors.ts'
import { keyOf, referenceTo, splitKey } from '../../client/mod.ts'
import { controllerOf, createController, isActive, watchObjects, type Controller } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { podCache } from '../pod-cache.ts'
import { claimFrom, isMadeFor, upkeep } from './plan.ts'

/** Two controllers that share what they know: claims for pods, and the upkeep of claims. */
export function createResourceClaimControllers({ client, caches, clock, recorder }: ControllerContext): Controller[] {
  const pods = podCache(caches)
  const claims = caches.cache<ResourceResourceClaim>(KINDS.ResourceResourceClaim)
  const api = client.resource<ResourceResourceClaim>(KINDS.ResourceResourceClaim)
  const templates = client.resource<ResourceClaimTemplate>(KINDS.ResourceClaimTemplate)
  const podApi = client.resource<Pod>(KINDS.Pod)
  const events = recorder('resource_claim')

  const makeFor = async (key: string): Promise<void> => {
    const { namespace, name } = splitKey(key)
    const pod = pods.get(name, namespace)
    if (!pod || !isActive(pod)) return
    const made: { name: string; resourceClaimName: string }[] = []
    for (const wanted of pod.spec?.resourceClaims ?? []) {
      if (wanted.resourceClaimTemplateName === undefined || claimOf(pod, wanted).state !== 'awaited') continue
      try {
        // Made already, and the pod not told: the cache is asked first, so that a restart makes no second one.
        const there = claims.list(namespace).find((c) => isMadeFor(c, pod, wanted.name) && c.metadata?.deletionTimestamp === undefined)
        const claim = there ?? (await api.create(claimFrom(await templateOf(wanted.resourceClaimTemplateName, namespace), pod, wanted)))
        made.push({ name: wanted.name, resourceClaimName: claim.metadata?.name ?? '' })
      } catch (error) {
        events.event(referenceTo(pod, KINDS.Pod), 'Warning', 'FailedResourceClaimCreation', `PodResourceClaim ${wanted.name}: ${messageOf(error)}`)
        throw error
      }
    }
    if (made.length === 0) return
    const patch = { metadata: { uid: pod.metadata?.uid }, status: { resourceClaimStatuses: made } }
    await podApi.patch(name, namespace, patch, 'strategic', { subresource: 'status' }).catch((error: unknown) => {
      // Gone or replaced by another of its name: the claim goes with its owner.
      if (!hasCode(error, 'not-found') && !hasCode(error, 'conflict')) throw error
    })
  }

  const templateOf = async (name: string, namespace: string | undefined): Promise<ResourceClaimTemplate> =>
    await templates.get(name, namespace).catch((error: unknown) => {
      throw hasCode(error, 'not-found') ? new AppError('not-found', `resource claim template "${name}": resourceclaimtemplate.resource.k8s.io "${name}" not found`) : error
    })

  const keep = async (key: string): Promise<void> => {
    const { namespace, name } = splitKey(key)
    const claim = claims.get(name, namespace)
    if (!claim) return
    const todo = upkeep(claim, (pod) => pods.get(pod, namespace))
    switch (todo.act) {
      case 'same':
        return
      case 'status':
        return void (await api.update({ ...claim, status: todo.status }, { subresource: 'status' }))
      case 'free':
        return void (await api.update({ ...claim, metadata: { ...claim.metadata, finalizers: [...todo.finalizers] } }))
      case 'delete':
        return await api.delete(name, namespace, { preconditions: { uid: claim.metadata?.uid ?? '' } })
      default:
        return todo satisfies never
    }
  }
  /** Written by another meanwhile, or gone: its change brings it here again. */
  const calmly = (act: (key: string) => Promise<void>) => (key: string): Promise<void> =>
    act(key).catch((error: unknown) => {
      if (!hasCode(error, 'conflict') && !hasCode(error, 'not-found')) throw error
    })

  const claiming = (pod: Readonly<Pod> | undefined): boolean => pod?.spec?.resourceClaims?.some((c) => c.resourceClaimTemplateName !== undefined) === true
  const ofPods = (enqueue: (key: string) => void): (() => void) =>
    pods.onChange((now, old) => {
      const pod = (now ?? old) as Pod
      if (!pod.spec?.resourceClaims?.length) return
      const { namespace = '' } = pod.metadata ?? {}
      for (const name of deviceClaimNames(pod)) enqueue(keyOf({ metadata: { name, namespace } }))
      if (!now) for (const c of claims.list(namespace)) if (controllerOf(c)?.uid === pod.metadata?.uid) enqueue(keyOf(c))
    })
  return [
    createController({ name: 'resourceclaim', clock, sources: [watchObjects(pods, (now) => claiming(now))], caches: [pods, claims], reconcile: makeFor, workers: 1 }),
    createController({ name: 'resourceclaim-upkeep', clock, sources: [watchObjects(claims), ofPods], caches: [pods, claims], reconcile: calmly(keep), workers: 1 }),
  ]
}
