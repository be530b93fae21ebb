/** What a pod's claim is on this machine: the claim's volume, checked, and where it lies. */
import { stat } from 'node:fs/promises'
import type { PersistentVolume, PersistentVolumeClaim, Pod, Volume } from '../../api/gen/types.ts'
import { claimNameOf, isBound, isClaimOf } from '../../api/volumes.ts'
import type { KubeObject } from '../../api/meta.ts'
import { readJsonIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError } from '../../base/errors.ts'
import type { ResourceRef } from '../../client/mod.ts'
import { PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES } from '../refs.ts'
import { checkHostPath } from './host-path.ts'
import { pathOf, type LocalPath } from './local-path.ts'

/** Where a volume lies on this machine. */
export interface Place {
  readonly path: string
  /** The volume itself, whatever a mount says. */
  readonly readOnly: boolean
  /** A block device, given to containers as it is. */
  readonly block?: boolean
  /** Whether its files may be given to the pod's fsGroup. */
  readonly grouped?: boolean
}

/** Asks the API for one object; undefined when it does not exist. */
export type Fetch = <T extends KubeObject>(ref: ResourceRef, namespace: string | undefined, name: string) => Promise<T | undefined>

export interface ClaimContext {
  readonly fetch: Fetch
  readonly localPath: LocalPath | undefined
  /** Where the answer is kept with the pod: a claim and its volume are one for the pod's life, also when the server is away. */
  readonly file: string
}

/** Finds the volume behind a claim, and makes its directory where that is this node's to do. @throws AppError in the kubelet's words */
export async function claimPlace(pod: Readonly<Pod>, volume: Readonly<Volume>, context: ClaimContext): Promise<Place> {
  const kept = await readJsonIfAny<PersistentVolume>(context.file)
  const found = kept ?? (await findVolume(pod, volume, context.fetch))
  const at = await place(found, context.localPath)
  if (!kept) {
    const { metadata, spec } = found
    await writeFileAtomic(context.file, JSON.stringify({ metadata: { name: metadata?.name, uid: metadata?.uid, annotations: metadata?.annotations, finalizers: metadata?.finalizers }, spec }))
  }
  return { ...at, readOnly: volume.persistentVolumeClaim?.readOnly === true }
}

async function findVolume(pod: Readonly<Pod>, volume: Readonly<Volume>, fetch: Fetch): Promise<PersistentVolume> {
  const name = claimNameOf(pod, volume) ?? ''
  const full = `${pod.metadata?.namespace}/${name}`
  const claim = await fetch<PersistentVolumeClaim>(PERSISTENT_VOLUME_CLAIMS, pod.metadata?.namespace, name)
  if (!claim) throw new AppError('invalid', `error processing PVC ${full}: persistentvolumeclaim "${name}" not found`)
  if (volume.ephemeral && !isClaimOf(claim, pod)) throw new AppError('invalid', `PVC ${full} was not created for pod ${pod.metadata?.namespace}/${pod.metadata?.name} (pod is not owner)`)
  if (!isBound(claim) || claim.status?.phase === 'Lost') throw new AppError('invalid', `error processing PVC ${full}: it has non-bound phase ("${claim.status?.phase ?? ''}")`)
  const found = await fetch<PersistentVolume>(PERSISTENT_VOLUMES, undefined, claim.spec?.volumeName ?? '')
  if (!found) throw new AppError('invalid', `error processing PVC ${full}: persistentvolume "${claim.spec?.volumeName}" not found`)
  if (found.spec?.claimRef?.uid !== claim.metadata?.uid) throw new AppError('invalid', `error processing PVC ${full}: persistentvolume "${found.metadata?.name}" is bound to another claim`)
  return found
}

async function place(volume: Readonly<PersistentVolume>, localPath: LocalPath | undefined): Promise<Omit<Place, 'readOnly'>> {
  const { spec = {} } = volume
  const path = pathOf(volume)
  if (path === undefined) {
    const kind = Object.keys(spec).find((k) => SOURCES.has(k)) ?? 'unknown'
    throw new AppError('unsupported', `volumes of kind "${kind}" cannot be mounted by this node: use a local or hostPath PersistentVolume, or the storage class local-path`)
  }
  if (localPath?.owns(volume)) await localPath.ensure(volume)
  else if (spec.hostPath) await checkHostPath(path, spec.hostPath.type)
  const seen = await stat(path).catch(() => undefined)
  if (!seen) throw new AppError('invalid', `path "${path}" does not exist`)
  if (spec.volumeMode === 'Block') {
    if (!seen.isBlockDevice()) throw new AppError('invalid', `path "${path}" is not a block device, and the volume's mode is Block`)
    return { path, block: true }
  }
  if (spec.local && !seen.isDirectory()) throw new AppError('invalid', `path "${path}" is not a directory: this node mounts no file systems from devices, mount it and name the directory`)
  return { path, grouped: spec.local !== undefined }
}

const SOURCES = new Set(['awsElasticBlockStore', 'azureDisk', 'azureFile', 'cephfs', 'cinder', 'csi', 'fc', 'flexVolume', 'flocker', 'gcePersistentDisk', 'glusterfs', 'iscsi', 'nfs', 'photonPersistentDisk', 'portworxVolume', 'quobyte', 'rbd', 'scaleIO', 'storageos', 'vsphereVolume'])
