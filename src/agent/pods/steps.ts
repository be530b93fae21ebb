/**
 * Does what the planner decided, one step at a time: the hands of a pod worker. Every step may be repeated after a failure.
 * A failed start says in which of the kubelet's words it failed ({@link StartFailure}).
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Container as ContainerSpec, Pod, RuntimeClass, Volume } from '../../api/gen/types.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { CheckTarget } from './checks.ts'
import { ImageFailure } from '../images.ts'
import type { ObjectKind } from '../objects.ts'
import { containerConfig, sandboxConfig } from './config.ts'
import type { PodContext } from './context.ts'
import { DEFAULT_DOMAIN, podDns } from './dns.ts'
import { environment } from './env.ts'
import { runHook } from './hooks.ts'
import { containersOf, keyOf, uidOf } from './names.ts'
import type { Action } from './planner.ts'
import type { UserNamespace } from '../../cri/mod.ts'
import { amount, limitOf, linuxResources, podLimit, qosOf } from './quantities.ts'
import type { Compute, Resize } from './resize.ts'
import type { FieldContext } from './fields.ts'
import type { Written } from './storage-limits.ts'
import { isOwn, type SourceContext } from '../volumes/sources.ts'

const log = logger('agent.pods')
/** After a preStop hook has used up the grace, a container still gets this long, seconds: the kubelet's figure. */
const LEAST_GRACE = 2

/** A container that could not be started; `reason` is what its status shows while it waits. */
export class StartFailure extends Error {
  readonly reason: string
  constructor(reason: string, cause: unknown) {
    super(messageOf(cause), { cause })
    this.name = 'StartFailure'
    this.reason = reason
  }
}

export interface StepsOptions {
  readonly context: PodContext
  /** The pod as it is now; for a pod that is gone the last one known. */
  readonly pod: () => Readonly<Pod>
  readonly named: (kind: ObjectKind, name: string) => void
  readonly say: (type: 'Normal' | 'Warning', reason: string, message: string, container?: ContainerSpec) => void
}

/** The steps of one pod; each may be repeated. */
export class Steps {
  readonly #c: PodContext
  readonly #o: StepsOptions
  /** Of its runtime class, once that was read. */
  #handlerName: string | undefined

  constructor(options: StepsOptions) {
    this.#c = options.context
    this.#o = options
  }

  get #pod(): Readonly<Pod> {
    return this.#o.pod()
  }

  /** What the pod's sandbox needs: directories, cgroup and devices. @throws StartFailure for its devices */
  async place(): Promise<void> {
    const pod = this.#pod
    await Promise.all([
      mkdir(this.#logDir(), { recursive: true, mode: 0o755 }),
      mkdir(this.#c.volumes.podDir(uidOf(pod)), { recursive: true, mode: 0o750 }),
      this.#c.cgroups?.ensurePod(pod),
    ])
    await this.#c.devices.prepare(pod).catch((error: unknown) => {
      throw new StartFailure('FailedPrepareDynamicResources', new AppError('invalid', `Failed to prepare dynamic resources: ${messageOf(error)}`, { cause: error }))
    })
  }

  /** @throws AppError naming the volume */
  async volumes(): Promise<void> {
    await this.#c.volumes.prepare(this.#pod, this.#sources())
  }

  /** Whether nothing that somebody else has to make can keep the volumes from being there. */
  ownVolumes(): boolean {
    return (this.#pod.spec?.volumes ?? []).every(isOwn)
  }

  /** Writes changed configuration and renewed tokens into the pod's volumes. */
  async refreshVolumes(): Promise<void> {
    await this.#c.volumes.refresh(this.#pod, this.#sources())
  }

  async sandbox(action: Extract<Action, { type: 'sandbox' }>): Promise<void> {
    const pod = this.#pod
    if (action.replaces) this.#o.say('Normal', 'SandboxChanged', 'Pod sandbox changed, it will be killed and re-created.')
    // A sandbox that died by itself still holds its address and network namespace.
    for (const { id } of this.#c.view.pod(uidOf(pod)).sandboxes) await this.#c.runtime.sandboxes.stop(id)
    await this.#c.runtime.sandboxes.run(await this.#sandboxConfig(pod, action.attempt))
  }

  async #sandboxConfig(pod: Readonly<Pod>, attempt: number): Promise<ReturnType<typeof sandboxConfig>> {
    const dns = podDns(pod, await this.#c.node.hostDns(), this.#c.node.clusterDns())
    const cgroupParent = this.#c.cgroups?.parentOf(uidOf(pod), qosOf(pod.spec)) ?? ''
    const clusterDomain = this.#c.node.clusterDns()?.domain ?? DEFAULT_DOMAIN
    const runtimeHandler = await this.#runtimeHandler(pod)
    const userNamespace = pod.spec?.hostUsers === false ? await this.#users(uidOf(pod), runtimeHandler) : undefined
    return sandboxConfig({ pod, attempt, logDirectory: this.#logDir(), dns, cgroupParent, clusterDomain, runtimeHandler, userNamespace })
  }

  /** Whether its mounts can be read-only all the way down; undefined while its runtime class is not known. */
  get recursiveReadOnly(): boolean | undefined {
    const name = this.#pod.spec?.runtimeClassName ? this.#handlerName : ''
    return name === undefined ? undefined : this.#handler(name)?.recursiveReadOnly === true
  }

  async #runtimeHandler(pod: Readonly<Pod>): Promise<string> {
    const name = pod.spec?.runtimeClassName
    if (!name) return ''
    const found = await this.#c.objects.reader(pod.metadata?.namespace ?? '', this.#o.named).object<RuntimeClass>('RuntimeClass', name)
    if (!found) throw new AppError('invalid', `failed to get RuntimeClass: runtimeclass.node.k8s.io "${name}" not found`)
    this.#handlerName = found.handler
    return found.handler
  }

  /** Users of the pod's own, where the runtime says that it can. */
  async #users(uid: string, handler: string): Promise<UserNamespace> {
    if (this.#handler(handler)?.userNamespaces !== true) {
      throw new AppError('unsupported', 'user namespaces are not supported by this node: they need containerd 2.0 with runc 1.2 or crun 1.9, on Linux 6.3; leave hostUsers out, and drop capabilities instead')
    }
    return await this.#c.users.of(uid)
  }

  /** What the runtime says of one of its handlers. */
  #handler(name: string): { readonly userNamespaces: boolean; readonly recursiveReadOnly: boolean } | undefined {
    return this.#c.node.abilities().runtime?.handlers.get(name)
  }

  /** Pulls, creates and starts a container, and runs its postStart hook. @throws ImageFailure, StartFailure, or the signal's reason */
  async start(action: Extract<Action, { type: 'start' }>, failures: number, signal: AbortSignal): Promise<void> {
    const pod = this.#pod
    const item = containersOf(pod).find((c) => c.spec.name === action.name)
    if (!item) return
    const { spec } = item
    const { runtime, clock, probes, node } = this.#c
    const config = this.#c.objects.reader(pod.metadata?.namespace ?? '', this.#o.named)
    const say = (type: 'Normal' | 'Warning', reason: string, message: string): void => this.#o.say(type, reason, message, spec)
    const info = await this.#c.images.ensure({ pod, spec, config, say, failures, signal })
    for (const volume of imageVolumes(pod, spec)) {
      const wanted: ContainerSpec = { name: spec.name, image: volume.image?.reference ?? '', ...(volume.image?.pullPolicy ? { imagePullPolicy: volume.image.pullPolicy } : {}) }
      const files = await this.#c.images.ensure({ pod, spec: wanted, config, say, failures, signal })
      await stage('CreateContainerError', () => this.#c.volumes.image(pod, volume, files.id))
    }
    const podIPs = this.#c.view.ips(action.sandboxId)
    const sandbox = this.#c.view.pod(uidOf(pod)).sandboxes.find((s) => s.id === action.sandboxId)
    const made = await stage('CreateContainerConfigError', async () => {
      const access = this.#c.devices.accessOf(pod, spec)
      const env = await environment(spec, this.#fields(podIPs), config, { ...(await node.serviceEnv(pod)), ...node.addedEnv(), ...access.env }, (volume, path) => this.#c.volumes.read(pod, volume, path))
      const { attempt, delayMs } = action
      const clusterDomain = node.clusterDns()?.domain ?? DEFAULT_DOMAIN
      const image = { id: spec.image ?? '', user: info.user }
      return await containerConfig({ pod, spec, attempt, delayMs, image, env, podIPs, devices: access.devices, recursiveReadOnly: this.#handler(await this.#runtimeHandler(pod))?.recursiveReadOnly === true, volumes: this.#c.volumes, capacity: node.capacity(), clusterDomain, seccompDirs: node.seccompDirs, target: this.#targetOf(item.target) })
    })
    signal.throwIfAborted()
    const [sandboxOf] = await Promise.all([this.#sandboxConfig(pod, sandbox?.attempt ?? 0), mkdir(join(this.#logDir(), spec.name), { recursive: true, mode: 0o755 })])
    const id = await stage('CreateContainerError', () => runtime.containers.create(action.sandboxId, made, sandboxOf))
    say('Normal', 'Created', `Container created: ${spec.name}`)
    signal.throwIfAborted()
    const hook = spec.lifecycle?.postStart
    if (hook) probes.hookBegan(id)
    await stage('RunContainerError', () => runtime.containers.start(id))
    say('Normal', 'Started', `Container started: ${spec.name}`)
    if (!hook) return
    await this.#c.view.refresh()
    await runHook(hook, this.#target(id, spec, podIPs, 0), clock, signal).then(
      () => probes.hookEnded(id),
      (error: unknown) => {
        log.info('postStart hook failed', { pod: keyOf(pod), container: spec.name, why: messageOf(error) })
        say('Warning', 'FailedPostStartHook', 'PostStartHook failed')
        probes.hookEnded(id, 'FailedPostStartHook')
      },
    )
  }

  /**
   * Gives running containers other resources, and their pod's cgroup: what grows before them, what shrinks after them
   * (unless `settled` is false: others have not got theirs yet).
   * @throws AppError when a container uses more memory than it would be left with, or runtime or kernel refuse
   */
  async resize(former: Readonly<Pod>, open: readonly Resize[], settled: boolean, done: (id: string, resources: ContainerSpec['resources']) => void): Promise<void> {
    const pod = this.#pod
    const { cgroups, runtime, node } = this.#c
    const limit = (p: Readonly<Pod>, r: Compute): number => (p.spec && podLimit(p.spec, r)) || Infinity
    await cgroups?.ensurePod(pod, (['cpu', 'memory'] as const).filter((r) => limit(pod, r) >= limit(former, r)), true)
    for (const { container, spec, changed } of open) {
      const most = limitOf(spec, 'memory')
      const used = changed.includes('memory') && most > 0 ? ((await runtime.containers.stats()).find((s) => s.id === container.id)?.memoryBytes ?? 0) : 0
      if (used > most) throw new AppError('invalid', `attempting to set container ${spec.name} memory limit (${most}) below current usage (${used})`)
      await runtime.containers.update(container.id, linuxResources(pod, spec, amount(node.capacity()['memory'])))
      done(container.id, spec.resources)
    }
    if (settled) await cgroups?.ensurePod(pod, undefined, true)
  }

  /** The running container that an ephemeral one looks into. @throws AppError `invalid` when it does not run */
  #targetOf(name: string | undefined): string | undefined {
    if (name === undefined) return undefined
    const found = this.#c.view.pod(uidOf(this.#pod)).containers.find((c) => c.name === name && c.state === 'running')
    if (!found) throw new AppError('invalid', `unable to find target container "${name}": it does not run`)
    return found.id
  }

  /** preStop hook, signal, grace, kill. */
  async kill(action: Extract<Action, { type: 'kill' }>): Promise<void> {
    const pod = this.#pod
    const spec = containersOf(pod).find((c) => c.spec.name === action.name)?.spec
    this.#o.say('Normal', 'Killing', action.why, spec)
    // A failed probe's own grace is for its restart; who deletes the pod has said another.
    const grace = (pod.metadata?.deletionTimestamp === undefined ? this.#c.probes.graceOf(action.id) : undefined) ?? action.graceSeconds
    const hook = action.preStop ? spec?.lifecycle?.preStop : undefined
    if (!hook || !spec || grace <= 0) return await this.#c.runtime.containers.stop(action.id, Math.max(0, grace))
    const began = this.#c.clock.monotonic()
    const sandboxId = this.#c.view.pod(uidOf(pod)).containers.find((c) => c.id === action.id)?.sandboxId ?? ''
    await runHook(hook, this.#target(action.id, spec, this.#c.view.ips(sandboxId), grace), this.#c.clock).catch((error: unknown) => {
      log.info('preStop hook failed', { pod: keyOf(pod), container: spec.name, why: messageOf(error) })
      this.#o.say('Warning', 'FailedPreStopHook', 'PreStopHook failed', spec)
    })
    const left = grace - Math.round((this.#c.clock.monotonic() - began) / 1000)
    await this.#c.runtime.containers.stop(action.id, Math.max(LEAST_GRACE, left))
  }

  /** Where what the pod writes to the disk is. */
  written(): Written {
    const pod = this.#pod
    const ids = new Map(this.#c.view.pod(uidOf(pod)).containers.map((c) => [c.id, c.name]))
    return {
      volumeDir: (volume) => this.#c.volumes.pathOf(pod, volume),
      logDir: this.#logDir(),
      layers: async () => new Map((await this.#c.runtime.containers.stats()).flatMap((s) => (ids.has(s.id) ? [[ids.get(s.id) as string, s.writableBytes] as const] : []))),
    }
  }

  /** Removes everything of the pod from this machine. False when its cgroups stay for now: what ran in them takes a moment to end. */
  async erase(): Promise<boolean> {
    const pod = this.#pod
    const uid = uidOf(pod)
    const observed = this.#c.view.pod(uid)
    for (const s of observed.sandboxes) {
      await this.#c.runtime.sandboxes.stop(s.id)
      await this.#c.runtime.sandboxes.remove(s.id)
    }
    await this.#c.volumes.remove(uid)
    await this.#c.tokens.forget(uid)
    this.#c.devices.forget(uid)
    this.#c.users.forget(uid)
    await rm(this.#logDir(), { recursive: true, force: true })
    try {
      await this.#c.cgroups?.removePod(uid)
      return true
    } catch (error) {
      log.debug('cgroup stays for now', { pod: keyOf(pod), error: messageOf(error) })
      return false
    }
  }

  /** Where checks of a container go. */
  target(id: string, spec: ContainerSpec, sandboxId: string): Omit<CheckTarget, 'timeoutSeconds'> {
    return this.#target(id, spec, this.#c.view.ips(sandboxId), 1)
  }

  #target(id: string, spec: ContainerSpec, podIPs: readonly string[], timeoutSeconds: number): CheckTarget {
    const host = (this.#pod.spec?.hostNetwork ? this.#c.node.hostIPs()[0] : podIPs[0]) ?? '127.0.0.1'
    return { streams: this.#c.runtime.streams, containerId: id, spec, host, timeoutSeconds }
  }

  #logDir(): string {
    const { namespace = '', name = '', uid = '' } = this.#pod.metadata ?? {}
    return this.#c.logDir(namespace, name, uid)
  }

  #fields(podIPs: readonly string[]): FieldContext {
    const pod = this.#pod
    const hostIPs = this.#c.node.hostIPs()
    return { pod, hostIPs, podIPs: pod.spec?.hostNetwork ? hostIPs : podIPs, allocatable: this.#c.node.allocatable() }
  }

  #sources(): SourceContext {
    const pod = this.#pod
    const ready = this.#c.view.pod(uidOf(pod)).sandboxes.find((s) => s.state === 'ready')
    return {
      ...this.#fields(ready ? this.#c.view.ips(ready.id) : []),
      config: this.#c.objects.reader(pod.metadata?.namespace ?? '', this.#o.named),
      token: (request) => this.#c.tokens.token(request),
    }
  }
}

/** Volumes of images that a container mounts. */
function imageVolumes(pod: Readonly<Pod>, spec: ContainerSpec): readonly Volume[] {
  return (pod.spec?.volumes ?? []).filter((v) => v.image && spec.volumeMounts?.some((m) => m.name === v.name))
}

async function stage<T>(reason: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof ImageFailure) throw error
    // The runtime going away is nobody's fault but its own; the step is tried again soon.
    if (reason !== 'CreateContainerConfigError' && error instanceof AppError && error.code === 'unavailable') throw error
    throw new StartFailure(reason, error)
  }
}
