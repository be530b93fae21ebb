/** Between the words of `runtime.ts` and CRI's messages; pure. Used by `containerd.ts`. */
import type { Container, ContainerConfig, ContainerState, ImageInfo, LinuxResources, LinuxSecurity, Mount, Protocol, Sandbox, SandboxConfig, UserNamespace } from './runtime.ts'

/** CRI's PodSandboxConfig. */
export function toSandboxConfig(c: SandboxConfig): object {
  return {
    metadata: { name: c.name, uid: c.uid, namespace: c.namespace, attempt: c.attempt },
    // The kernel holds 64 bytes of hostname; host network takes the machine's own.
    hostname: c.hostNetwork ? '' : c.hostname,
    logDirectory: c.logDirectory,
    ...(c.dns && { dnsConfig: { servers: [...c.dns.servers], searches: [...c.dns.searches], options: [...c.dns.options] } }),
    portMappings: c.portMappings.map((p) => ({ protocol: PROTOCOL[p.protocol], containerPort: p.containerPort, hostPort: p.hostPort, hostIp: p.hostIP })),
    labels: { ...c.labels },
    annotations: { ...c.annotations },
    linux: {
      cgroupParent: c.cgroupParent,
      sysctls: { ...c.sysctls },
      securityContext: {
        namespaceOptions: namespaces(c),
        readonlyRootfs: c.security.readOnlyRoot,
        supplementalGroups: [...c.security.supplementalGroups],
        ...(c.security.strictGroups === true && { supplementalGroupsPolicy: STRICT }),
        privileged: c.security.privileged,
        seccomp: seccomp(c.security),
        ...(c.security.runAsUser !== undefined && { runAsUser: { value: c.security.runAsUser } }),
        // CRI refuses a group without a user.
        ...(c.security.runAsUser !== undefined && c.security.runAsGroup !== undefined && { runAsGroup: { value: c.security.runAsGroup } }),
      },
    },
  }
}

/** CRI's ContainerConfig. */
export function toContainerConfig(c: ContainerConfig, sandbox: SandboxConfig): object {
  const s = c.security
  return {
    metadata: { name: c.name, attempt: c.attempt },
    image: { image: c.image },
    command: [...c.command],
    args: [...c.args],
    workingDir: c.workingDir,
    envs: c.env.map((e) => ({ key: e.name, value: e.value })),
    mounts: c.mounts.map((m) => ({
      containerPath: m.containerPath,
      hostPath: m.hostPath,
      readonly: m.readOnly,
      propagation: PROPAGATION[m.propagation],
      ...(m.recursiveReadOnly === true && { recursiveReadOnly: true }),
      ...(sandbox.userNamespace && { uidMappings: [mapping(sandbox.userNamespace)], gidMappings: [mapping(sandbox.userNamespace)] }),
    })),
    devices: c.devices.map((d) => ({ containerPath: d.containerPath, hostPath: d.hostPath, permissions: d.permissions })),
    labels: { ...c.labels },
    annotations: { ...c.annotations },
    logPath: c.logPath,
    stdin: c.stdin,
    stdinOnce: c.stdinOnce,
    tty: c.tty,
    linux: {
      resources: toResources(c.resources),
      securityContext: {
        capabilities: { addCapabilities: [...s.addCapabilities], dropCapabilities: [...s.dropCapabilities] },
        privileged: s.privileged,
        namespaceOptions: { ...namespaces(sandbox), ...(c.pidTarget === undefined ? {} : { pid: TARGET, targetId: c.pidTarget }) },
        ...(s.runAsUser !== undefined && { runAsUser: { value: s.runAsUser } }),
        ...(s.runAsUser === undefined && s.runAsUserName !== undefined && { runAsUsername: s.runAsUserName }),
        ...((s.runAsUser ?? s.runAsUserName) !== undefined && s.runAsGroup !== undefined && { runAsGroup: { value: s.runAsGroup } }),
        readonlyRootfs: s.readOnlyRoot,
        supplementalGroups: [...s.supplementalGroups],
        ...(s.strictGroups === true && { supplementalGroupsPolicy: STRICT }),
        noNewPrivs: s.noNewPrivileges,
        maskedPaths: s.privileged ? [] : [...(s.maskedPaths ?? MASKED_PATHS)],
        readonlyPaths: s.privileged ? [] : [...(s.readonlyPaths ?? READONLY_PATHS)],
        seccomp: seccomp(s),
        ...(s.appArmor !== undefined && { apparmor: profile(s.appArmor) }),
      },
    },
  }
}

/** CRI's LinuxContainerResources; what is 0 is left out, which is no limit for a new container and no change for one that runs. */
export function toResources(r: LinuxResources): object {
  const hugepageLimits = (r.hugePages ?? []).map(({ pageSize, bytes }) => ({ pageSize, limit: bytes }))
  return { cpuPeriod: r.cpuPeriodUs, cpuQuota: r.cpuQuotaUs, cpuShares: r.cpuShares, memoryLimitInBytes: r.memoryLimitBytes, oomScoreAdj: r.oomScoreAdj, hugepageLimits }
}

/** What a container may not see or change of /proc and /sys unless it says otherwise; Kubernetes' defaults. */
const MASKED_PATHS: readonly string[] = [
  '/proc/asound', '/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list',
  '/proc/timer_stats', '/proc/sched_debug', '/proc/scsi', '/sys/firmware', '/sys/devices/virtual/powercap',
]
const READONLY_PATHS: readonly string[] = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']

const PROTOCOL: Record<Protocol, number> = { TCP: 0, UDP: 1, SCTP: 2 }
const PROPAGATION: Record<Mount['propagation'], number> = { private: 0, hostToContainer: 1, bidirectional: 2 }
const POD = 0, CONTAINER = 1, NODE = 2, TARGET = 3

/** Of SupplementalGroupsPolicy. */
const STRICT = 1

/** The pod's users from 0 on are a range of the machine's. */
const mapping = ({ hostId, length }: UserNamespace): object => ({ hostId, containerId: 0, length })

function namespaces(c: SandboxConfig): object {
  return {
    network: c.hostNetwork ? NODE : POD,
    pid: c.hostPID ? NODE : c.sharePID ? POD : CONTAINER,
    ipc: c.hostIPC ? NODE : POD,
    ...(c.userNamespace && { usernsOptions: { mode: POD, uids: [mapping(c.userNamespace)], gids: [mapping(c.userNamespace)] } }),
  }
}

function seccomp(s: LinuxSecurity): object {
  return s.privileged ? { profileType: 1 } : profile(s.seccomp)
}

/** CRI's SecurityProfile. */
function profile(text: string): object {
  if (text === 'unconfined') return { profileType: 1 }
  if (text.startsWith('localhost/')) return { profileType: 2, localhostRef: text.slice('localhost/'.length) }
  return { profileType: 0 }
}

export interface WireSandbox {
  readonly id: string
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string; readonly attempt: number }
  readonly state: number
  readonly createdAt: number
  readonly labels: Record<string, string>
  readonly annotations: Record<string, string>
}

/** One of CRI's listed sandboxes. */
export function fromSandbox(w: WireSandbox): Sandbox {
  const { name, namespace, uid, attempt } = w.metadata
  return {
    id: w.id, name, namespace, uid, attempt,
    state: w.state === 0 ? 'ready' : 'not-ready',
    createdAtMs: ms(w.createdAt),
    labels: w.labels,
    annotations: w.annotations,
  }
}

export interface WireContainerStatus {
  readonly id: string
  readonly metadata: { readonly name: string; readonly attempt: number }
  readonly state: number
  readonly createdAt: number
  readonly startedAt: number
  readonly finishedAt: number
  readonly exitCode: number
  readonly image: { readonly image: string } | null
  readonly imageRef: string
  readonly reason: string
  readonly message: string
  readonly labels: Record<string, string>
  readonly annotations: Record<string, string>
}

const STATES: readonly ContainerState[] = ['created', 'running', 'exited', 'unknown']

/** CRI's number of a container's state in words. */
export function stateOf(state: number): ContainerState {
  return STATES[state] ?? 'unknown'
}

/** CRI's status of a container; it does not name the sandbox, so the caller does. */
export function fromStatus(w: WireContainerStatus, sandboxId: string): Container {
  return {
    id: w.id,
    sandboxId,
    name: w.metadata.name,
    attempt: w.metadata.attempt,
    state: stateOf(w.state),
    image: w.image?.image ?? '',
    imageRef: w.imageRef,
    createdAtMs: ms(w.createdAt),
    startedAtMs: ms(w.startedAt),
    finishedAtMs: ms(w.finishedAt),
    exitCode: w.exitCode,
    reason: w.reason,
    message: w.message,
    labels: w.labels,
    annotations: w.annotations,
  }
}

export interface WireImage {
  readonly id: string
  readonly repoTags: readonly string[]
  readonly repoDigests: readonly string[]
  readonly size: number
  readonly uid: { readonly value: number } | null
  readonly username: string
  readonly pinned: boolean
}

/** CRI's image; the user is a number when the image says one. */
export function fromImage(w: WireImage): ImageInfo {
  return {
    id: w.id,
    tags: w.repoTags,
    digests: w.repoDigests,
    sizeBytes: w.size,
    user: w.uid ? String(w.uid.value) : w.username,
    pinned: w.pinned,
  }
}

function ms(nanos: number): number {
  return Math.floor(nanos / 1e6)
}
