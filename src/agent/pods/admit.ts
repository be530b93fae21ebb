/** What a node refuses to run before anything of a pod is made: what it could not keep, in the kubelet's words. Pure. */
import type { Pod } from '../../api/gen/types.ts'
import type { RuntimeFeatures } from '../../cri/mod.ts'
import { containersOf } from './names.ts'
import type { Verdict } from './status.ts'

/** What this node can do, as far as pods may ask for it. */
export interface NodeAbilities {
  /** The kernel enforces AppArmor profiles. */
  readonly appArmor: boolean
  /** Kernel settings that pods may have beyond the safe ones; a final `*` stands for anything. */
  readonly unsafeSysctls: readonly string[]
  /** What the container runtime says that it can do. @default nothing beyond containerd 1.6 */
  readonly runtime?: RuntimeFeatures | undefined
}

/** Kernel settings that stay within their namespace; `ipc` or `net` says whose. */
const SAFE_SYSCTLS: Readonly<Record<string, 'ipc' | 'net'>> = {
  'kernel.shm_rmid_forced': 'ipc',
  'net.ipv4.ip_local_port_range': 'net',
  'net.ipv4.tcp_syncookies': 'net',
  'net.ipv4.ping_group_range': 'net',
  'net.ipv4.ip_unprivileged_port_start': 'net',
  'net.ipv4.ip_local_reserved_ports': 'net',
  'net.ipv4.tcp_keepalive_time': 'net',
  'net.ipv4.tcp_fin_timeout': 'net',
  'net.ipv4.tcp_keepalive_intvl': 'net',
  'net.ipv4.tcp_keepalive_probes': 'net',
  'net.ipv4.tcp_rmem': 'net',
  'net.ipv4.tcp_wmem': 'net',
}

/** Why the pod is not let in, or undefined. */
export function refusal(pod: Readonly<Pod>, node: NodeAbilities): Verdict | undefined {
  const no = (reason: string, why: string): Verdict => ({ reason, message: `Pod was rejected: ${why}`, refused: true })
  const { os, securityContext, hostNetwork, hostIPC } = pod.spec ?? {}
  if (os && os.name !== 'linux') return no('PodOSNotSupported', "Failed to admit pod as the OS field doesn't match node OS")
  for (const { name } of securityContext?.sysctls ?? []) {
    const key = name.replaceAll('/', '.')
    const allowed = node.unsafeSysctls.some((p) => (p.endsWith('*') ? key.startsWith(p.slice(0, -1)) : key === p))
    const scope = SAFE_SYSCTLS[key] ?? (allowed ? namespaceOf(key) : undefined)
    if (scope === undefined) return no('SysctlForbidden', `forbidden sysctl: "${key}" not allowlisted`)
    if (scope === 'net' ? hostNetwork : hostIPC) return no('SysctlForbidden', `forbidden sysctl: "${key}" not allowed with host ${scope} enabled`)
  }
  if (securityContext?.supplementalGroupsPolicy === 'Strict' && node.runtime?.strictGroups !== true) return no('SupplementalGroupsPolicyNotSupported', 'SupplementalGroupsPolicy=Strict is not supported in this node')
  const profiles = [securityContext?.appArmorProfile, ...containersOf(pod).map((c) => c.spec.securityContext?.appArmorProfile)]
  if (!node.appArmor && profiles.some((p) => p !== undefined && p.type !== 'Unconfined')) return no('AppArmor', 'Cannot enforce AppArmor: AppArmor is not enabled on the host')
  return undefined
}

/** The namespace that keeps a kernel setting to a pod; undefined for one that is the whole machine's. */
export function namespaceOf(sysctl: string): 'ipc' | 'net' | undefined {
  if (sysctl.startsWith('net.')) return 'net'
  return /^(kernel\.(shm|msg|sem)|fs\.mqueue\.)/.test(sysctl) ? 'ipc' : undefined
}

/** When the pod's time is over, ms wall clock; undefined: never, or it has not begun. */
export function deadlineOf(pod: Readonly<Pod>): number | undefined {
  const began = Date.parse(pod.status?.startTime ?? '')
  const seconds = pod.spec?.activeDeadlineSeconds
  return seconds === undefined || Number.isNaN(began) ? undefined : began + seconds * 1000
}

export const DEADLINE_EXCEEDED: Verdict = { reason: 'DeadlineExceeded', message: 'Pod was active on the node longer than the specified deadline' }
