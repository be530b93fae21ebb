/** A pod and its containers as the runtime is told: sandbox and container configurations from spec, volumes and environment. */
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Container as ContainerSpec, Pod } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import type { ContainerConfig, Mount, Protocol, SandboxConfig, UserNamespace } from '../../cri/mod.ts'
import type { Volumes } from '../volumes/volumes.ts'
import { expand, type Environment } from './env.ts'
import { hostnameOf, hostsFile, type Dns } from './dns.ts'
import * as names from './names.ts'
import { amount, hugePages, linuxResources } from './quantities.ts'
import { containerSecurity, sandboxSecurity } from './security.ts'

export interface SandboxInput {
  readonly pod: Readonly<Pod>
  readonly attempt: number
  readonly logDirectory: string
  readonly dns: Dns
  readonly cgroupParent: string
  readonly clusterDomain: string
  /** Of the pod's RuntimeClass; empty is the default one. */
  readonly runtimeHandler: string
  /** Users of its own. @default the machine's */
  readonly userNamespace?: UserNamespace | undefined
}

/** What the runtime is told of a pod's sandbox. Pure. */
export function sandboxConfig(input: SandboxInput): SandboxConfig {
  const { pod } = input
  const spec = pod.spec
  const ports = (spec?.containers ?? []).flatMap((c) => c.ports ?? [])
  return {
    name: pod.metadata?.name ?? '',
    namespace: pod.metadata?.namespace ?? '',
    uid: names.uidOf(pod),
    attempt: input.attempt,
    hostname: spec?.hostNetwork ? '' : hostnameOf(pod, input.clusterDomain),
    logDirectory: input.logDirectory,
    dns: input.dns.servers.length + input.dns.searches.length + input.dns.options.length === 0 ? undefined : input.dns,
    portMappings: ports
      .filter((p) => p.hostPort !== undefined && p.hostPort > 0)
      .map((p) => ({ protocol: (p.protocol ?? 'TCP') as Protocol, containerPort: p.containerPort, hostPort: p.hostPort as number, hostIP: p.hostIP ?? '' })),
    labels: { ...pod.metadata?.labels, ...podLabels(pod) },
    annotations: { ...pod.metadata?.annotations, [names.ANNOTATION_GRACE]: String(names.graceOf(pod)) },
    cgroupParent: input.cgroupParent,
    hostNetwork: spec?.hostNetwork === true,
    hostPID: spec?.hostPID === true,
    hostIPC: spec?.hostIPC === true,
    sharePID: spec?.shareProcessNamespace === true,
    sysctls: Object.fromEntries((spec?.securityContext?.sysctls ?? []).map((s) => [s.name, s.value])),
    runtimeHandler: input.runtimeHandler,
    ...(input.userNamespace ? { userNamespace: input.userNamespace } : {}),
    security: sandboxSecurity(pod),
  }
}

function podLabels(pod: Readonly<Pod>): Record<string, string> {
  return {
    [names.LABEL_POD_NAME]: pod.metadata?.name ?? '',
    [names.LABEL_POD_NAMESPACE]: pod.metadata?.namespace ?? '',
    [names.LABEL_POD_UID]: names.uidOf(pod),
  }
}

export interface ContainerInput {
  readonly pod: Readonly<Pod>
  readonly spec: ContainerSpec
  readonly attempt: number
  /** Number of starts before this one, for `restartCount`. */
  readonly delayMs: number
  readonly image: { readonly id: string; readonly user: string }
  readonly env: Environment
  readonly podIPs: readonly string[]
  /** Device nodes beside those of block volumes. */
  readonly devices: ContainerConfig['devices']
  readonly volumes: Volumes
  /** The runtime can make what is mounted below a read-only mount read-only too. */
  readonly recursiveReadOnly: boolean
  readonly capacity: Readonly<Record<string, string>>
  readonly clusterDomain: string
  /** Where `localhostProfile` of seccomp is looked for. */
  readonly seccompDirs: readonly string[]
  /** Container whose process namespace this one joins. */
  readonly target?: string | undefined
}

/** Makes the files a container mounts and says how it is to be created. @throws AppError `invalid` for a bad mount or user rule */
export async function containerConfig(input: ContainerInput): Promise<ContainerConfig> {
  const { pod, spec, env, attempt } = input
  const security = containerSecurity(pod, spec, input.image.user)
  const mounts: Mount[] = []
  for (const m of spec.volumeMounts ?? []) mounts.push(await input.volumes.mount(pod, m, env, input.recursiveReadOnly))
  const own = await ownMounts(input, mounts)
  return {
    name: spec.name,
    attempt,
    image: input.image.id,
    command: (spec.command ?? []).map((s) => expand(s, env)),
    args: (spec.args ?? []).map((s) => expand(s, env)),
    workingDir: spec.workingDir ?? '',
    env: [...env].map(([name, value]) => ({ name, value })),
    mounts: [...mounts, ...own],
    devices: [...input.devices, ...(spec.volumeDevices ?? []).map((d) => input.volumes.device(pod, d))],
    labels: { ...podLabels(pod), [names.LABEL_CONTAINER_NAME]: spec.name },
    annotations: {
      [names.ANNOTATION_HASH]: names.hashOf(spec),
      [names.ANNOTATION_RESTARTS]: String(attempt),
      [names.ANNOTATION_RESOURCES]: JSON.stringify(spec.resources ?? {}),
      [names.ANNOTATION_DELAY]: String(input.delayMs),
      [names.ANNOTATION_TERMINATION_PATH]: terminationPath(spec),
      [names.ANNOTATION_TERMINATION_POLICY]: spec.terminationMessagePolicy ?? 'File',
    },
    logPath: `${spec.name}/${attempt}.log`,
    stdin: spec.stdin === true,
    stdinOnce: spec.stdinOnce === true,
    tty: spec.tty === true,
    ...(input.target === undefined ? {} : { pidTarget: input.target }),
    resources: { ...linuxResources(pod, spec, amount(input.capacity['memory'])), hugePages: hugePages(spec, input.capacity) },
    security: { ...security, seccomp: await seccompPath(security.seccomp, input.seccompDirs) },
  }
}

/** A profile of this machine by its whole path; what is not found is left for the runtime to name. */
async function seccompPath(profile: string, dirs: readonly string[]): Promise<string> {
  const name = profile.startsWith('localhost/') ? profile.slice('localhost/'.length) : undefined
  if (name === undefined) return profile
  for (const dir of dirs) if (await stat(join(dir, name)).catch(() => undefined)) return `localhost/${join(dir, name)}`
  throw new AppError('invalid', `load seccomp profile "${name}": it is in none of ${dirs.join(', ')}`)
}

function terminationPath(spec: ContainerSpec): string {
  return spec.terminationMessagePath || '/dev/termination-log'
}

/** File in which a container leaves its final words. */
export function terminationFile(podDir: string, name: string, attempt: number): string {
  return join(podDir, 'containers', name, String(attempt))
}

/** Mounts every container has: where it leaves its final words, and `/etc/hosts`. */
async function ownMounts(input: ContainerInput, mounts: readonly Mount[]): Promise<Mount[]> {
  const { pod, spec } = input
  const dir = input.volumes.podDir(names.uidOf(pod))
  const words = terminationFile(dir, spec.name, input.attempt)
  await mkdir(join(dir, 'containers', spec.name), { recursive: true, mode: 0o755 })
  await writeFile(words, '')
  await chmod(words, 0o666)
  const own: Mount[] = [{ hostPath: words, containerPath: terminationPath(spec), readOnly: false, propagation: 'private' }]
  if (mounts.some((m) => m.containerPath === '/etc/hosts')) return own
  const hosts = join(dir, 'etc-hosts')
  const nodeHosts = pod.spec?.hostNetwork ? await readFile('/etc/hosts', 'utf8').catch(() => '') : undefined
  const text = hostsFile(pod, input.podIPs, nodeHosts, input.clusterDomain)
  // Written in place: containers that run have this very file mounted.
  if (!(await stat(hosts).catch(() => undefined)) || (await readFile(hosts, 'utf8')) !== text) await writeFile(hosts, text, { mode: 0o644 })
  return [...own, { hostPath: hosts, containerPath: '/etc/hosts', readOnly: false, propagation: 'private' }]
}
