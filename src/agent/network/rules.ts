/**
 * The pod network's nft table and CNI configuration as text; pure. One table per instance, replaced as a whole in one
 * transaction, so that there is never a moment without it or with half of it.
 */
import type { HostPort } from '../ports.ts'
import { isIPv4, type Cidr } from './cidr.ts'

export interface RuleInput {
  readonly table: string
  readonly bridge: string
  readonly cidr: Cidr
  readonly hostPorts: readonly HostPort[]
}

/**
 * - pods leaving the node carry its address;
 * - host ports lead to pods from outside, from the node itself (127.0.0.1 included) and from pods, the same pod too;
 * - a pod may send only from the pod CIDR, and never reaches the node's own 127.0.0.0/8.
 * Host ports nobody could honour (no pod address yet, not IPv4) are left out.
 */
export function nftRules({ table, bridge, cidr, hostPorts }: RuleInput): string {
  const rules = hostPorts.filter((p) => isIPv4(p.podIP) && inPort(p.hostPort) && inPort(p.containerPort)).map((p) => {
    const ip = p.hostIP === '' || p.hostIP === '0.0.0.0' || !isIPv4(p.hostIP) ? '' : `ip daddr ${p.hostIP} `
    const protocol = p.protocol.toLowerCase()
    return `    ${ip}${protocol} dport ${p.hostPort} dnat to ${p.podIP}:${p.containerPort}\n`
  })
  // `add` before `delete`, so that the delete also succeeds the first time.
  return `add table ip ${table}
delete table ip ${table}
table ip ${table} {
  chain spoof {
    type filter hook prerouting priority raw; policy accept;
    iifname "${bridge}" ip saddr != ${cidr.text} counter drop
    iifname "${bridge}" ip daddr 127.0.0.0/8 counter drop
  }
  chain hostports {
${[...new Set(rules)].join('')}  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump hostports
  }
  chain output {
    type nat hook output priority -100; policy accept;
    fib daddr type local jump hostports
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${cidr.text} oifname != "${bridge}" ip daddr != ${cidr.text} masquerade
    ip saddr 127.0.0.0/8 oifname "${bridge}" masquerade
    ip saddr ${cidr.text} oifname "${bridge}" ct status dnat masquerade
  }
}
`
}

/** Removes the table; harmless when there is none. */
export function nftRemoval(table: string): string {
  return `add table ip ${table}\ndelete table ip ${table}\n`
}

/** The CNI list containerd reads: bridge and host-local; masquerade and host ports are ours, in nft. */
export function cniConflist(input: { network: string; bridge: string; cidr: Cidr; leases: string }): string {
  const { network, bridge, cidr, leases } = input
  const ipam = {
    type: 'host-local',
    dataDir: leases,
    ranges: [[{ subnet: cidr.text, gateway: cidr.gateway }]],
    routes: [{ dst: '0.0.0.0/0' }],
  }
  const plugin = { type: 'bridge', bridge, isGateway: true, ipMasq: false, hairpinMode: true, ipam }
  return `${JSON.stringify({ cniVersion: '0.4.0', name: network, plugins: [plugin] }, undefined, 2)}\n`
}

function inPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port < 65536
}
