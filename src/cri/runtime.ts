/**
 * The container runtime port the agent uses: what CRI says, in Kubernetes words, with pushed events.
 * `containerd.ts` speaks CRI v1 gRPC; `fake.ts` is the runtime of tests; `test/suites/runtime.ts` proves both.
 * Every call may block on the runtime; all are idempotent unless said otherwise; none mutates its arguments.
 * Errors: AppError `not-found`, `unavailable` (runtime away), `timeout`, `internal`.
 */
import type { Duplex } from 'node:stream'

export type Protocol = 'TCP' | 'UDP' | 'SCTP'

/** A range of the machine's users that a pod has as its own, from 0 on. */
export interface UserNamespace {
  readonly hostId: number
  readonly length: number
}

export interface SandboxConfig {
  readonly name: string
  readonly namespace: string
  readonly uid: string
  readonly attempt: number
  readonly hostname: string
  readonly logDirectory: string
  readonly dns: { readonly servers: readonly string[]; readonly searches: readonly string[]; readonly options: readonly string[] } | undefined
  readonly portMappings: readonly { readonly protocol: Protocol; readonly containerPort: number; readonly hostPort: number; readonly hostIP: string }[]
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** Parent of the pod's cgroup, as the runtime's cgroup driver wants it. */
  readonly cgroupParent: string
  readonly hostNetwork: boolean
  readonly hostPID: boolean
  readonly hostIPC: boolean
  readonly sharePID: boolean
  readonly sysctls: Readonly<Record<string, string>>
  readonly runtimeHandler: string
  /** @default the machine's users */
  readonly userNamespace?: UserNamespace | undefined
  readonly security: LinuxSecurity
}

export interface LinuxSecurity {
  readonly privileged: boolean
  readonly runAsUser: number | undefined
  readonly runAsUserName: string | undefined
  readonly runAsGroup: number | undefined
  readonly supplementalGroups: readonly number[]
  /** Only these groups, not those that the image's user is in. @default false */
  readonly strictGroups?: boolean
  readonly readOnlyRoot: boolean
  readonly noNewPrivileges: boolean
  readonly addCapabilities: readonly string[]
  readonly dropCapabilities: readonly string[]
  /** `runtime/default`, `unconfined` or `localhost/<path>`. */
  readonly seccomp: string
  /** `runtime/default`, `unconfined` or `localhost/<profile>`; undefined leaves it to the runtime. */
  readonly appArmor?: string | undefined
  readonly maskedPaths: readonly string[] | undefined
  readonly readonlyPaths: readonly string[] | undefined
}

export interface Mount {
  readonly hostPath: string
  readonly containerPath: string
  readonly readOnly: boolean
  /** What is mounted below it too. @default false */
  readonly recursiveReadOnly?: boolean
  readonly propagation: 'private' | 'hostToContainer' | 'bidirectional'
}

export interface ContainerConfig {
  readonly name: string
  readonly attempt: number
  /** Image reference as resolved by `ensureImage`. */
  readonly image: string
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly workingDir: string
  readonly env: readonly { readonly name: string; readonly value: string }[]
  readonly mounts: readonly Mount[]
  readonly devices: readonly { readonly hostPath: string; readonly containerPath: string; readonly permissions: string }[]
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** Relative to the sandbox's log directory. */
  readonly logPath: string
  readonly stdin: boolean
  readonly stdinOnce: boolean
  readonly tty: boolean
  /** Id of the container whose process namespace this one joins. @default as the sandbox says */
  readonly pidTarget?: string
  readonly resources: LinuxResources
  readonly security: LinuxSecurity
}

export interface LinuxResources {
  readonly cpuShares: number
  readonly cpuQuotaUs: number
  readonly cpuPeriodUs: number
  readonly memoryLimitBytes: number
  readonly oomScoreAdj: number
  /** Most that may be used of pages of a size, e.g. `2MB`; of others there is no limit. Only when a container is made. @default none */
  readonly hugePages?: readonly { readonly pageSize: string; readonly bytes: number }[]
}

export type SandboxState = 'ready' | 'not-ready'
export interface Sandbox {
  readonly id: string
  readonly name: string
  readonly namespace: string
  readonly uid: string
  readonly attempt: number
  readonly state: SandboxState
  readonly createdAtMs: number
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export type ContainerState = 'created' | 'running' | 'exited' | 'unknown'
export interface Container {
  readonly id: string
  readonly sandboxId: string
  readonly name: string
  readonly attempt: number
  readonly state: ContainerState
  readonly image: string
  readonly imageRef: string
  readonly createdAtMs: number
  readonly startedAtMs: number
  readonly finishedAtMs: number
  readonly exitCode: number
  /** `Completed`, `Error`, `OOMKilled`, … as the runtime says. */
  readonly reason: string
  readonly message: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export interface RuntimeEvent {
  readonly type: 'started' | 'exited' | 'created' | 'deleted' | 'oom'
  readonly containerId: string
}

export interface ImageInfo {
  readonly id: string
  readonly tags: readonly string[]
  readonly digests: readonly string[]
  readonly sizeBytes: number
  readonly user: string
  readonly pinned: boolean
}

/** What newer runtimes can do; containerd 1.6 says nothing, which is none of it. */
export interface RuntimeFeatures {
  /** By runtime handler; the empty name is the default one. */
  readonly handlers: ReadonlyMap<string, { readonly userNamespaces: boolean; readonly recursiveReadOnly: boolean }>
  readonly strictGroups: boolean
}

export interface Runtime {
  /** Name and version, readiness and reasons (for the node's conditions). */
  status(): Promise<{ name: string; version: string; ready: boolean; networkReady: boolean; message: string; features?: RuntimeFeatures }>
  /** Pushed container events until abort; a consumer relists after a break. */
  events(signal: AbortSignal): AsyncIterable<RuntimeEvent>
  readonly sandboxes: SandboxRuntime
  readonly containers: ContainerRuntime
  readonly images: ImageRuntime
  readonly streams: StreamRuntime
  /** Undefined: this runtime cannot show an image's files outside a container. */
  readonly views?: ImageViews | undefined
}

export interface SandboxRuntime {
  /** Makes the pod's namespaces and network. Not idempotent: every call makes one. */
  run(config: SandboxConfig): Promise<string>
  stop(id: string): Promise<void>
  remove(id: string): Promise<void>
  list(): Promise<readonly Sandbox[]>
  /** Addresses of the pod, the first is primary; empty for host network. */
  ips(id: string): Promise<readonly string[]>
}

export interface ContainerRuntime {
  create(sandboxId: string, config: ContainerConfig, sandbox: SandboxConfig): Promise<string>
  start(id: string): Promise<void>
  /** Signals, waits `graceSeconds`, kills. Resolves when it has ended. */
  stop(id: string, graceSeconds: number): Promise<void>
  remove(id: string): Promise<void>
  /** Gives a running container other resources; a limit of 0 is left as it is. */
  update(id: string, resources: LinuxResources): Promise<void>
  /** The runtime goes on writing the container's log into a new file of its path; the former may have been renamed. */
  reopenLog(id: string): Promise<void>
  list(): Promise<readonly Container[]>
  inspect(id: string): Promise<Container>
  /** CPU (core-nanoseconds since start) and memory (bytes) of running containers. */
  stats(): Promise<readonly { id: string; cpuNanos: number; memoryBytes: number; writableBytes: number }[]>
}

export interface ImageRuntime {
  list(): Promise<readonly ImageInfo[]>
  /** The image behind a reference, or undefined when it is not present. */
  find(reference: string): Promise<ImageInfo | undefined>
  /** Pulls through the runtime; resolves to its id. */
  pull(reference: string, auth: { username: string; password: string } | undefined, signal?: AbortSignal): Promise<string>
  remove(id: string): Promise<void>
  /** Bytes used by the image store. */
  usage(): Promise<number>
}

/** How something is mounted on the machine. */
export interface MountSpec {
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/** Images as read-only file systems. Both calls are idempotent. */
export interface ImageViews {
  /** Makes the view of that key, or finds it; it keeps the image's files until released. `image` is an id or reference that is present. */
  view(key: string, image: string): Promise<MountSpec>
  /** Forgets a view, which is mounted nowhere any more; one that is not there is fine. */
  release(key: string): Promise<void>
}

export interface ExecResult {
  readonly exitCode: number
  readonly stdout: Buffer
  readonly stderr: Buffer
}

export interface StreamSession {
  readonly stdin: NodeJS.WritableStream | undefined
  readonly stdout: NodeJS.ReadableStream
  readonly stderr: NodeJS.ReadableStream | undefined
  resize(columns: number, rows: number): void
  /** Exit code when the command has ended and its output is drained. */
  readonly exit: Promise<number>
  close(): void
}

export interface StreamRuntime {
  /** Runs a command to its end; for probes and hooks. Output beyond 16 KiB a stream is dropped. */
  execSync(id: string, command: readonly string[], timeoutSeconds: number): Promise<ExecResult>
  exec(id: string, command: readonly string[], options: { stdin: boolean; tty: boolean }): Promise<StreamSession>
  attach(id: string, options: { stdin: boolean; tty: boolean }): Promise<StreamSession>
  /** A byte stream to a TCP port inside the pod's network namespace. */
  portForward(sandboxId: string, port: number): Promise<Duplex>
}
