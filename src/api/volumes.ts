/**
 * Persistent volumes in the words that server, scheduler and node share: which claim a pod's volume means, which volume can
 * serve which claim. Pure. The rules are those of Kubernetes' PersistentVolume binder.
 */
import type { ObjectMeta, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass, Volume } from './gen/types.ts'
import { tryParseQuantity } from './quantity.ts'
import { EVERYTHING, labelSelectorOf, matchesLabels } from './selectors.ts'

/** On a claim whose binding is complete. */
export const ANN_BIND_COMPLETED = 'pv.kubernetes.io/bind-completed'
/** On a claim or volume that the controller, not its author, pointed at the other. */
export const ANN_BOUND_BY_CONTROLLER = 'pv.kubernetes.io/bound-by-controller'
/** On a claim: the node its first pod goes to. */
export const ANN_SELECTED_NODE = 'volume.kubernetes.io/selected-node'
/** On a volume made on demand: by whom. */
export const ANN_PROVISIONED_BY = 'pv.kubernetes.io/provisioned-by'
/** On a claim: who is to make its volume; also by its older name. */
export const ANN_PROVISIONER = 'volume.kubernetes.io/storage-provisioner'
/** The provisioner of directories on nodes that is built in, by the name K3s users know. */
export const LOCAL_PATH = 'rancher.io/local-path'
/** On a Node: the directory under which it keeps volumes of {@link LOCAL_PATH}. */
export const ANN_LOCAL_PATH = 'skerry.io/local-path'
/** Label of a volume of {@link LOCAL_PATH}: the node whose it is, for that node's watch; see {@link nodeLabel}. */
export const LABEL_NODE = 'skerry.io/node'
/** Holds a volume until the node that has its directory removed it. Put there by that node before it makes the directory. */
export const FINALIZER_LOCAL_PATH = 'skerry.io/local-path'
export const FINALIZER_CLAIM = 'kubernetes.io/pvc-protection'
export const FINALIZER_VOLUME = 'kubernetes.io/pv-protection'
/** On a volume of {@link LOCAL_PATH}: the node that has its directory. */
export const ANN_LOCAL_NODE = 'local.path.provisioner/selected-node'
/** A class of volumes that only people make. */
export const NO_PROVISIONER = 'kubernetes.io/no-provisioner'

const BETA_CLASS = 'volume.beta.kubernetes.io/storage-class'

/** A node's name as the value of a label: itself, or the end of it that fits and begins with a letter or digit. */
export function nodeLabel(node: string): string {
  return node.slice(-63).replace(/^[^a-z0-9]+/, '')
}

/** The claim behind one volume of a pod, by name; undefined for the other kinds of volumes. */
export function claimNameOf(pod: Readonly<Pod>, volume: Readonly<Volume>): string | undefined {
  if (volume.persistentVolumeClaim) return volume.persistentVolumeClaim.claimName
  return volume.ephemeral ? `${pod.metadata?.name}-${volume.name}` : undefined
}

/** All claims a pod needs, by name. */
export function claimNames(pod: Readonly<Pod>): string[] {
  return (pod.spec?.volumes ?? []).flatMap((v) => claimNameOf(pod, v) ?? [])
}

/** Whether a claim is the one made for this pod: a generic ephemeral volume may use no other. */
export function isClaimOf(claim: { readonly metadata?: ObjectMeta }, pod: Readonly<Pod>): boolean {
  return (claim.metadata?.ownerReferences ?? []).some((o) => o.controller === true && o.uid === pod.metadata?.uid)
}

/** Storage class of a claim or volume; empty: none. */
export function classOf(object: Readonly<PersistentVolume> | Readonly<PersistentVolumeClaim>): string {
  return object.metadata?.annotations?.[BETA_CLASS] ?? object.spec?.storageClassName ?? ''
}

/** Bound for good: volume and claim name each other. */
export function isBound(claim: Readonly<PersistentVolumeClaim>): boolean {
  return (claim.spec?.volumeName ?? '') !== '' && claim.metadata?.annotations?.[ANN_BIND_COMPLETED] !== undefined
}

/** Whether the claim's volume is chosen only when a pod that uses it has a node, and that has not happened yet. */
export function waitsForPod(claim: Readonly<PersistentVolumeClaim>, storageClass: Readonly<StorageClass> | undefined): boolean {
  return storageClass?.volumeBindingMode === 'WaitForFirstConsumer' && claim.metadata?.annotations?.[ANN_SELECTED_NODE] === undefined
}

/** Whether a volume's `claimRef` names this claim (and not an earlier one of the same name). */
export function isFor(volume: Readonly<PersistentVolume>, claim: Readonly<PersistentVolumeClaim>): boolean {
  const ref = volume.spec?.claimRef
  if (!ref || ref.name !== claim.metadata?.name || ref.namespace !== claim.metadata?.namespace) return false
  return ref.uid === undefined || ref.uid === '' || ref.uid === claim.metadata?.uid
}

/** Bytes a volume has, or a claim asks for. */
export function storageOf(quantities: Readonly<Record<string, string>> | undefined): bigint {
  return tryParseQuantity(quantities?.['storage'] ?? '0')?.nano ?? 0n
}

/** Why a volume cannot serve a claim that names it; undefined when it can. In Kubernetes' words. */
export function mismatch(volume: Readonly<PersistentVolume>, claim: Readonly<PersistentVolumeClaim>): string | undefined {
  const [v, c] = [volume.spec ?? {}, claim.spec ?? {}]
  if (volume.metadata?.deletionTimestamp !== undefined) return `the volume is marked for deletion "${volume.metadata.name}"`
  if (storageOf(v.capacity) < storageOf(c.resources?.requests)) return 'requested PV is too small'
  if (classOf(volume) !== classOf(claim)) return 'storageClassName does not match'
  if ((v.volumeAttributesClassName ?? '') !== (c.volumeAttributesClassName ?? '')) return 'VolumeAttributesClassName does not match'
  if ((v.volumeMode ?? 'Filesystem') !== (c.volumeMode ?? 'Filesystem')) return 'incompatible volumeMode'
  if ((c.accessModes ?? []).some((mode) => !v.accessModes?.includes(mode))) return 'incompatible accessMode'
  return undefined
}

/**
 * The best volume for a claim: one that names it already, else the smallest that is free, has the labels asked for and room enough.
 * @param usable refuses volumes for reasons of the caller's, such as the node
 */
export function bestVolume(
  volumes: Iterable<Readonly<PersistentVolume>>,
  claim: Readonly<PersistentVolumeClaim>,
  usable: (volume: Readonly<PersistentVolume>) => boolean = () => true,
): Readonly<PersistentVolume> | undefined {
  const selector = claim.spec?.selector ? labelSelectorOf(claim.spec.selector) : EVERYTHING
  let best: Readonly<PersistentVolume> | undefined
  for (const volume of volumes) {
    if (mismatch(volume, claim) !== undefined || !usable(volume)) continue
    if (volume.spec?.claimRef) {
      if (isFor(volume, claim)) return volume
      continue
    }
    const phase = volume.status?.phase ?? 'Available'
    if ((phase !== 'Available' && phase !== 'Pending') || !matchesLabels(selector, volume.metadata?.labels)) continue
    const less = best && storageOf(volume.spec?.capacity) - storageOf(best.spec?.capacity)
    if (less === undefined || less < 0n || (less === 0n && (volume.metadata?.name ?? '') < (best?.metadata?.name ?? ''))) best = volume
  }
  return best
}
