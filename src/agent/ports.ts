/**
 * What the agent needs from outside, as ports: network, mounts, sealing, and the facts of the machine. The
 * composition root gives real ones; tests give small fakes. Areas beside the agent satisfy these by shape.
 */
import type { ContainerImage } from '../api/gen/types.ts'
import type { CacheSet, Client, EventRecorder } from '../client/mod.ts'
import type { MountSpec, Runtime, RuntimeFeatures } from '../cri/mod.ts'
import type { Clock } from '../base/clock.ts'
import type { Signals } from './node/eviction.ts'
import type { KubeletSettings } from './node/kubelet-settings.ts'
import type { DeviceRule } from './dra/found.ts'
import type { Metrics } from '../base/metrics.ts'

/** One host port of one pod of this node. */
export interface HostPort {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
  readonly hostIP: string
  readonly hostPort: number
  readonly podIP: string
  readonly containerPort: number
}

/** The pod network of this machine. Both calls are idempotent and may be repeated after any failure. */
export interface NodeNetwork {
  /** Makes bridge, addresses and CNI configuration for these pods. Called at boot and when the Node's podCIDR changes. */
  configure(podCIDR: string): Promise<void>
  /** The complete list of host ports that must be forwarded, replacing the former one. */
  setHostPorts(ports: readonly HostPort[]): Promise<void>
}

/** File systems mounted for pods. */
export interface Mounter {
  /** Mounts a tmpfs of at most `sizeBytes` (0: half of memory) unless one is there. */
  tmpfs(path: string, sizeBytes: number): Promise<void>
  /** Mounts files made of pages of that size, unless something is mounted there. */
  hugePages(path: string, pageBytes: number): Promise<void>
  /** Mounts something read-only, without devices or programs, unless a mount is there. */
  readOnly(path: string, what: MountSpec): Promise<void>
  /** Unmounts everything at or under `path`; nothing mounted is fine. */
  unmountUnder(path: string): Promise<void>
}

/** Encrypts what rests on the node's disk. */
export interface Seal {
  seal(plain: Uint8Array): Uint8Array
  /** @throws AppError `corrupt` when the bytes were not sealed by this node */
  open(sealed: Uint8Array): Uint8Array
}

/** What the machine is; read at start and every five minutes. */
export interface NodeFacts {
  readonly capacity: Readonly<Record<string, string>>
  readonly allocatable: Readonly<Record<string, string>>
  readonly nodeInfo: Readonly<Record<string, string>>
  readonly addresses: readonly { readonly type: string; readonly address: string }[]
  readonly pressure: { readonly memory: boolean; readonly disk: boolean; readonly pid: boolean }
  /** What is left of what pods share; `pressure` is judged by it where it is given. */
  readonly signals?: Signals
  /** The file system of the data directory takes no writes: mounted so, or turned so by the kernel after an error. @default false */
  readonly diskReadOnly?: boolean
  /** As the status lists them. @default none are listed */
  readonly images?: readonly ContainerImage[]
  /** What the runtime says that it can do. */
  readonly features?: RuntimeFeatures | undefined
}

export interface AgentOptions {
  readonly nodeName: string
  readonly client: Client
  readonly caches: CacheSet
  readonly runtime: Runtime
  /** `data` survives a reboot, `run` is a tmpfs that does not. */
  readonly dirs: { readonly data: string; readonly run: string }
  readonly clock: Clock
  readonly network: NodeNetwork
  /** Environment added to every container unless it sets the name itself, e.g. SKERRY_BUS_URL. @default none */
  readonly podEnv?: () => Readonly<Record<string, string>>
  /** Where pods reach the API on this node, for KUBERNETES_SERVICE_HOST and _PORT. @default not set */
  readonly localApi?: () => { readonly host: string; readonly port: number } | undefined
  /** Told of each new service-account token that a pod of this node gets for the API. */
  readonly onToken?: (token: string) => void
  /** Labels of the Node beside the well-known ones. */
  readonly nodeLabels?: Readonly<Record<string, string>>
  /** Taints the Node registers with. */
  readonly nodeTaints?: readonly { readonly key: string; readonly value?: string; readonly effect: string }[]
  /** @default the kubelet's */
  readonly kubelet?: KubeletSettings
  /** False when the server is known to be away: pulls of images that are present then wait only shortly. @default always true */
  readonly online?: () => boolean
  /** How far this machine's clock is ahead of the server's by what the server said last, ms. @default always 0 */
  readonly clockAheadMs?: () => number
  /** What is wrong with the node's file of registries, told on the Node. @default nothing ever */
  readonly registriesFault?: () => string | undefined
  /** A directory on the disk that holds the images: unused ones are removed when it gets full. @default images are left alone */
  readonly imageDirectory?: string
  /** Images kept though nothing uses them, as they were brought by hand. @default none */
  readonly pinnedImages?: () => readonly string[]
  /** Taken off allocatable. @default nothing */
  readonly reserved?: { readonly cpu?: string; readonly memory?: string }
  /** Most pods on this node. @default 110 */
  readonly maxPods?: number
  /** Address of the cluster's DNS server for dnsPolicy ClusterFirst. @default the node's own resolv.conf */
  readonly clusterDns?: () => { readonly server: string; readonly domain: string } | undefined
  /** Kernel settings that pods may have beyond the safe ones, as the kubelet's `--allowed-unsafe-sysctls`. @default none */
  readonly unsafeSysctls?: readonly string[]
  /** Device nodes that pods may claim, or ask for as extended resources. @default none */
  readonly devices?: readonly DeviceRule[]
  /** Directory of static pods' manifests. @default none are run */
  readonly manifestDirectory?: string
  /** Root of the cgroup tree, e.g. `/skerry-default`; undefined leaves cgroups to the runtime. */
  readonly cgroupRoot?: string
  readonly seal?: Seal
  /** Whether the key of `seal` is apart from what it seals, told in the node's condition SealedAtRest. @default no such condition */
  readonly sealing?: { readonly apart: boolean; readonly message: string }
  /** systemd-logind is asked to hold up a shutdown of the machine, with this environment for its programs. @default it is not */
  readonly logind?: { readonly env: Readonly<Record<string, string>> } | undefined
  /** @default one made from `client`, run by the agent */
  readonly events?: EventRecorder
  readonly mounter?: Mounter
  /** Shown by the node's /metrics, with the agent's own. @default a set of its own */
  readonly metrics?: Metrics
  /** @default read from /proc and the network interfaces */
  readonly facts?: () => Promise<NodeFacts>
  /** Port of the node's API end that the API server is told; the link carries it, nothing listens. @default 10250 */
  readonly kubeletPort?: number
}
