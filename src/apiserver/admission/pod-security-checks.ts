/**
 * The Pod Security Standards: what a pod does that its level forbids, in Kubernetes' words. Pure. `baseline` checks come
 * first, then those of `restricted`, each by name; a restricted check replaces the baseline check of the same matter. A
 * namespace may name the version of Kubernetes whose standards it keeps: checks and exceptions came over time.
 */

export type Level = 'privileged' | 'baseline' | 'restricted'

interface Security {
  privileged?: boolean
  allowPrivilegeEscalation?: boolean
  runAsNonRoot?: boolean
  runAsUser?: number
  procMount?: string
  capabilities?: { add?: string[]; drop?: string[] }
  seccompProfile?: { type?: string }
  appArmorProfile?: { type?: string }
  seLinuxOptions?: { type?: string; user?: string; role?: string }
  windowsOptions?: { hostProcess?: boolean }
  sysctls?: { name: string }[]
}
interface Handler {
  httpGet?: { host?: string }
  tcpSocket?: { host?: string }
}
interface Container {
  name: string
  securityContext?: Security
  ports?: { hostPort?: number }[]
  livenessProbe?: Handler
  readinessProbe?: Handler
  startupProbe?: Handler
  lifecycle?: { postStart?: Handler; preStop?: Handler }
}
/** As much of a pod's spec as the checks read. */
export interface CheckedSpec {
  hostNetwork?: boolean
  hostPID?: boolean
  hostIPC?: boolean
  os?: { name?: string }
  runtimeClassName?: string
  securityContext?: Security
  volumes?: ({ name: string } & Record<string, unknown>)[]
  containers?: Container[]
  initContainers?: Container[]
  ephemeralContainers?: Container[]
}

interface Pod {
  readonly spec: CheckedSpec
  readonly all: readonly Container[]
  readonly annotations: Readonly<Record<string, string>>
  /** Of the standards: 31 is Kubernetes 1.31. */
  readonly minor: number
}

type Finding = readonly [reason: string, detail: string]
type Check = (pod: Pod) => Finding[] | undefined

const DEFAULT_CAPABILITIES = new Set(['AUDIT_WRITE', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'MKNOD', 'NET_BIND_SERVICE', 'SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT'])
/** What is free, and the version since which it is. */
const SAFE_SYSCTLS: Readonly<Record<string, number>> = {
  'kernel.shm_rmid_forced': 0, 'net.ipv4.ip_local_port_range': 0, 'net.ipv4.ip_unprivileged_port_start': 0, 'net.ipv4.tcp_syncookies': 0, 'net.ipv4.ping_group_range': 0,
  'net.ipv4.ip_local_reserved_ports': 27, 'net.ipv4.tcp_keepalive_time': 29, 'net.ipv4.tcp_fin_timeout': 29, 'net.ipv4.tcp_keepalive_intvl': 29, 'net.ipv4.tcp_keepalive_probes': 29,
  'net.ipv4.tcp_rmem': 32, 'net.ipv4.tcp_wmem': 32,
}
const SELINUX_TYPES: Readonly<Record<string, number>> = { '': 0, container_t: 0, container_init_t: 0, container_kvm_t: 0, container_engine_t: 31 }
const freeIn = (table: Readonly<Record<string, number>>, name: string, minor: number): boolean => Object.hasOwn(table, name) && (table[name] as number) <= minor
const FREE_VOLUMES = new Set(['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'persistentVolumeClaim', 'projected', 'secret'])
const APPARMOR = 'container.apparmor.security.beta.kubernetes.io/'

/** `reason (detail), reason (detail)`; undefined when the level, as of a version (`latest`, `v1.31`), allows the pod. */
export function violations(level: Level, version: string, spec: CheckedSpec, annotations: Readonly<Record<string, string>> = {}): string | undefined {
  if (level === 'privileged') return undefined
  const minor = version === 'latest' ? Infinity : Number(version.replace('v1.', ''))
  const pod: Pod = { spec, annotations, minor, all: [...(spec.initContainers ?? []), ...(spec.containers ?? []), ...(spec.ephemeralContainers ?? [])] }
  const has = (check: Check): boolean => (SINCE.get(check) ?? 0) <= minor
  const replaced = (check: Check): boolean => level === 'restricted' && RESTRICTED.some((r) => REPLACES.get(r) === check && has(r))
  const checks = [...BASELINE.filter((c) => !replaced(c)), ...(level === 'restricted' ? RESTRICTED : [])].filter(has)
  const found = checks.flatMap((check) => check(pod) ?? [])
  return found.length === 0 ? undefined : found.map(([reason, detail]) => (detail === '' ? reason : `${reason} (${detail})`)).join(', ')
}

/** `container "a"`, `containers "a", "b"`. */
function named(containers: readonly Container[]): string {
  return `container${containers.length === 1 ? '' : 's'} ${containers.map((c) => JSON.stringify(c.name)).join(', ')}`
}

const quoted = (values: readonly unknown[]): string => [...new Set(values)].toSorted().map((v) => JSON.stringify(v)).join(', ')
const one = (reason: string, detail: string): Finding[] => [[reason, detail]]
/** Not judged by what only Linux has; older standards did not know. */
const windows = (pod: Pod): boolean => pod.minor >= 25 && pod.spec.os?.name === 'windows'

/** A setting that pod and containers may not set: who sets it. */
function setters(pod: Pod, bad: (s: Security) => boolean): string {
  const containers = pod.all.filter((c) => c.securityContext && bad(c.securityContext))
  const own = pod.spec.securityContext !== undefined && bad(pod.spec.securityContext)
  return [...(own ? ['pod'] : []), ...(containers.length > 0 ? [named(containers)] : [])].join(' and ')
}

function forbiddenBy(reason: string, what: string, bad: (s: Security) => boolean): (pod: Pod) => Finding[] | undefined {
  return (pod) => {
    const who = setters(pod, bad)
    return who === '' ? undefined : one(reason, `${who} must not set ${what}`)
  }
}

function appArmor(pod: Pod): Finding[] | undefined {
  const annotated = Object.entries(pod.annotations).filter(([k, v]) => k.startsWith(APPARMOR) && v !== '' && v !== 'runtime/default' && !v.startsWith('localhost/'))
  const who = setters(pod, (s) => s.appArmorProfile?.type !== undefined && !['RuntimeDefault', 'Localhost'].includes(s.appArmorProfile.type))
  const parts = [...(who === '' ? [] : [`${who} must not set AppArmor profile type to "Unconfined"`]), ...annotated.map(([k, v]) => `${k}=${JSON.stringify(v)}`)]
  return parts.length === 0 ? undefined : one(parts.length === 1 ? 'forbidden AppArmor profile' : 'forbidden AppArmor profiles', parts.join(', '))
}

function baselineCapabilities(pod: Pod): Finding[] | undefined {
  const bad = (c: Container): string[] => (c.securityContext?.capabilities?.add ?? []).filter((x) => !DEFAULT_CAPABILITIES.has(x))
  const containers = pod.all.filter((c) => bad(c).length > 0)
  return containers.length === 0 ? undefined : one('non-default capabilities', `${named(containers)} must not include ${quoted(containers.flatMap(bad))} in securityContext.capabilities.add`)
}

function hostNamespaces({ spec }: Pod): Finding[] | undefined {
  const set = (['hostNetwork', 'hostPID', 'hostIPC'] as const).filter((k) => spec[k] === true)
  return set.length === 0 ? undefined : one('host namespaces', set.map((k) => `${k}=true`).join(', '))
}

function hostPaths({ spec }: Pod): Finding[] | undefined {
  const names = (spec.volumes ?? []).filter((v) => v['hostPath'] !== undefined).map((v) => v.name)
  return names.length === 0 ? undefined : one('hostPath volumes', `volume${names.length === 1 ? '' : 's'} ${names.map((n) => JSON.stringify(n)).join(', ')}`)
}

function hostPorts({ all }: Pod): Finding[] | undefined {
  const of = (c: Container): number[] => (c.ports ?? []).flatMap((p) => p.hostPort || [])
  const containers = all.filter((c) => of(c).length > 0)
  const ports = [...new Set(containers.flatMap(of))].toSorted((a, b) => a - b)
  return containers.length === 0 ? undefined : one('hostPort', `${named(containers)} use${containers.length === 1 ? 's' : ''} hostPort${ports.length === 1 ? '' : 's'} ${ports.join(', ')}`)
}

function probeHosts({ all }: Pod): Finding[] | undefined {
  const of = (c: Container): string[] => [c.livenessProbe, c.readinessProbe, c.startupProbe, c.lifecycle?.postStart, c.lifecycle?.preStop].flatMap((h) => h?.httpGet?.host || h?.tcpSocket?.host || []).filter((h) => h !== '127.0.0.1' && h !== '::1')
  const containers = all.filter((c) => of(c).length > 0)
  return containers.length === 0 ? undefined : one('probe or lifecycle host', `${named(containers)} use${containers.length === 1 ? 's' : ''} probe or lifecycle host ${quoted(containers.flatMap(of))}`)
}

function procMount({ all }: Pod): Finding[] | undefined {
  const containers = all.filter((c) => (c.securityContext?.procMount ?? 'Default') !== 'Default')
  return containers.length === 0 ? undefined : one('procMount', `${named(containers)} must not set securityContext.procMount to ${quoted(containers.map((c) => c.securityContext?.procMount))}`)
}

function privileged({ all }: Pod): Finding[] | undefined {
  const containers = all.filter((c) => c.securityContext?.privileged === true)
  return containers.length === 0 ? undefined : one('privileged', `${named(containers)} must not set securityContext.privileged=true`)
}

function seLinux(pod: Pod): Finding[] | undefined {
  const bad = (s: Security): boolean => s.seLinuxOptions !== undefined && (!freeIn(SELINUX_TYPES, s.seLinuxOptions.type ?? '', pod.minor) || Boolean(s.seLinuxOptions.user) || Boolean(s.seLinuxOptions.role))
  const who = setters(pod, bad)
  if (who === '') return undefined
  const options = [pod.spec.securityContext, ...pod.all.map((c) => c.securityContext)].flatMap((s) => s?.seLinuxOptions ?? [])
  const types = options.flatMap((o) => (freeIn(SELINUX_TYPES, o.type ?? '', pod.minor) ? [] : [o.type]))
  const detail = [
    ...(types.length > 0 ? [`type${new Set(types).size === 1 ? '' : 's'} ${quoted(types)}`] : []),
    ...(options.some((o) => o.user) ? ['user may not be set'] : []),
    ...(options.some((o) => o.role) ? ['role may not be set'] : []),
  ]
  return one('seLinuxOptions', `${who} set forbidden securityContext.seLinuxOptions: ${detail.join('; ')}`)
}

function sysctls({ spec, minor }: Pod): Finding[] | undefined {
  const bad = (spec.securityContext?.sysctls ?? []).map((s) => s.name).filter((n) => !freeIn(SAFE_SYSCTLS, n, minor))
  return bad.length === 0 ? undefined : one('forbidden sysctls', bad.join(', '))
}

const baselineSeccomp = forbiddenBy('seccompProfile', 'securityContext.seccompProfile.type to "Unconfined"', (s) => s.seccompProfile?.type === 'Unconfined')

const BASELINE: readonly Check[] = [
  appArmor, baselineCapabilities, hostNamespaces, hostPaths, hostPorts, probeHosts, privileged, procMount, seLinux, baselineSeccomp, sysctls,
  forbiddenBy('hostProcess', 'securityContext.windowsOptions.hostProcess=true', (s) => s.windowsOptions?.hostProcess === true),
]

function escalation(pod: Pod): Finding[] | undefined {
  const containers = pod.all.filter((c) => c.securityContext?.allowPrivilegeEscalation !== false)
  return windows(pod) || containers.length === 0 ? undefined : one('allowPrivilegeEscalation != false', `${named(containers)} must set securityContext.allowPrivilegeEscalation=false`)
}

function restrictedCapabilities(pod: Pod): Finding[] | undefined {
  if (windows(pod)) return undefined
  const bad = (c: Container): string[] => (c.securityContext?.capabilities?.add ?? []).filter((x) => x !== 'NET_BIND_SERVICE')
  const keeping = pod.all.filter((c) => !c.securityContext?.capabilities?.drop?.includes('ALL'))
  const adding = pod.all.filter((c) => bad(c).length > 0)
  const parts = [
    ...(keeping.length > 0 ? [`${named(keeping)} must set securityContext.capabilities.drop=["ALL"]`] : []),
    ...(adding.length > 0 ? [`${named(adding)} must not include ${quoted(adding.flatMap(bad))} in securityContext.capabilities.add`] : []),
  ]
  return parts.length === 0 ? undefined : one('unrestricted capabilities', parts.join('; '))
}

function restrictedVolumes({ spec }: Pod): Finding[] | undefined {
  const typeOf = (v: { name: string } & Record<string, unknown>): string => Object.keys(v).find((k) => k !== 'name' && v[k] !== undefined) ?? 'unknown'
  const bad = (spec.volumes ?? []).filter((v) => !FREE_VOLUMES.has(typeOf(v)))
  const types = new Set(bad.map(typeOf))
  return bad.length === 0 ? undefined : one('restricted volume types', `volume${bad.length === 1 ? '' : 's'} ${bad.map((v) => JSON.stringify(v.name)).join(', ')} use${bad.length === 1 ? 's' : ''} restricted volume type${types.size === 1 ? '' : 's'} ${quoted([...types])}`)
}

function nonRoot(pod: Pod): Finding[] | undefined {
  const own = pod.spec.securityContext?.runAsNonRoot
  const denying = pod.all.filter((c) => c.securityContext?.runAsNonRoot === false)
  if (own === false || denying.length > 0) {
    const who = [...(own === false ? ['pod'] : []), ...(denying.length > 0 ? [named(denying)] : [])].join(' and ')
    if (denying.length > 0 || pod.all.some((c) => c.securityContext?.runAsNonRoot === undefined)) return one('runAsNonRoot != true', `${who} must not set securityContext.runAsNonRoot=false`)
  }
  const silent = pod.all.filter((c) => c.securityContext?.runAsNonRoot === undefined)
  return own === true || silent.length === 0 ? undefined : one('runAsNonRoot != true', `pod or ${named(silent)} must set securityContext.runAsNonRoot=true`)
}

const rootUser = forbiddenBy('runAsUser=0', 'runAsUser=0', (s) => s.runAsUser === 0)

function restrictedSeccomp(pod: Pod): Finding[] | undefined {
  if (windows(pod)) return undefined
  const good = (s: Security | undefined): boolean => s?.seccompProfile?.type === 'RuntimeDefault' || s?.seccompProfile?.type === 'Localhost'
  const who = setters(pod, (s) => s.seccompProfile?.type !== undefined && !good(s))
  if (who !== '') return one('seccompProfile', `${who} must not set securityContext.seccompProfile.type to "Unconfined"`)
  const silent = pod.all.filter((c) => c.securityContext?.seccompProfile?.type === undefined)
  return good(pod.spec.securityContext) || silent.length === 0 ? undefined : one('seccompProfile', `pod or ${named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`)
}

const RESTRICTED: readonly Check[] = [escalation, restrictedCapabilities, restrictedVolumes, nonRoot, rootUser, restrictedSeccomp]
const REPLACES = new Map<Check, Check>([[restrictedCapabilities, baselineCapabilities], [restrictedVolumes, hostPaths], [restrictedSeccomp, baselineSeccomp]])
/** The first version that has a check; the others are as old as the standards. */
const SINCE = new Map<Check, number>([[escalation, 8], [baselineSeccomp, 19], [restrictedSeccomp, 19], [restrictedCapabilities, 22], [rootUser, 23], [probeHosts, 34]])
