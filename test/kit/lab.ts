/**
 * Hosts of a multi-node test or demo on one machine: network namespaces behind a NAT. One namespace is the server's; each
 * node's can dial out to it and nothing can dial in. Links can be cut (packets vanish, as on a dead line) and counted.
 * Everything made carries the lab's name and is removed by `close`, and by `sweep` after a crash.
 */
import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface LabOptions {
  /** 1 to 4 letters, unique on the machine; starts every name that is made. */
  readonly name: string
  /** Second and third number of the networks used: `10.<block>.<host>.0/30`. */
  readonly block: number
  readonly hosts: readonly string[]
}

export interface Host {
  readonly name: string
  /** Path of its network namespace, for nsenter. */
  readonly netns: string
  readonly address: string
  /** The lab's end of its line. */
  readonly device: string
}

export class Lab {
  readonly #options: LabOptions
  readonly server: Host
  readonly hosts: ReadonlyMap<string, Host>
  readonly #cut = new Set<string>()

  private constructor(options: LabOptions) {
    this.#options = options
    const host = (name: string, i: number): Host => ({
      name,
      netns: `/run/netns/${options.name}-${name}`,
      address: `10.${options.block}.${i}.2`,
      device: `${options.name}v${i}`,
    })
    this.server = host('server', 0)
    this.hosts = new Map(options.hosts.map((name, i) => [name, host(name, i + 1)]))
  }

  /** Makes the namespaces, lines and the NAT. Needs root. What an earlier run of the same name left is removed first. */
  static async create(options: LabOptions): Promise<Lab> {
    const lab = new Lab(options)
    await lab.close()
    try {
      await run('sysctl', ['-qw', 'net.ipv4.ip_forward=1'])
      for (const h of [lab.server, ...lab.hosts.values()]) await lab.#make(h)
      await lab.#rules()
      return lab
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  async #make(h: Host): Promise<void> {
    const ns = h.netns.slice('/run/netns/'.length)
    const gateway = h.address.replace(/2$/, '1')
    await run('ip', ['netns', 'add', ns])
    await run('ip', ['link', 'add', h.device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', ns])
    await run('ip', ['addr', 'add', `${gateway}/30`, 'dev', h.device])
    await run('ip', ['link', 'set', h.device, 'up'])
    await this.exec(h, 'ip', ['link', 'set', 'lo', 'up'])
    await this.exec(h, 'ip', ['addr', 'add', `${h.address}/30`, 'dev', 'eth0'])
    await this.exec(h, 'ip', ['link', 'set', 'eth0', 'up'])
    await this.exec(h, 'ip', ['route', 'add', 'default', 'via', gateway])
  }

  /** A host by name. */
  host(name: string): Host {
    const found = name === 'server' ? this.server : this.hosts.get(name)
    if (!found) throw new RangeError(`lab host "${name}" is not one of server, ${[...this.hosts.keys()].join(', ')}`)
    return found
  }

  /** Runs a command to its end on a host; its standard output. */
  async exec(host: Host, command: string, args: readonly string[]): Promise<string> {
    return (await run('nsenter', [`--net=${host.netns}`, command, ...args], { maxBuffer: 64 << 20 })).stdout
  }

  /** Starts a process on a host. The process that is returned is the command itself (nsenter replaces itself by it). */
  spawn(host: Host, command: string, args: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return spawn('nsenter', [`--net=${host.netns}`, command, ...args], options)
  }

  /** Cuts a host's line: packets vanish both ways, nobody is told. */
  async cut(name: string): Promise<void> {
    this.#cut.add(this.host(name).device)
    await this.#rules()
  }

  async mend(name: string): Promise<void> {
    this.#cut.delete(this.host(name).device)
    await this.#rules()
  }

  /** Bytes on a host's line, from its interface's own counters: `sent` by the host, `received` by it. */
  async bytes(name: string): Promise<{ sent: number; received: number }> {
    const dir = `/sys/class/net/${this.host(name).device}/statistics`
    const [rx, tx] = await Promise.all([readFile(`${dir}/rx_bytes`, 'utf8'), readFile(`${dir}/tx_bytes`, 'utf8')])
    return { sent: Number(rx), received: Number(tx) }
  }

  /** Removes namespaces, lines and rules. Processes in them must have ended before. */
  async close(): Promise<void> {
    await quiet('nft', ['delete', 'table', 'ip', this.#table])
    for (const h of [this.server, ...this.hosts.values()]) {
      await quiet('ip', ['link', 'del', h.device])
      await quiet('ip', ['netns', 'del', h.netns.slice('/run/netns/'.length)])
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #table(): string {
    return `lab_${this.#options.name}`
  }

  async #rules(): Promise<void> {
    const s = this.server.device
    const cut = [...this.#cut].map((d) => `    iifname "${d}" drop\n    oifname "${d}" drop`).join('\n')
    // A set may not be empty: a lab of the server alone speaks of a line that is not there.
    const nodes = [...this.hosts.values()].map((h) => `"${h.device}"`).join(', ') || `"${this.#options.name}-none"`
    const text = `
table ip ${this.#table} {
}
delete table ip ${this.#table}
table ip ${this.#table} {
  chain forward {
    type filter hook forward priority 0; policy accept;
${cut}
    iifname "${s}" oifname { ${nodes} } ct state established,related accept
    iifname "${s}" oifname { ${nodes} } drop
    iifname { ${nodes} } oifname { ${nodes} } drop
  }
  chain output {
    type filter hook output priority 0; policy accept;
    oifname { ${nodes} } ct state new drop
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    iifname { ${nodes} } oifname "${s}" masquerade
  }
}
`
    await new Promise<void>((resolve, reject) => {
      const child = execFile('nft', ['-f', '-'], (error, _out, stderr) => (error ? reject(new Error(`nft: ${stderr}`)) : resolve()))
      child.stdin?.end(text)
    })
  }
}

async function quiet(command: string, args: readonly string[]): Promise<void> {
  await run(command, args).catch(() => {}) // What is not there need not be removed.
}
