/** Validation of security contexts, and of what a pod of one operating system may not ask for. */
import type { AppArmorProfile, Container, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, WindowsSecurityContextOptions } from '../gen/types.ts'
import { dnsSubdomainErrors } from '../names.ts'
import type { Findings } from './field.ts'
import { descendingPath } from './paths.ts'

const PROFILE_TYPES = ['Localhost', 'RuntimeDefault', 'Unconfined']
/** The longest path, less its end. */
const MAX_PROFILE = 4095
const SYSCTL = /^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$/
const SYSCTL_TEXT = 'must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$'
/** Sysctls of a name space that the host may share; the rest is of neither. */
const NET_SYSCTL = /^net[./]/
const IPC_SYSCTL = /^(kernel[./](shm|msg|sem)|fs[./]mqueue[./])/

/** The security context of a whole pod; `path` is the pod spec's. */
export function podSecurity(e: Findings, path: string, spec: PodSpec): void {
  const sc = spec.securityContext
  const at = `${path}.securityContext`
  // Kubernetes keeps this flag within the context and tells of it there.
  if (sc && spec.shareProcessNamespace && spec.hostPID) {
    e.invalid(`${at}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled')
  }
  if (!sc) return
  e.id(`${at}.fsGroup`, sc.fsGroup)
  e.id(`${at}.runAsUser`, sc.runAsUser)
  e.id(`${at}.runAsGroup`, sc.runAsGroup)
  for (const [i, group] of (sc.supplementalGroups ?? []).entries()) e.id(`${at}.supplementalGroups[${i}]`, group)
  sysctls(e, `${at}.sysctls`, spec, sc)
  e.chosen(`${at}.fsGroupChangePolicy`, sc.fsGroupChangePolicy, ['Always', 'OnRootMismatch'])
  seccomp(e, `${at}.seccompProfile`, sc.seccompProfile)
  windowsOptions(e, `${at}.windowsOptions`, sc.windowsOptions)
  appArmor(e, `${at}.appArmorProfile`, sc.appArmorProfile)
  e.chosen(`${at}.supplementalGroupsPolicy`, sc.supplementalGroupsPolicy, ['Merge', 'Strict'])
  e.chosen(`${at}.seLinuxChangePolicy`, sc.seLinuxChangePolicy, ['MountOption', 'Recursive'])
}

function sysctls(e: Findings, path: string, spec: PodSpec, sc: PodSecurityContext): void {
  const seen = new Set<string>()
  for (const [i, { name }] of (sc.sysctls ?? []).entries()) {
    const at = `${path}[${i}].name`
    if (!name) e.required(at)
    else if (name.length > 253 || !SYSCTL.test(name)) e.invalid(at, name, SYSCTL_TEXT)
    else if (seen.has(name)) e.duplicate(at, name)
    if (spec.hostNetwork && NET_SYSCTL.test(name)) e.invalid(at, name, "may not be specified when 'hostNetwork' is true")
    else if (spec.hostIPC && IPC_SYSCTL.test(name)) e.invalid(at, name, "may not be specified when 'hostIPC' is true")
    seen.add(name)
  }
}

/** The security context of a container; `hostUsers` is false for a pod with a user name space of its own. */
export function containerSecurity(e: Findings, path: string, sc: SecurityContext | undefined, hostUsers: boolean): void {
  if (!sc) return
  e.id(`${path}.runAsUser`, sc.runAsUser)
  e.id(`${path}.runAsGroup`, sc.runAsGroup)
  e.chosen(`${path}.procMount`, sc.procMount, ['Default', 'Unmasked'])
  if (hostUsers && sc.procMount === 'Unmasked') e.invalid(`${path}.procMount`, sc.procMount, '`hostUsers` must be false to use `Unmasked`')
  seccomp(e, `${path}.seccompProfile`, sc.seccompProfile)
  if (sc.allowPrivilegeEscalation === false) {
    if (sc.privileged) e.invalid(path, sc, 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true')
    for (const added of sc.capabilities?.add ?? []) {
      if (added === 'CAP_SYS_ADMIN') e.invalid(path, sc, 'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN')
    }
  }
  windowsOptions(e, `${path}.windowsOptions`, sc.windowsOptions)
  appArmor(e, `${path}.appArmorProfile`, sc.appArmorProfile)
}

function seccomp(e: Findings, path: string, p: SeccompProfile | undefined): void {
  if (!p) return
  e.choice(`${path}.type`, p.type, PROFILE_TYPES, 'type is required when seccompProfile is set')
  const { localhostProfile: file } = p
  if (p.type !== 'Localhost') {
    if (file !== undefined) e.invalid(`${path}.localhostProfile`, p, 'can only be set when seccomp type is Localhost')
  } else if (file === undefined) e.required(`${path}.localhostProfile`, 'must be set when seccomp type is Localhost')
  else descendingPath(e, `${path}.localhostProfile`, file)
}

function appArmor(e: Findings, path: string, p: AppArmorProfile | undefined): void {
  if (!p) return
  e.choice(`${path}.type`, p.type, PROFILE_TYPES, 'type is required when appArmorProfile is set')
  const { localhostProfile: profile } = p
  const at = `${path}.localhostProfile`
  if (p.type === 'Localhost') {
    if (profile !== undefined && profile.trim() !== profile) e.invalid(at, profile, 'must not be padded with whitespace')
    else if (!profile) e.required(at, 'must be set when AppArmor type is Localhost')
    if ((profile?.length ?? 0) > MAX_PROFILE) e.tooLong(at, MAX_PROFILE)
  } else if (PROFILE_TYPES.includes(p.type) && profile !== undefined) e.invalid(at, profile, 'can only be set when AppArmor type is Localhost')
}

const MAX_SPEC_KIB = 64
const MAX_DOMAIN = 256
const MAX_USER = 104
const NET_BIOS = /^[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}$/
const WINDOWS_DNS = /^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$/

function windowsOptions(e: Findings, path: string, o: WindowsSecurityContextOptions | undefined): void {
  if (!o) return
  e.text(`${path}.gmsaCredentialSpecName`, o.gmsaCredentialSpecName, dnsSubdomainErrors)
  const { gmsaCredentialSpec: gmsa, runAsUserName } = o
  if (gmsa === '') e.invalid(`${path}.gmsaCredentialSpec`, gmsa, 'gmsaCredentialSpec cannot be an empty string')
  else if ((gmsa?.length ?? 0) > MAX_SPEC_KIB * 1024) e.invalid(`${path}.gmsaCredentialSpec`, gmsa, `gmsaCredentialSpec size must be under ${MAX_SPEC_KIB} KiB`)
  e.text(`${path}.runAsUserName`, runAsUserName, windowsUserErrors)
}

function windowsUserErrors(name: string): string[] {
  if (name === '') return ['runAsUserName cannot be an empty string']
  if (/\p{Cc}/u.test(name)) return ['runAsUserName cannot contain control characters']
  const parts = name.split('\\')
  if (parts.length > 2) return ['runAsUserName cannot contain more than one backslash']
  const errors: string[] = []
  const user = parts.at(-1) as string
  const domain = parts.length === 2 ? (parts[0] as string) : undefined
  if ((domain?.length ?? 0) >= MAX_DOMAIN) errors.push(`runAsUserName's Domain length must be under ${MAX_DOMAIN} characters`)
  if (domain !== undefined && !NET_BIOS.test(domain) && !WINDOWS_DNS.test(domain)) errors.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
  if (user === '') errors.push("runAsUserName's User cannot be empty")
  else if (user.length > MAX_USER) errors.push(`runAsUserName's User length must not be longer than ${MAX_USER} characters`)
  if (/^[. ]+$/.test(user)) errors.push("runAsUserName's User cannot contain only periods or spaces")
  if (/["/\\:;|=,+*?<>@[\]]/.test(user)) errors.push('runAsUserName\'s User cannot contain the following characters: "/\\:;|=,+*?<>@[]')
  return errors
}

const WINDOWS_FORBIDS_POD = [
  'appArmorProfile', 'seLinuxOptions', 'seccompProfile', 'fsGroup', 'fsGroupChangePolicy', 'sysctls', 'runAsUser', 'runAsGroup',
  'supplementalGroups', 'supplementalGroupsPolicy', 'seLinuxChangePolicy',
] as const
const WINDOWS_FORBIDS_SPEC = ['hostUsers', 'hostPID', 'hostIPC', 'shareProcessNamespace'] as const
const WINDOWS_FORBIDS = [
  'appArmorProfile', 'seLinuxOptions', 'seccompProfile', 'capabilities', 'readOnlyRootFilesystem', 'privileged', 'allowPrivilegeEscalation',
  'procMount', 'runAsUser', 'runAsGroup',
] as const
const NOT_FOR_WINDOWS = 'cannot be set for a windows pod'

/** `spec.os`, and what a pod of that system may not have. */
export function operatingSystem(e: Findings, path: string, spec: PodSpec): void {
  const { os, securityContext: sc } = spec
  if (!os) return
  if (!os.name) return e.required(`${path}.os.name`, 'cannot be empty')
  if (os.name !== 'linux' && os.name !== 'windows') return e.unsupported(`${path}.os`, os.name, ['linux', 'windows'])
  const linux = os.name === 'linux'
  if (linux) {
    if (sc?.windowsOptions) e.forbidden(`${path}.securityContext.windowsOptions`, 'windows options cannot be set for a linux pod')
  } else {
    for (const key of WINDOWS_FORBIDS_SPEC) {
      const value = spec[key]
      const set = key === 'hostPID' || key === 'hostIPC' ? value === true : value !== undefined
      if (set) e.forbidden(`${path}.${key}`, NOT_FOR_WINDOWS)
    }
    for (const key of WINDOWS_FORBIDS_POD) if (sc?.[key] !== undefined) e.forbidden(`${path}.securityContext.${key}`, NOT_FOR_WINDOWS)
  }
  for (const [c, at] of allContainers(spec, path)) {
    const own = c.securityContext
    if (linux && own?.windowsOptions) e.forbidden(`${at}.securityContext.windowsOptions`, 'windows options cannot be set for a linux pod')
    if (!linux) for (const key of WINDOWS_FORBIDS) if (own?.[key] !== undefined) e.forbidden(`${at}.securityContext.${key}`, NOT_FOR_WINDOWS)
  }
}

/** Windows containers that run as processes of their host: all of a pod or none, and on the host's network. */
export function hostProcess(e: Findings, path: string, spec: PodSpec): void {
  const whole = spec.securityContext?.windowsOptions?.hostProcess
  const containers = allContainers(spec, path)
  let count = 0
  for (const [c, at] of containers) {
    const own = c.securityContext?.windowsOptions?.hostProcess
    if (whole !== undefined && own !== undefined && whole !== own) {
      e.invalid(`${at}.securityContext.windowsOptions.hostProcess`, own, `pod hostProcess value must be identical if both are specified, was ${whole}`)
    }
    if (own ?? whole) count++
  }
  if (count === 0) return
  if (count !== containers.length) e.invalid(path, '', 'If pod contains any hostProcess containers then all containers must be HostProcess containers')
  if (!spec.hostNetwork) e.invalid(`${path}.hostNetwork`, false, 'hostNetwork must be true if pod contains any hostProcess containers')
}

/** Every container of a pod with its path: init containers, containers, ephemeral ones. */
export function allContainers(spec: PodSpec, path: string): [Container, string][] {
  return (['initContainers', 'containers', 'ephemeralContainers'] as const).flatMap((field) =>
    (spec[field] ?? []).map((c, i): [Container, string] => [c as Container, `${path}.${field}[${i}]`]),
  )
}
