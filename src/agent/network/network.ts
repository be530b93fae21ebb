/**
 * This machine's pod network: a bridge that carries the pod CIDR's first address from the agent's start (so local
 * services listen on it before any pod), the CNI configuration, forwarding, and one nft table. Works inside a network
 * namespace: everything is of the namespace the agent runs in. Calls run one after another; each is idempotent.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { command, tryCommand } from '../containerd/command.ts'
import type { InstancePaths } from '../containerd/paths.ts'
import type { HostPort, NodeNetwork } from '../ports.ts'
import { parseCidr, type Cidr } from './cidr.ts'
import { cniConflist, nftRemoval, nftRules } from './rules.ts'

const log = logger('agent.network')
/** Where CNI's library keeps what plugins answered. */
const CNI_RESULTS = '/var/lib/cni/results'

/** The agent's network port on bridge, CNI and nft. Needs root in the network namespace it runs in. */
export class BridgeNetwork implements NodeNetwork {
  readonly #paths: InstancePaths
  #cidr: Cidr | undefined
  #hostPorts: readonly HostPort[] = []
  #applied = ''
  #queue: Promise<unknown> = Promise.resolve()

  constructor(paths: InstancePaths) {
    this.#paths = paths
  }

  /** The node's own address on the pod network; undefined before the first `configure`. */
  get gateway(): string | undefined {
    return this.#cidr?.gateway
  }

  /** @throws AppError `invalid` for a CIDR we cannot serve, `internal` with the words of ip or nft */
  configure(podCIDR: string): Promise<void> {
    return this.#serial(async () => {
      const cidr = parseCidr(podCIDR)
      await this.#makeBridge(cidr)
      await setSysctl('net/ipv4/ip_forward', '1')
      // Lets the node reach host ports by 127.0.0.1; the spoof chain keeps pods from using it the other way.
      await setSysctl(`net/ipv4/conf/${this.#paths.bridge}/route_localnet`, '1')
      this.#cidr = cidr
      await this.#applyRules()
      const path = join(this.#paths.cniConf, '10-skerry.conflist')
      const text = cniConflist({ network: this.#paths.network, bridge: this.#paths.bridge, cidr, leases: this.#paths.cniLeases })
      const former = await readFile(path, 'utf8').catch(() => '')
      if (former !== text) await writeFileAtomic(path, text, { mode: 0o644, sync: false })
    })
  }

  /** @throws AppError `internal` with nft's words; the former rules are then still in force */
  setHostPorts(ports: readonly HostPort[]): Promise<void> {
    return this.#serial(async () => {
      this.#hostPorts = ports.map((p) => ({ ...p }))
      if (this.#cidr) await this.#applyRules()
    })
  }

  /** Takes bridge, table and CNI configuration away. Sandboxes go first: without the configuration their network cannot be undone. */
  cleanup(): Promise<void> {
    return this.#serial(async () => {
      await command('nft', ['-f', '-'], { input: nftRemoval(this.#paths.nftTable) })
      if ((await tryCommand('ip', ['link', 'show', this.#paths.bridge])).code === 0) await command('ip', ['link', 'delete', this.#paths.bridge])
      await rm(join(this.#paths.run, 'cni'), { recursive: true, force: true })
      this.#cidr = undefined
      this.#applied = ''
    })
  }

  async #makeBridge(cidr: Cidr): Promise<void> {
    const { bridge } = this.#paths
    interface Link { readonly addr_info?: readonly { readonly family: string; readonly local: string; readonly prefixlen: number }[] }
    const shown = await tryCommand('ip', ['-j', 'addr', 'show', 'dev', bridge])
    const wanted = `${cidr.gateway}/${cidr.bits}`
    if (shown.code !== 0) {
      // A fixed hardware address: a bridge without one takes its first port's and changes it as pods come and go.
      await command('ip', ['link', 'add', 'name', bridge, 'address', hardwareAddress(bridge), 'type', 'bridge'])
      log.info('pod bridge made', { bridge, address: wanted })
      await this.#reattach()
    }
    const links = shown.code === 0 ? (JSON.parse(shown.stdout) as Link[]) : []
    const present = links.flatMap((l) => l.addr_info ?? []).filter((a) => a.family === 'inet').map((a) => `${a.local}/${a.prefixlen}`)
    for (const address of present) if (address !== wanted) await command('ip', ['addr', 'del', address, 'dev', bridge])
    if (!present.includes(wanted)) await command('ip', ['addr', 'add', wanted, 'brd', '+', 'dev', bridge])
    await command('ip', ['link', 'set', 'dev', bridge, 'up'])
  }

  /** Pods that run have lost their line with a bridge that somebody deleted; CNI's cache says which are theirs. */
  async #reattach(): Promise<void> {
    const { bridge, network } = this.#paths
    const results = (await readdir(CNI_RESULTS).catch(() => [])).filter((name) => name.startsWith(`${network}-`))
    if (results.length === 0) return
    const there = new Set((JSON.parse((await tryCommand('ip', ['-j', 'link', 'show', 'type', 'veth'])).stdout || '[]') as { readonly ifname?: string }[]).map((l) => l.ifname))
    for (const name of results) {
      interface Cached { readonly result?: { readonly interfaces?: readonly { readonly name: string; readonly sandbox?: string }[] } }
      const cached = await readFile(join(CNI_RESULTS, name), 'utf8').then((text) => JSON.parse(text) as Cached, () => undefined)
      for (const line of cached?.result?.interfaces ?? []) {
        if (line.sandbox || !there.has(line.name)) continue
        const { code, stderr } = await tryCommand('ip', ['link', 'set', 'dev', line.name, 'master', bridge])
        if (code === 0) await tryCommand('ip', ['link', 'set', 'dev', line.name, 'type', 'bridge_slave', 'hairpin', 'on'])
        else log.warn('a pod has no line to the bridge', { line: line.name, error: stderr.trim() })
      }
    }
  }

  async #applyRules(): Promise<void> {
    const rules = nftRules({ table: this.#paths.nftTable, bridge: this.#paths.bridge, cidr: this.#cidr as Cidr, hostPorts: this.#hostPorts })
    // A firewall's reload may have flushed our table; looking costs one process start, as applying would.
    const there = rules === this.#applied && (await tryCommand('nft', ['list', 'table', 'ip', this.#paths.nftTable])).code === 0
    if (there) return
    await command('nft', ['-f', '-'], { input: rules })
    this.#applied = rules
  }

  #serial<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work)
    this.#queue = result.catch(() => {})
    return result
  }
}

/** Writes a kernel setting of this network namespace unless it has the value. */
async function setSysctl(path: string, value: string): Promise<void> {
  const file = `/proc/sys/${path}`
  try {
    if ((await readFile(file, 'utf8')).trim() !== value) await writeFile(file, value)
  } catch (error) {
    throw new AppError('internal', `set ${path.replaceAll('/', '.')} to ${value}: the kernel refused; run as root, and in a container with that setting writable`, { cause: error })
  }
}

function hardwareAddress(bridge: string): string {
  const hash = createHash('sha256').update(bridge).digest()
  // 0x02: locally administered, unicast.
  return [2, ...hash.subarray(0, 5)].map((b) => b.toString(16).padStart(2, '0')).join(':')
}
