/** What workers share: the parts of the agent a pod needs, made once by the pod manager. */
import type { Pod } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import type { Scope } from '../../base/scope.ts'
import type { EventRecorder } from '../../client/mod.ts'
import type { Runtime } from '../../cri/mod.ts'
import type { NodeDevices } from '../dra/node-devices.ts'
import type { Images } from '../images.ts'
import type { Objects } from '../objects.ts'
import type { Cgroups } from '../node/cgroups.ts'
import type { Tokens } from '../volumes/tokens.ts'
import type { Volumes } from '../volumes/volumes.ts'
import type { NodeAbilities } from './admit.ts'
import type { Dns } from './dns.ts'
import type { Probes } from './probes.ts'
import type { Pending } from './resize.ts'
import type { Verdict } from './status.ts'
import type { StatusWriter } from './status-writer.ts'
import type { UserNamespaces } from './user-namespaces.ts'
import type { RuntimeView } from './view.ts'

/** What the node knows of itself when a pod asks. */
export interface NodeContext {
  readonly hostIPs: () => readonly string[]
  readonly capacity: () => Readonly<Record<string, string>>
  readonly allocatable: () => Readonly<Record<string, string>>
  /** A pod network is configured. */
  readonly networkReady: () => boolean
  /** False for an address of a pod network that the node no longer has. */
  readonly inNetwork: (address: string) => boolean
  readonly hostDns: () => Promise<Dns>
  readonly clusterDns: () => { readonly server: string; readonly domain: string } | undefined
  /** Directories of seccomp profiles on this machine. */
  readonly seccompDirs: readonly string[]
  /** Environment that tells a pod of the Services of its namespace. */
  readonly serviceEnv: (pod: Readonly<Pod>) => Promise<Readonly<Record<string, string>>>
  readonly abilities: () => NodeAbilities
  /** Why a pod that runs does not get the resources it asks for; undefined: it gets them. */
  readonly cannotGrow: (wanted: Readonly<Pod>) => Pending | undefined
  /** Why this pod is not let in now, for want of room or under pressure; `room-soon`: others end for it; undefined: it may come. */
  readonly turnAway: (pod: Readonly<Pod>) => Verdict | 'room-soon' | undefined
  /** Environment every container gets unless it sets the name. */
  readonly addedEnv: () => Readonly<Record<string, string>>
}

export interface PodContext {
  readonly clock: Clock
  readonly scope: Scope
  readonly runtime: Runtime
  readonly view: RuntimeView
  readonly volumes: Volumes
  readonly tokens: Tokens
  readonly objects: Objects
  readonly images: Images
  readonly devices: NodeDevices
  readonly users: UserNamespaces
  readonly probes: Probes
  readonly statuses: StatusWriter
  readonly events: EventRecorder
  readonly cgroups: Cgroups | undefined
  readonly node: NodeContext
  /** Directory of a pod's container logs. */
  readonly logDir: (namespace: string, name: string, uid: string) => string
}
