/** The door of `controllers`, and the list of them. */
import type { Clock } from '../base/clock.ts'
import type { NodeLinks } from '../base/stream.ts'
import type { CacheSet, Client } from '../client/mod.ts'
import { createManager, type Manager } from '../control/mod.ts'
import { createBootstrapTokenController } from './bootstraptoken/controller.ts'
import { createCertificateController, type SignClient } from './certificates/controller.ts'
import { createContext } from './context.ts'
import { createDeploymentController } from './deployment/controller.ts'
import { createEphemeralVolumeController } from './ephemeralvolume/controller.ts'
import { createGarbageCollector } from './gc/controller.ts'
import { createNamespaceController } from './namespace/controller.ts'
import { createNodeController } from './node/controller.ts'
import { ALONE_BEAT, createLeaseRenewer, sharedBeat } from './node/lease-renewer.ts'
import { createPersistentVolumeController } from './persistentvolume/controller.ts'
import { createPodCidrController } from './podcidr/controller.ts'
import { createReplicaSetController } from './replicaset/controller.ts'
import { createResourceClaimControllers } from './resourceclaim/controller.ts'
import { createServiceAccountController } from './serviceaccount/controller.ts'
import { createTaintEvictionController } from './tainteviction/controller.ts'

export type { SignClient } from './certificates/controller.ts'
export { LEASE_NAMESPACE } from './node/controller.ts'

export interface ControllersOptions {
  readonly client: Client
  readonly caches: CacheSet
  readonly clock: Clock
  /** Links that this server holds. */
  readonly links: NodeLinks
  /** IPv4 network that pods get their addresses from, e.g. `10.42.0.0/16`. */
  readonly clusterCidr: string
  /** PEM that pods trust when they call the API. */
  readonly caPem: () => string
  /** Issues client certificates for approved requests. */
  readonly sign: SignClient
  /** No other server judges nodes by their Leases. @default false */
  readonly alone?: boolean
  /** A node silent for so long is cut off, ms; the same on all servers of a store. @default 40 s */
  readonly nodeGraceMs?: number | undefined
}

/** All controllers that must run once in a cluster: on the leader, whose own links are served too. @throws AppError `invalid` for a bad network */
export function createControllers(options: ControllersOptions): Manager {
  const { context, background } = createContext(options)
  const controllers = [
    createServiceAccountController(context, options.caPem),
    createNodeController(context, options.links, options.nodeGraceMs),
    createLeaseRenewer(context, options.links, options.alone === true ? ALONE_BEAT : sharedBeat(options.nodeGraceMs)),
    createPodCidrController(context, options.clusterCidr),
    createDeploymentController(context),
    createReplicaSetController(context),
    createCertificateController(context, options.sign),
    createPersistentVolumeController(context),
    createEphemeralVolumeController(context),
    ...createResourceClaimControllers(context),
    createNamespaceController(context),
    createGarbageCollector(context),
    createBootstrapTokenController(context),
    createTaintEvictionController(context),
  ]
  return createManager(controllers, background)
}

/** What a server that does not lead runs meanwhile: it keeps the Leases of the nodes linked to it fresh for the leader to judge. */
export function createLinkControllers(options: Pick<ControllersOptions, 'client' | 'caches' | 'clock' | 'links' | 'nodeGraceMs'>): Manager {
  const { context, background } = createContext(options)
  return createManager([createLeaseRenewer(context, options.links, sharedBeat(options.nodeGraceMs))], background)
}
