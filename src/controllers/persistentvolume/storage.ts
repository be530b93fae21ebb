/** What the parts of the volume controller share: caches, clients, how they say things, and the writes of a binding. */
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { ANN_BIND_COMPLETED, ANN_BOUND_BY_CONTROLLER, isFor } from '../../api/volumes.ts'
import type { Clock } from '../../base/clock.ts'
import { keyOf, referenceTo, type Cache, type EventRecorder, type ResourceClient, type ResourceRef } from '../../client/mod.ts'
import { kubeTime } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { podCache } from '../pod-cache.ts'

export type Claim = Readonly<PersistentVolumeClaim>
export type PV = Readonly<PersistentVolume>

/** Index of volumes by the claim their `claimRef` names, `namespace/name`. */
const BY_CLAIM = 'claim'

/** The volumes, claims and classes of the cluster, and the writes that change them. */
export class Storage {
  readonly claims: Cache<PersistentVolumeClaim>
  readonly volumes: Cache<PersistentVolume>
  readonly classes: Cache<StorageClass>
  readonly nodes: Cache<Node>
  readonly pods: Cache<Pod>
  readonly podApi: ResourceClient<Pod>
  readonly claimApi: ResourceClient<PersistentVolumeClaim>
  readonly volumeApi: ResourceClient<PersistentVolume>
  readonly clock: Clock
  readonly #events: EventRecorder

  constructor({ client, caches, clock, recorder }: ControllerContext) {
    this.claims = caches.cache<PersistentVolumeClaim>(KINDS.PersistentVolumeClaim)
    this.volumes = caches.cache<PersistentVolume>(KINDS.PersistentVolume, {
      indexes: { [BY_CLAIM]: (v) => (v.spec?.claimRef ? [`${v.spec.claimRef.namespace}/${v.spec.claimRef.name}`] : []) },
    })
    this.classes = caches.cache<StorageClass>(KINDS.StorageClass)
    this.nodes = caches.cache<Node>(KINDS.Node)
    this.pods = podCache(caches)
    this.podApi = client.resource(KINDS.Pod)
    this.claimApi = client.resource(KINDS.PersistentVolumeClaim)
    this.volumeApi = client.resource(KINDS.PersistentVolume)
    this.clock = clock
    this.#events = recorder('persistentvolume-controller')
  }

  get caches(): readonly { synced(signal?: AbortSignal): Promise<void> }[] {
    return [this.claims, this.volumes, this.classes, this.nodes, this.pods]
  }

  /** Volumes that name this claim, or an earlier one of its name. */
  volumesOf(claim: Claim): readonly PV[] {
    return this.volumes.byIndex(BY_CLAIM, keyOf(claim))
  }

  say(about: Claim | PV, kind: ResourceRef, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#events.event(referenceTo(about, kind), type, reason, message)
  }

  tell(claim: Claim, type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.say(claim, KINDS.PersistentVolumeClaim, type, reason, message)
  }

  async claimPhase(claim: Claim, phase: string, more: object = {}): Promise<void> {
    const status = { phase, ...more }
    if (Object.entries(status).every(([k, v]) => JSON.stringify(claim.status?.[k as 'phase']) === JSON.stringify(v))) return
    await this.claimApi.patch(claim.metadata?.name ?? '', claim.metadata?.namespace, { status }, 'merge', { subresource: 'status' })
  }

  async volumePhase(volume: PV, phase: string, message?: string): Promise<void> {
    const { status } = volume
    if (status?.phase === phase && (status.message ?? undefined) === message) return
    const moved = status?.phase === phase ? {} : { lastPhaseTransitionTime: kubeTime(this.clock.now()) }
    const reason = message === undefined ? null : phase === 'Failed' ? 'VolumeFailedDelete' : (status?.reason ?? null)
    await this.volumeApi.patch(volume.metadata?.name ?? '', undefined, { status: { phase, message: message ?? null, reason, ...moved } }, 'merge', { subresource: 'status' })
  }

  /**
   * Makes volume and claim name each other, the volume first: cut short anywhere, the next run goes on. Each write holds only
   * against what was seen, so two claims never get one volume. @throws ApiError `conflict` when the cache was behind
   */
  async bind(seen: PV, claim: Claim): Promise<void> {
    const volume = await this.#pointVolume(seen, claim)
    await this.volumePhase(volume, 'Bound')
    const { name = '', namespace, resourceVersion, annotations = {} } = claim.metadata ?? {}
    const named = claim.spec?.volumeName === volume.metadata?.name
    let now: Claim = claim
    if (!named || annotations[ANN_BIND_COMPLETED] === undefined) {
      const marks = { [ANN_BIND_COMPLETED]: 'yes', ...(named ? {} : { [ANN_BOUND_BY_CONTROLLER]: 'yes' }) }
      now = await this.claimApi.patch(name, namespace, { metadata: { resourceVersion, annotations: marks }, spec: { volumeName: volume.metadata?.name } }, 'merge')
    }
    await this.claimPhase(now, 'Bound', { accessModes: volume.spec?.accessModes ?? [], capacity: volume.spec?.capacity ?? {} })
  }

  async #pointVolume(volume: PV, claim: Claim): Promise<PV> {
    const { name, namespace, uid, resourceVersion } = claim.metadata ?? {}
    if (isFor(volume, claim) && volume.spec?.claimRef?.uid === uid) return volume
    const claimRef = { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid, resourceVersion }
    const ours = volume.spec?.claimRef ? {} : { annotations: { [ANN_BOUND_BY_CONTROLLER]: 'yes' } }
    const patch = { metadata: { resourceVersion: volume.metadata?.resourceVersion, ...ours }, spec: { claimRef } }
    return await this.volumeApi.patch(volume.metadata?.name ?? '', undefined, patch, 'merge')
  }

  /** Frees a volume that the controller had given away, or takes the claim's uid off one that its author pointed there. */
  async unbind(volume: PV): Promise<void> {
    const byUs = volume.metadata?.annotations?.[ANN_BOUND_BY_CONTROLLER] !== undefined
    const metadata = { resourceVersion: volume.metadata?.resourceVersion, ...(byUs ? { annotations: { [ANN_BOUND_BY_CONTROLLER]: null } } : {}) }
    const spec = { claimRef: byUs ? null : { uid: null, resourceVersion: null } }
    await this.volumePhase(await this.volumeApi.patch(volume.metadata?.name ?? '', undefined, { metadata, spec }, 'merge'), 'Available')
  }
}
