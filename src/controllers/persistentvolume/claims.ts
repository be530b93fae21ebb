/**
 * Claims: each gets a volume that fits, or one made for it, or says why it waits; one whose volume is gone is Lost. A claim of a
 * class that waits for its first pod is left to the scheduler until that has chosen a node.
 */
import { KINDS } from '../../api/kinds.ts'
import { ANN_BOUND_BY_CONTROLLER, ANN_PROVISIONED_BY, ANN_PROVISIONER, bestVolume, claimNames, classOf, isBound, isFor, LOCAL_PATH, mismatch, storageOf, waitsForPod } from '../../api/volumes.ts'
import { hasCode } from '../../base/errors.ts'
import { splitKey } from '../../client/mod.ts'
import { provision } from './provision.ts'
import type { Claim, PV, Storage } from './storage.ts'

const BETA_PROVISIONER = 'volume.beta.kubernetes.io/storage-provisioner'

/** Brings one claim, by key, nearer to being bound. */
export async function reconcileClaim(storage: Storage, key: string): Promise<void> {
  const { namespace, name } = splitKey(key)
  const claim = storage.claims.get(name, namespace)
  if (!claim) return
  if (isBound(claim)) return await keepBound(storage, claim)
  if ((claim.spec?.volumeName ?? '') !== '') return await bindNamed(storage, claim)
  await find(storage, claim)
}

async function keepBound(storage: Storage, claim: Claim): Promise<void> {
  const volume = storage.volumes.get(claim.spec?.volumeName ?? '')
  if (!volume) return await lost(storage, claim, 'ClaimLost', 'Bound claim has lost its PersistentVolume. Data on the volume is lost!')
  if (volume.spec?.claimRef && !(isFor(volume, claim) && volume.spec.claimRef.uid === claim.metadata?.uid)) {
    return await lost(storage, claim, 'ClaimMisbound', 'Two claims are bound to the same volume, this one is bound incorrectly')
  }
  await storage.bind(await grown(storage, volume, claim), claim)
}

/** The volume of a claim that asks for more than it has; admission has seen to it that its class allows that. A directory grows by being said to. */
async function grown(storage: Storage, volume: PV, claim: Claim): Promise<PV> {
  const wanted = claim.spec?.resources?.requests?.['storage']
  if (wanted === undefined || storageOf(claim.spec?.resources?.requests) <= storageOf(volume.spec?.capacity)) return volume
  const storageClass = storage.classes.get(classOf(claim))
  if (storageClass?.allowVolumeExpansion !== true || claim.metadata?.deletionTimestamp !== undefined) return volume
  if (volume.metadata?.annotations?.[ANN_PROVISIONED_BY] !== LOCAL_PATH) {
    storage.tell(claim, 'Normal', 'ExternalExpanding', 'waiting for an external controller to expand this PVC')
    return volume
  }
  const { name = '', resourceVersion } = volume.metadata
  const next = await storage.volumeApi.patch(name, undefined, { metadata: { resourceVersion }, spec: { capacity: { storage: wanted } } }, 'merge')
  storage.tell(claim, 'Normal', 'VolumeResizeSuccessful', `Resize volume succeeded: ${wanted}, which the node does not enforce: the directory may use its whole disk`)
  return next
}

async function lost(storage: Storage, claim: Claim, reason: string, message: string): Promise<void> {
  if (claim.status?.phase === 'Lost') return
  await storage.claimPhase(claim, 'Lost', { accessModes: null, capacity: null })
  storage.tell(claim, 'Warning', reason, message)
}

/** The claim's author has chosen the volume. */
async function bindNamed(storage: Storage, claim: Claim): Promise<void> {
  const wanted = claim.spec?.volumeName ?? ''
  const volume = storage.volumes.get(wanted)
  if (!volume) return await storage.claimPhase(claim, 'Pending')
  const ref = volume.spec?.claimRef
  if (ref && !isFor(volume, claim)) {
    storage.tell(claim, 'Warning', 'FailedBinding', `volume "${wanted}" already bound to a different claim.`)
    return await storage.claimPhase(claim, 'Pending')
  }
  const why = mismatch(volume, claim)
  if (why !== undefined) {
    storage.tell(claim, 'Warning', 'VolumeMismatch', `Cannot bind to requested volume "${wanted}": ${why}`)
    return await storage.claimPhase(claim, 'Pending')
  }
  await storage.bind(volume, claim)
}

async function find(storage: Storage, claim: Claim): Promise<void> {
  const storageClass = storage.classes.get(classOf(claim))
  const waits = waitsForPod(claim, storageClass)
  // Of the class that waits, only a volume that names the claim already is taken: the scheduler has put the name there.
  const volume = bestVolume(waits ? storage.volumesOf(claim) : storage.volumes.list(), claim, (v) => !waits || v.spec?.claimRef !== undefined)
  if (volume) return await storage.bind(volume, claim)
  if (claim.metadata?.deletionTimestamp !== undefined) return
  if (waits) sayWaiting(storage, claim)
  else if (classOf(claim) === '') storage.tell(claim, 'Normal', 'FailedBinding', 'no persistent volumes available for this claim and no storage class is set')
  else if (!storageClass) storage.tell(claim, 'Warning', 'ProvisioningFailed', `storageclass.storage.k8s.io "${classOf(claim)}" not found`)
  else if (storageClass.provisioner.startsWith('kubernetes.io/')) storage.tell(claim, 'Warning', 'ProvisioningFailed', `no volume plugin matched name: ${storageClass.provisioner}`)
  else {
    const marked = await mark(storage, claim, storageClass.provisioner)
    if (storageClass.provisioner === LOCAL_PATH) await provision(storage, marked, storageClass)
    else {
      const message = `Waiting for a volume to be created either by the external provisioner '${storageClass.provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.`
      storage.tell(claim, 'Normal', 'ExternalProvisioning', message)
    }
  }
  await storage.claimPhase(claim, 'Pending')
}

/** Tells an external provisioner that this claim is for it. */
async function mark(storage: Storage, claim: Claim, provisioner: string): Promise<Claim> {
  if (claim.metadata?.annotations?.[ANN_PROVISIONER] === provisioner) return claim
  const { name = '', namespace, resourceVersion } = claim.metadata ?? {}
  const annotations = { [ANN_PROVISIONER]: provisioner, [BETA_PROVISIONER]: provisioner }
  return await storage.claimApi.patch(name, namespace, { metadata: { resourceVersion, annotations } }, 'merge')
}

function sayWaiting(storage: Storage, claim: Claim): void {
  const name = claim.metadata?.name ?? ''
  const pods = storage.pods.list(claim.metadata?.namespace).filter((p) => (p.spec?.nodeName ?? '') === '' && claimNames(p).includes(name))
  if (pods.length === 0) return storage.tell(claim, 'Normal', 'WaitForFirstConsumer', 'waiting for first consumer to be created before binding')
  const names = pods.map((p) => p.metadata?.name).toSorted()
  storage.tell(claim, 'Normal', 'WaitForPodScheduled', pods.length === 1 ? `waiting for pod ${names[0]} to be scheduled` : `waiting for pods ${names.join(',')} to be scheduled`)
}

/** Volumes: which are free, which bound, and what becomes of those whose claim is gone. */
export async function reconcileVolume(storage: Storage, name: string): Promise<void> {
  const volume = storage.volumes.get(name)
  if (!volume) return
  const ref = volume.spec?.claimRef
  if (!ref || (ref.uid ?? '') === '') {
    if (volume.metadata?.deletionTimestamp === undefined) await storage.volumePhase(volume, 'Available')
    return
  }
  const claim = await current(storage, ref.namespace ?? '', ref.name ?? '', ref.uid ?? '')
  if (!claim) return await release(storage, name)
  if (claim.spec?.volumeName === name) return await storage.volumePhase(volume, 'Bound')
  if ((claim.spec?.volumeName ?? '') === '') return // The claim's own turn binds them.
  const made = volume.metadata?.annotations?.[ANN_BOUND_BY_CONTROLLER] === undefined && volume.spec?.persistentVolumeReclaimPolicy === 'Delete'
  if (made && volume.metadata?.annotations?.[ANN_PROVISIONED_BY] !== undefined) return await release(storage, name)
  await storage.unbind(volume)
}

/** The claim of that uid. What the cache misses is asked of the API: data is deleted on this answer. */
async function current(storage: Storage, namespace: string, name: string, uid: string): Promise<Claim | undefined> {
  const cached = storage.claims.get(name, namespace)
  if (cached?.metadata?.uid === uid) return cached
  try {
    const fresh = await storage.claimApi.get(name, namespace)
    return fresh.metadata?.uid === uid ? fresh : undefined
  } catch (error) {
    if (hasCode(error, 'not-found')) return undefined
    throw error
  }
}

/** The claim is gone: the volume is kept, or deleted, as it says. */
async function release(storage: Storage, name: string): Promise<void> {
  const volume = await storage.volumeApi.get(name)
  if (volume.status?.phase !== 'Released' && volume.status?.phase !== 'Failed') await storage.volumePhase(volume, 'Released')
  const provisioner = volume.metadata?.annotations?.[ANN_PROVISIONED_BY]
  switch (volume.spec?.persistentVolumeReclaimPolicy) {
    case 'Delete':
      if (provisioner === LOCAL_PATH) {
        if (volume.metadata?.deletionTimestamp === undefined) await storage.volumeApi.delete(name, undefined, { preconditions: { uid: volume.metadata?.uid ?? '' } })
        return
      }
      if (provisioner !== undefined || volume.spec.csi) return // An external provisioner's.
      return await failed(storage, name, `error getting deleter volume plugin for volume "${name}": no volume plugin matched`, 'VolumeFailedDelete')
    case 'Recycle':
      return await failed(storage, name, 'No recycler plugin found for the volume!', 'VolumeFailedRecycle')
  }
}

async function failed(storage: Storage, name: string, message: string, reason: string): Promise<void> {
  const volume = await storage.volumeApi.get(name)
  if (volume.status?.phase === 'Failed') return
  await storage.volumePhase(volume, 'Failed', message)
  storage.say(volume, KINDS.PersistentVolume, 'Warning', reason, message)
}
