/**
 * PersistentVolumes and their claims: binding, reclaiming, making volumes on demand, and the finalizers that protect what is in use.
 * One queue for both kinds and one worker, as two turns at once would only meet in conflicts. Keys: `claim <namespace>/<name>`, `volume <name>`.
 */
import type { PersistentVolumeClaim, Pod, StorageClass } from '../../api/gen/types.ts'
import { claimNames, classOf, FINALIZER_CLAIM, FINALIZER_LOCAL_PATH, FINALIZER_VOLUME, isBound } from '../../api/volumes.ts'
import { hasCode } from '../../base/errors.ts'
import { keyOf, splitKey } from '../../client/mod.ts'
import { createController, watchMapped, type Controller, type Result, type Source } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { reconcileClaim, reconcileVolume } from './claims.ts'
import { ensureClass, isOrphan } from './provision.ts'
import { Storage, type Claim, type PV } from './storage.ts'

/** Claims that wait are looked at again after this, so that their Events stay fresh, ms. */
const RETRY_MS = 5 * 60_000
const CLAIM = 'claim '
const VOLUME = 'volume '
const CLASS = 'class'

/** Binds, reclaims, protects; see the header. */
export function createPersistentVolumeController(context: ControllerContext): Controller {
  const storage = new Storage(context)
  const { claims, volumes, classes, nodes, pods } = storage
  const waiting = (which: (claim: Claim) => boolean): string[] => claims.list().filter((c) => !isBound(c) && which(c)).map((c) => CLAIM + keyOf(c))

  const reconcile = async (key: string): Promise<Result | void> => {
    if (key === CLASS) return await ensureClass(context.client)
    if (key.startsWith(VOLUME)) {
      const name = key.slice(VOLUME.length)
      await reconcileVolume(storage, name)
      return await freeVolume(storage, name)
    }
    const claimKey = key.slice(CLAIM.length)
    await reconcileClaim(storage, claimKey)
    await freeClaim(storage, claimKey)
    const { namespace, name } = splitKey(claimKey)
    const claim = claims.get(name, namespace)
    return claim && !isBound(claim) ? { requeueAfterMs: RETRY_MS } : undefined
  }

  const once: Source = (enqueue) => {
    enqueue(CLASS)
    return () => {}
  }
  return createController({
    name: 'persistentvolume',
    clock: context.clock,
    sources: [
      once,
      watchMapped(claims, (c) => [CLAIM + keyOf(c), ...(c.spec?.volumeName ? [VOLUME + c.spec.volumeName] : []), ...storage.volumesOf(c).map((v) => VOLUME + v.metadata?.name)]),
      // A volume that is free may be what any claim of its class waits for.
      watchMapped(volumes, (v) => [VOLUME + v.metadata?.name, ...(v.spec?.claimRef ? [`${CLAIM}${v.spec.claimRef.namespace}/${v.spec.claimRef.name}`] : waiting((c) => classOf(c) === classOf(v)))]),
      watchMapped<StorageClass>(classes, (s) => waiting((c) => classOf(c) === s.metadata?.name)),
      watchMapped(pods, (p) => claimNames(p).map((name) => `${CLAIM}${p.metadata?.namespace}/${name}`)),
      (enqueue) => nodes.onChange((now) => {
        if (!now) for (const v of volumes.list()) if (v.metadata?.deletionTimestamp !== undefined) enqueue(VOLUME + v.metadata.name)
      }),
    ],
    caches: storage.caches,
    reconcile,
    workers: 1,
  })
}

/** A claim on its way out stays while a pod on a node names it. */
async function freeClaim(storage: Storage, key: string): Promise<void> {
  const { namespace, name } = splitKey(key)
  const claim = storage.claims.get(name, namespace)
  if (claim?.metadata?.deletionTimestamp === undefined || !claim.metadata.finalizers?.includes(FINALIZER_CLAIM)) return
  const uses = (p: Readonly<Pod>): boolean => (p.spec?.nodeName ?? '') !== '' && claimNames(p).includes(name)
  // The cache may be behind; data may be deleted on this answer, so the API is asked.
  const inUse = storage.pods.list(namespace).some(uses) || (await storage.podApi.list(namespace === undefined ? {} : { namespace })).items.some(uses)
  if (!inUse) await drop(storage.claimApi, claim, FINALIZER_CLAIM)
}

/** A volume on its way out stays while it is bound. */
async function freeVolume(storage: Storage, name: string): Promise<void> {
  const volume = storage.volumes.get(name)
  if (volume?.metadata?.deletionTimestamp === undefined) return
  if (volume.metadata.finalizers?.includes(FINALIZER_VOLUME) && volume.status?.phase !== 'Bound') return await drop(storage.volumeApi, volume, FINALIZER_VOLUME)
  if (isOrphan(volume, new Set(storage.nodes.list().map((n) => n.metadata?.name ?? '')))) await drop(storage.volumeApi, volume, FINALIZER_LOCAL_PATH)
}

async function drop(api: Storage['claimApi'] | Storage['volumeApi'], object: Claim | PV, finalizer: string): Promise<void> {
  const { name = '', namespace, resourceVersion, finalizers = [] } = object.metadata ?? {}
  const metadata: PersistentVolumeClaim['metadata'] & object = { ...(resourceVersion === undefined ? {} : { resourceVersion }), finalizers: finalizers.filter((f) => f !== finalizer) }
  await api.patch(name, namespace, { metadata }, 'merge').catch((error: unknown) => {
    if (!hasCode(error, 'not-found')) throw error
  })
}
