/**
 * The Runtime port on containerd (1.6, 1.7, 2.x) over its unix socket: CRI v1 for pods and images, containerd's own
 * services for pushed events and exec. Statuses of containers are remembered per id and state, because a list of CRI
 * names no exit codes; the memory is pruned to what the list names. Used by the agent; needs root.
 */
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError, hasCode } from '../base/errors.ts'
import { fromImage, fromSandbox, fromStatus, stateOf, toContainerConfig, toResources, toSandboxConfig, type WireContainerStatus, type WireImage, type WireSandbox } from './convert.ts'
import { runtimeEvents } from './events.ts'
import { execInTask } from './exec.ts'
import { GrpcChannel } from './grpc.ts'
import { imageViews } from './snapshots.ts'
import { attachStreams, forwardStream } from './streaming.ts'
import type { Container, ContainerRuntime, ExecResult, ImageInfo, ImageRuntime, Runtime, SandboxRuntime, StreamRuntime } from './runtime.ts'

export interface ContainerdOptions {
  /** Path of containerd's unix socket. */
  readonly address: string
  /** Directory for the FIFOs of exec sessions; made when missing. Keep it under /run. */
  readonly ioDirectory: string
  /** @default systemClock */
  readonly clock?: Clock
}

/** A runtime with the connection it owns. Making it dials nothing. */
export interface ContainerdRuntime extends Runtime, Disposable {
  /** The pid of the sandbox's first process as containerd knows it; undefined when it is gone. */
  sandboxPid(id: string): Promise<number | undefined>
}

/** Output of execSync kept per stream, bytes. */
const EXEC_SYNC_BYTES = 16 << 10
/** A pull reports no progress over CRI; this bounds a hung one, ms. */
const PULL_TIMEOUT_MS = 30 * 60_000
/** Statuses fetched at a time when a list names containers not seen before. */
const STATUS_BATCH = 16

/** @see ContainerdOptions */
export function containerdRuntime(options: ContainerdOptions): ContainerdRuntime {
  const channel = new GrpcChannel(options.address)
  const clock = options.clock ?? systemClock
  return {
    status: () => runtimeStatus(channel),
    events: (signal) => runtimeEvents(channel, clock, signal),
    sandboxes: sandboxRuntime(channel),
    containers: containerRuntime(channel),
    images: imageRuntime(channel),
    streams: streamRuntime(channel, options.ioDirectory, clock),
    views: imageViews(channel),
    async sandboxPid(id) {
      const answer = await gone(channel.unary<{ info: Record<string, string> }>('runtime', 'PodSandboxStatus', { podSandboxId: id, verbose: true }))
      const pid = answer && (JSON.parse(answer.info['info'] ?? '{}') as { pid?: unknown }).pid
      return typeof pid === 'number' && pid > 0 ? pid : undefined
    },
    [Symbol.dispose]: () => channel.close(),
  }
}

async function runtimeStatus(channel: GrpcChannel): ReturnType<Runtime['status']> {
  interface Condition { readonly type: string; readonly status: boolean; readonly reason: string; readonly message: string }
  interface Handler { readonly name: string; readonly features: { readonly recursiveReadOnlyMounts?: boolean; readonly userNamespaces?: boolean } | null }
  const [version, answer] = await Promise.all([
    channel.unary<{ runtimeName: string; runtimeVersion: string }>('runtime', 'Version', {}, { timeoutMs: 10_000 }),
    channel.unary<{ status: { conditions: Condition[] }; runtimeHandlers?: Handler[]; features?: { supplementalGroupsPolicy?: boolean } | null }>('runtime', 'Status', {}, { timeoutMs: 10_000 }),
  ])
  const { conditions } = answer.status
  const is = (type: string): boolean => conditions.some((c) => c.type === type && c.status)
  return {
    name: version.runtimeName,
    version: version.runtimeVersion,
    ready: is('RuntimeReady'),
    networkReady: is('NetworkReady'),
    features: {
      handlers: new Map((answer.runtimeHandlers ?? []).map((h) => [h.name, { userNamespaces: h.features?.userNamespaces === true, recursiveReadOnly: h.features?.recursiveReadOnlyMounts === true }])),
      strictGroups: answer.features?.supplementalGroupsPolicy === true,
    },
    message: conditions.filter((c) => !c.status).map((c) => `${c.type}: ${c.reason} ${c.message}`.trim()).join('; '),
  }
}

function sandboxRuntime(channel: GrpcChannel): SandboxRuntime {
  return {
    async run(config) {
      const answer = await channel.unary<{ podSandboxId: string }>('runtime', 'RunPodSandbox', {
        config: toSandboxConfig(config),
        runtimeHandler: config.runtimeHandler,
      })
      return answer.podSandboxId
    },
    async stop(id) {
      await gone(channel.unary('runtime', 'StopPodSandbox', { podSandboxId: id }))
    },
    async remove(id) {
      await gone(channel.unary('runtime', 'RemovePodSandbox', { podSandboxId: id }))
    },
    async list() {
      return (await channel.unary<{ items: WireSandbox[] }>('runtime', 'ListPodSandbox', {})).items.map(fromSandbox)
    },
    async ips(id) {
      interface Network { readonly ip: string; readonly additionalIps: readonly { readonly ip: string }[] }
      const { status } = await channel.unary<{ status: { network: Network | null } }>('runtime', 'PodSandboxStatus', { podSandboxId: id })
      const network = status.network
      return network?.ip ? [network.ip, ...network.additionalIps.map((a) => a.ip)] : []
    },
  }
}

function containerRuntime(channel: GrpcChannel): ContainerRuntime {
  interface Listed { readonly id: string; readonly podSandboxId: string; readonly state: number }
  const seen = new Map<string, Container>()
  const status = async (id: string): Promise<WireContainerStatus> =>
    (await channel.unary<{ status: WireContainerStatus }>('runtime', 'ContainerStatus', { containerId: id })).status
  const listed = async (): Promise<Listed[]> => (await channel.unary<{ containers: Listed[] }>('runtime', 'ListContainers', {})).containers

  return {
    async create(sandboxId, config, sandbox) {
      const request = { podSandboxId: sandboxId, config: toContainerConfig(config, sandbox), sandboxConfig: toSandboxConfig(sandbox) }
      return (await channel.unary<{ containerId: string }>('runtime', 'CreateContainer', request)).containerId
    },
    async start(id) {
      await channel.unary('runtime', 'StartContainer', { containerId: id })
    },
    async stop(id, graceSeconds) {
      // CRI answers after the grace period and the kill; the margin is for reaping on a loaded board.
      const timeoutMs = (graceSeconds + 60) * 1000
      await gone(channel.unary('runtime', 'StopContainer', { containerId: id, timeout: Math.max(0, Math.ceil(graceSeconds)) }, { timeoutMs }))
    },
    async remove(id) {
      await gone(channel.unary('runtime', 'RemoveContainer', { containerId: id }))
    },
    async update(id, resources) {
      await channel.unary('runtime', 'UpdateContainerResources', { containerId: id, linux: toResources(resources) })
    },
    async reopenLog(id) {
      await channel.unary('runtime', 'ReopenContainerLog', { containerId: id })
    },
    async list() {
      const all = await listed()
      const result: Container[] = []
      for (let at = 0; at < all.length; at += STATUS_BATCH) {
        const batch = all.slice(at, at + STATUS_BATCH).map(async (c) => {
          const known = seen.get(c.id)
          // An exit may gain its OOM reason only in `exited`, which is final; a running container's times are fixed.
          if (known?.state === stateOf(c.state)) return known
          const fresh = await gone(status(c.id))
          return fresh && fromStatus(fresh, c.podSandboxId)
        })
        for (const c of await Promise.all(batch)) if (c) result.push(c)
      }
      seen.clear()
      for (const c of result) seen.set(c.id, c)
      return result
    },
    async inspect(id) {
      const known = seen.get(id)?.sandboxId ?? (await listed()).find((c) => c.id === id)?.podSandboxId
      return fromStatus(await status(id), known ?? '')
    },
    async stats() {
      interface Value { readonly value: number }
      interface Stats {
        readonly attributes: { readonly id: string }
        readonly cpu: { readonly usageCoreNanoSeconds: Value | null } | null
        readonly memory: { readonly workingSetBytes: Value | null } | null
        readonly writableLayer: { readonly usedBytes: Value | null } | null
      }
      const { stats } = await channel.unary<{ stats: Stats[] }>('runtime', 'ListContainerStats', {})
      return stats.map((s) => ({
        id: s.attributes.id,
        cpuNanos: s.cpu?.usageCoreNanoSeconds?.value ?? 0,
        memoryBytes: s.memory?.workingSetBytes?.value ?? 0,
        writableBytes: s.writableLayer?.usedBytes?.value ?? 0,
      }))
    },
  }
}

function imageRuntime(channel: GrpcChannel): ImageRuntime {
  return {
    async list(): Promise<readonly ImageInfo[]> {
      return (await channel.unary<{ images: WireImage[] }>('image', 'ListImages', {})).images.map(fromImage)
    },
    async find(reference) {
      const { image } = await channel.unary<{ image: WireImage | null }>('image', 'ImageStatus', { image: { image: reference } })
      return image ? fromImage(image) : undefined
    },
    async pull(reference, auth, signal) {
      const request = { image: { image: reference }, ...(auth && { auth: { username: auth.username, password: auth.password } }) }
      return (await channel.unary<{ imageRef: string }>('image', 'PullImage', request, { timeoutMs: PULL_TIMEOUT_MS, signal })).imageRef
    },
    async remove(id) {
      await gone(channel.unary('image', 'RemoveImage', { image: { image: id } }))
    },
    async usage() {
      interface Usage { readonly usedBytes: { readonly value: number } | null }
      const { imageFilesystems } = await channel.unary<{ imageFilesystems: Usage[] }>('image', 'ImageFsInfo', {})
      return imageFilesystems.reduce((sum, f) => sum + (f.usedBytes?.value ?? 0), 0)
    },
  }
}

function streamRuntime(channel: GrpcChannel, ioDirectory: string, clock: Clock): StreamRuntime {
  return {
    async execSync(id, command, timeoutSeconds): Promise<ExecResult> {
      const request = { containerId: id, cmd: [...command], timeout: Math.ceil(timeoutSeconds) }
      const timeoutMs = timeoutSeconds > 0 ? (timeoutSeconds + 5) * 1000 : 0
      const r = await channel.unary<ExecResult>('runtime', 'ExecSync', request, { timeoutMs })
      return { exitCode: r.exitCode, stdout: r.stdout.subarray(0, EXEC_SYNC_BYTES), stderr: r.stderr.subarray(0, EXEC_SYNC_BYTES) }
    },
    exec: (id, command, options) => execInTask(channel, { ioDirectory, clock, containerId: id, command, ...options }),
    async attach(id, { stdin, tty }) {
      const request = { containerId: id, stdin, tty, stdout: true, stderr: !tty }
      const { url } = await channel.unary<{ url: string }>('runtime', 'Attach', request)
      return attachStreams(url, { stdin, tty })
    },
    async portForward(sandboxId, port) {
      if (!Number.isInteger(port) || port < 1 || port > 65535) throw new AppError('invalid', `forward a port: ${port} is not within 1 to 65535`)
      const { url } = await channel.unary<{ url: string }>('runtime', 'PortForward', { podSandboxId: sandboxId, port: [port] })
      return forwardStream(url, port)
    },
  }
}

/** The answer, or undefined when what it was about does not exist: what makes stop and remove idempotent. */
async function gone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (hasCode(error, 'not-found')) return undefined
    throw error
  }
}
