/**
 * What a pod's claims mean for its place: volumes that are on certain nodes, claims whose volume is chosen with the node, and
 * claims that keep the pod waiting. Looked up once a decision; asking a node is then pure.
 */
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass } from '../api/gen/types.ts'
import { KINDS } from '../api/kinds.ts'
import { ANN_BOUND_BY_CONTROLLER, ANN_SELECTED_NODE, bestVolume, claimNameOf, claimNames, classOf, isBound, isClaimOf, isFor, NO_PROVISIONER } from '../api/volumes.ts'
import type { Cache, CacheSet, Client } from '../client/mod.ts'
import { termMatches } from './filters/node-affinity.ts'
import type { NodeView } from './snapshot.ts'

type Claim = Readonly<PersistentVolumeClaim>
type Volume = Readonly<PersistentVolume>

/** Where the volumes of one pod can be. */
export interface PodVolumes {
  /** Why the pod goes nowhere for now. */
  readonly problem?: string
  /** The node that volumes are being made on for this pod. */
  readonly chosen?: string
  /** Claims without a volume yet, which get one with the node. */
  readonly open: readonly Claim[]
  /** Why the volumes keep the pod off a node; empty when they do not. */
  refuse(node: NodeView): readonly string[]
}

/** No claims, no limits. */
export const NO_VOLUMES: PodVolumes = { open: [], refuse: () => [] }

/** Whether a volume can be used on a node. */
export function reaches(volume: Volume, node: Readonly<Node>): boolean {
  const required = volume.spec?.nodeAffinity?.required
  return required === undefined || required.nodeSelectorTerms.some((t) => termMatches(t, node))
}

/** The cluster's volumes as the scheduler sees them. */
export class VolumeBinder {
  readonly claims: Cache<PersistentVolumeClaim>
  readonly volumes: Cache<PersistentVolume>
  readonly classes: Cache<StorageClass>
  readonly #client: Client

  constructor(client: Client, caches: CacheSet) {
    this.#client = client
    this.claims = caches.cache<PersistentVolumeClaim>(KINDS.PersistentVolumeClaim)
    this.volumes = caches.cache<PersistentVolume>(KINDS.PersistentVolume)
    this.classes = caches.cache<StorageClass>(KINDS.StorageClass)
  }

  /** What the claims of a pod mean now. */
  of(pod: Readonly<Pod>): PodVolumes {
    const bound: Volume[] = []
    const open: Claim[] = []
    const exclusive = new Set<string>()
    for (const v of pod.spec?.volumes ?? []) {
      const name = claimNameOf(pod, v)
      if (name === undefined) continue
      const claim = this.claims.get(name, pod.metadata?.namespace)
      const problem = this.#problem(pod, name, claim, v.ephemeral !== undefined)
      if (problem !== undefined || !claim) return { ...NO_VOLUMES, problem: problem ?? '' }
      if (claim.spec?.accessModes?.includes('ReadWriteOncePod')) exclusive.add(name)
      const volume = isBound(claim) ? this.volumes.get(claim.spec?.volumeName ?? '') : undefined
      if (volume) bound.push(volume)
      else open.push(claim)
    }
    if (bound.length + open.length === 0) return NO_VOLUMES
    const chosen = open.flatMap((c) => c.metadata?.annotations?.[ANN_SELECTED_NODE] ?? [])[0]
    return {
      open,
      ...(chosen === undefined ? {} : { chosen }),
      refuse: (node) => [
        ...(bound.every((v) => reaches(v, node.node)) ? [] : ["node(s) didn't match PersistentVolume's node affinity"]),
        ...(open.every((c) => this.#servable(c, node)) ? [] : ["node(s) didn't find available persistent volumes to bind"]),
        ...(exclusive.size > 0 && node.pods.some((p) => shares(p, pod, exclusive)) ? ['node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode'] : []),
      ],
    }
  }

  #problem(pod: Readonly<Pod>, name: string, claim: Claim | undefined, ephemeral: boolean): string | undefined {
    if (!claim) return ephemeral ? `waiting for ephemeral volume controller to create the persistentvolumeclaim "${name}"` : `persistentvolumeclaim "${name}" not found`
    if (ephemeral && !isClaimOf(claim, pod)) return `PVC ${pod.metadata?.namespace}/${name} was not created for pod ${pod.metadata?.namespace}/${pod.metadata?.name} (pod is not owner)`
    if (claim.status?.phase === 'Lost') return `persistentvolumeclaim "${name}" bound to non-existent persistentvolume "${claim.spec?.volumeName}"`
    if (claim.metadata?.deletionTimestamp !== undefined) return `persistentvolumeclaim "${name}" is being deleted`
    if (isBound(claim)) return this.volumes.get(claim.spec?.volumeName ?? '') ? undefined : 'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)'
    const delayed = this.classes.get(classOf(claim))?.volumeBindingMode === 'WaitForFirstConsumer' && (claim.spec?.volumeName ?? '') === ''
    return delayed ? undefined : 'pod has unbound immediate PersistentVolumeClaims'
  }

  #match(claim: Claim, node: Readonly<Node>): Volume | undefined {
    return bestVolume(this.volumes.list(), claim, (v) => reaches(v, node))
  }

  #servable(claim: Claim, node: NodeView): boolean {
    return this.#match(claim, node.node) !== undefined || (this.classes.get(classOf(claim))?.provisioner ?? NO_PROVISIONER) !== NO_PROVISIONER
  }

  /**
   * Gives each open claim a volume that is there, or has one made on the node. The controller completes the binding; the pod
   * is bound when its claims are. @throws ApiError `conflict` when somebody else was faster
   */
  async choose(volumes: PodVolumes, node: Readonly<Node>): Promise<void> {
    for (const claim of volumes.open) {
      const { name = '', namespace, uid, resourceVersion, annotations } = claim.metadata ?? {}
      const found = this.#match(claim, node)
      if (found) {
        if (isFor(found, claim) && found.spec?.claimRef?.uid === uid) continue
        const claimRef = { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid, resourceVersion }
        const metadata = { resourceVersion: found.metadata?.resourceVersion, ...(found.spec?.claimRef ? {} : { annotations: { [ANN_BOUND_BY_CONTROLLER]: 'yes' } }) }
        await this.#client.resource<PersistentVolume>(KINDS.PersistentVolume).patch(found.metadata?.name ?? '', undefined, { metadata, spec: { claimRef } }, 'merge')
      } else if (annotations?.[ANN_SELECTED_NODE] !== node.metadata?.name) {
        const metadata = { resourceVersion, annotations: { [ANN_SELECTED_NODE]: node.metadata?.name } }
        await this.#client.resource<PersistentVolumeClaim>(KINDS.PersistentVolumeClaim).patch(name, namespace, { metadata }, 'merge')
      }
    }
  }
}

function shares(other: Readonly<Pod>, pod: Readonly<Pod>, exclusive: ReadonlySet<string>): boolean {
  return other.metadata?.namespace === pod.metadata?.namespace && other.metadata?.uid !== pod.metadata?.uid && claimNames(other).some((n) => exclusive.has(n))
}
