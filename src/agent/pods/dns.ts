/** Name resolution of a pod: `resolv.conf` by dnsPolicy, and the managed `/etc/hosts`. Pure but for the node's own file. */
import { readFile } from 'node:fs/promises'
import type { Pod } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import type { SandboxConfig } from '../../cri/mod.ts'

export type Dns = NonNullable<SandboxConfig['dns']>
/** What whole names of pods end in where no cluster DNS says otherwise. */
export const DEFAULT_DOMAIN = 'cluster.local'
/** systemd's stub listens on the node's loopback, which a pod does not see; the real servers stand in the second file. */
const FILES = ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf']

/** The node's own resolver settings; empty when the node has none (an isolated machine is fine). */
export async function hostDns(files: readonly string[] = FILES): Promise<Dns> {
  let found: Dns = { servers: [], searches: [], options: [] }
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch(() => undefined)
    if (text === undefined) continue
    found = parseResolv(text)
    if (found.servers.some((s) => !/^(127\.|::1$)/.test(s))) return found
  }
  return found
}

/** A resolv.conf as settings; at most three servers, as the resolver reads them. */
export function parseResolv(text: string): Dns {
  const rows = text.split('\n').map((l) => l.replace(/[#;].*/, '').trim().split(/\s+/))
  const of = (word: string): string[] => rows.filter((r) => r[0] === word).flatMap((r) => r.slice(1))
  // Of several search lines the last one counts.
  const searches = rows.findLast((r) => r[0] === 'search')?.slice(1) ?? []
  return { servers: of('nameserver').slice(0, 3), searches, options: of('options') }
}

/** What the pod's resolv.conf says. */
export function podDns(pod: Readonly<Pod>, host: Dns, cluster: { readonly server: string; readonly domain: string } | undefined): Dns {
  const policy = pod.spec?.dnsPolicy ?? 'ClusterFirst'
  const own = pod.spec?.dnsConfig
  const inCluster = policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && !pod.spec?.hostNetwork)
  let base: Dns = host
  if (policy === 'None') base = { servers: [], searches: [], options: [] }
  else if (inCluster && cluster) {
    const { server, domain } = cluster
    const searches = [`${pod.metadata?.namespace}.svc.${domain}`, `svc.${domain}`, domain]
    base = { servers: [server], searches: [...searches, ...host.searches], options: ['ndots:5'] }
  }
  const unique = (list: readonly string[]): readonly string[] => [...new Set(list)]
  const options = new Map(base.options.map((o) => [o.split(':')[0] as string, o]))
  for (const o of own?.options ?? []) if (o.name) options.set(o.name, o.value === undefined ? o.name : `${o.name}:${o.value}`)
  return {
    servers: unique([...base.servers, ...(own?.nameservers ?? [])]).slice(0, 3),
    searches: unique([...base.searches, ...(own?.searches ?? [])]).slice(0, 32),
    options: [...options.values()],
  }
}

/** Host name a pod's processes see; at most 63 characters, whole names as the pod asks 64. @throws AppError `invalid` when a whole name is longer */
export function hostnameOf(pod: Readonly<Pod>, domain: string): string {
  if (pod.spec?.hostnameOverride) return pod.spec.hostnameOverride
  const short = shortName(pod)
  const full = pod.spec?.setHostnameAsFQDN && pod.spec.subdomain ? `${short}.${pod.spec.subdomain}.${pod.metadata?.namespace}.svc.${domain}` : short
  if (full.length > 64) throw new AppError('invalid', `Failed to construct FQDN from Pod hostname and cluster domain, FQDN ${full} is too long (64 characters is the max, ${full.length} characters requested)`)
  return full
}

function shortName(pod: Readonly<Pod>): string {
  return (pod.spec?.hostname || pod.metadata?.name || '').slice(0, 63).replace(/[-.]+$/, '')
}

/** The managed hosts file. On the host network the node's own content stands first. */
export function hostsFile(pod: Readonly<Pod>, podIPs: readonly string[], nodeHosts: string | undefined, domain: string): string {
  const hostname = pod.spec?.hostnameOverride || shortName(pod)
  const sub = pod.spec?.subdomain
  const fqdn = sub ? `${hostname}.${sub}.${pod.metadata?.namespace}.svc.${domain}\t` : ''
  const head =
    nodeHosts !== undefined
      ? `# Kubernetes-managed hosts file (host network).\n${nodeHosts}`
      : '# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' +
        'fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n' +
        podIPs.map((ip) => `${ip}\t${fqdn}${hostname}\n`).join('')
  const aliases = pod.spec?.hostAliases ?? []
  if (aliases.length === 0) return head
  return `${head}\n# Entries added by HostAliases.\n${aliases.map((a) => `${a.ip}\t${(a.hostnames ?? []).join('\t')}\n`).join('')}`
}
