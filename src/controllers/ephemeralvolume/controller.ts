/** Generic ephemeral volumes: the claim of each is made when its pod is, and goes with it by the owner reference. */
import type { PersistentVolumeClaim, Pod, Volume } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { claimNameOf, isClaimOf } from '../../api/volumes.ts'
import { hasCode } from '../../base/errors.ts'
import { referenceTo, splitKey } from '../../client/mod.ts'
import { createController, isActive, watchObjects, type Controller } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { podCache } from '../pod-cache.ts'

/** The claim of one ephemeral volume. Pure. */
export function claimFor(pod: Readonly<Pod>, volume: Readonly<Volume>): PersistentVolumeClaim {
  const template = volume.ephemeral?.volumeClaimTemplate
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: `${name}-${volume.name}`,
      namespace,
      ...(template?.metadata?.labels ? { labels: { ...template.metadata.labels } } : {}),
      ...(template?.metadata?.annotations ? { annotations: { ...template.metadata.annotations } } : {}),
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid, controller: true, blockOwnerDeletion: true }],
    },
    ...(template?.spec ? { spec: structuredClone(template.spec) } : {}),
  }
}

/** Makes the claims of pods that have ephemeral volumes. */
export function createEphemeralVolumeController({ client, caches, clock, recorder }: ControllerContext): Controller {
  const pods = podCache(caches)
  const claims = caches.cache<PersistentVolumeClaim>(KINDS.PersistentVolumeClaim)
  const api = client.resource<PersistentVolumeClaim>(KINDS.PersistentVolumeClaim)
  const events = recorder('ephemeral-volume-controller')
  const reconcile = async (key: string): Promise<void> => {
    const { namespace, name } = splitKey(key)
    const pod = pods.get(name, namespace)
    if (!pod || !isActive(pod)) return
    for (const volume of pod.spec?.volumes ?? []) {
      if (!volume.ephemeral) continue
      const wanted = claimNameOf(pod, volume) ?? ''
      const there = claims.get(wanted, namespace)
      if (there) {
        if (!isClaimOf(there, pod)) events.event(referenceTo(pod, KINDS.Pod), 'Warning', 'EphemeralVolumeCreationFailed', `ephemeral volume ${volume.name}: PVC ${namespace}/${wanted} was not created for pod ${namespace}/${name} (pod is not owner)`)
        continue
      }
      await api.create(claimFor(pod, volume)).catch((error: unknown) => {
        if (!hasCode(error, 'exists')) throw error
      })
    }
  }
  const has = (pod: Readonly<Pod> | undefined): boolean => pod?.spec?.volumes?.some((v) => v.ephemeral) === true
  return createController({ name: 'ephemeralvolume', clock, sources: [watchObjects(pods, (now) => has(now))], caches: [pods, claims], reconcile, workers: 1 })
}
