/**
 * Real processes as a user runs them: `skerry server` on loopback or in a lab, `skerry agent` on the lab's hosts, the real
 * kubectl. What is made lies in one directory and is removed by `close`, and by the next `create` after a crash.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { Lab, type LabOptions } from './lab.ts'
import { until } from './until.ts'

export const ROOT = join(import.meta.dirname, '../..')
export const SKERRY = join(ROOT, 'bin/skerry')
export const KUBECTL = join(ROOT, 'dist/clients/kubectl')

/** How a command ended, and all it said. */
export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Uint8Array
  /** Then it is killed, which shows as code -1. @default 30 s */
  readonly timeoutMs?: number
  readonly uid?: number
  readonly cwd?: string
}

/** Runs a command to its end, whatever its exit code. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const own = { env: { ...process.env, ...options.env }, maxBuffer: 64 << 20, timeout: options.timeoutMs ?? 30_000, killSignal: 'SIGKILL', cwd: options.cwd ?? ROOT, ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }) } as const
    const child = execFile(command, args, own, (error, out, err) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      if (error !== null && typeof error.code === 'string') reject(error) // it could not be started
      else resolve({ code, out, err })
    })
    child.stdin?.on('error', () => {}) // A command that wants no input may end before it is given.
    child.stdin?.end(options.input ?? '')
  })
}

/** A process that goes on; its words are in a file. */
export class Running {
  readonly child: ChildProcess
  readonly #path: string
  readonly ended: Promise<number>

  constructor(child: ChildProcess, path: string) {
    this.child = child
    this.#path = path
    this.ended = new Promise((resolve) => child.once('exit', (code) => resolve(code ?? -1)))
  }

  /** All it has said so far, on both streams. */
  get said(): string {
    return readFileSync(this.#path, 'utf8')
  }

  get runs(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Waits until it has said something that fits. */
  async says(what: RegExp, timeoutMs = 30_000): Promise<string> {
    return until(`"${what.source}" in what process ${this.child.pid} says`, () => {
      const found = what.exec(this.said)
      if (found) return this.said
      if (!this.runs) throw new Error(`process ${this.child.pid} ended without saying ${what.source}: ${this.said}`)
      return false
    }, timeoutMs)
  }

  /** Ends it and waits for that. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    if (this.runs) this.child.kill(signal)
    return this.ended
  }
}

export interface SiteOptions {
  /** Starts the names of all that is made; the directory is `/tmp/<name>`. */
  readonly name: string
  /** Port of the server, on loopback when there is no lab. */
  readonly port: number
  readonly lab?: LabOptions
}

export interface AgentStart {
  /** Further flags. */
  readonly flags?: readonly string[]
  readonly token?: string
  readonly env?: Readonly<Record<string, string>>
  /** @default the name */
  readonly host?: string
  /** Name of its data directory. @default the name */
  readonly data?: string
}

/** One server and its nodes. */
export class Site {
  readonly dir: string
  readonly port: number
  readonly #lab: Lab | undefined
  readonly #running = new Map<string, { process: Running; netns: string | undefined }>()
  #logs = 0

  private constructor(dir: string, port: number, lab: Lab | undefined) {
    this.dir = dir
    this.port = port
    this.#lab = lab
  }

  /** Makes the place; nothing runs yet. What an earlier one of the name left is removed first. */
  static async create(options: SiteOptions): Promise<Site> {
    const dir = `/tmp/${options.name}`
    for (const name of existsSync(dir) ? readdirSync(dir) : []) await killall(join(dir, name), undefined)
    rmSync(dir, { recursive: true, force: true })
    mkdirSync(join(dir, 'logs'), { recursive: true, mode: 0o755 })
    return new Site(dir, options.port, options.lab && (await Lab.create(options.lab)))
  }

  get lab(): Lab {
    if (!this.#lab) throw new Error('this site has no lab')
    return this.#lab
  }

  get address(): string {
    return this.#lab ? this.#lab.server.address : '127.0.0.1'
  }

  get url(): string {
    return `https://${this.address}:${this.port}`
  }

  get serverData(): string {
    return join(this.dir, 'server')
  }

  get kubeconfig(): string {
    return join(this.serverData, 'server/admin.kubeconfig')
  }

  /** Starts the server without an agent of its own; resolves when it is ready. */
  async startServer(...flags: string[]): Promise<Running> {
    const args = ['server', '--data-dir', this.serverData, '--bind-address', this.address, '--port', String(this.port), '--no-agent', ...flags]
    const server = this.start('server', args, { netns: this.#lab?.server.netns })
    await server.says(/ ready /)
    return server
  }

  /** Starts an agent on a host of the lab, or on this machine. */
  agent(name: string, { flags = [], token, env = {}, host = name, data = name }: AgentStart = {}): Running {
    const args = ['agent', '--server', this.url, '--node-name', name, '--data-dir', join(this.dir, data), ...(token === undefined ? [] : ['--token', token]), ...flags]
    return this.start(data, args, { netns: this.#lab?.host(host).netns, env })
  }

  /** Starts skerry with these arguments; it is ended by `close` at the latest. */
  start(key: string, args: readonly string[], { netns, env = {} }: { netns?: string | undefined; env?: Readonly<Record<string, string>> } = {}): Running {
    const path = join(this.dir, 'logs', `${key}-${++this.#logs}.log`)
    const log = openSync(path, 'a')
    const words = netns === undefined ? [SKERRY, ...args] : ['nsenter', `--net=${netns}`, SKERRY, ...args]
    const child = spawn(words[0] as string, words.slice(1), { stdio: ['ignore', log, log], env: { ...process.env, ...env }, cwd: this.dir })
    closeSync(log)
    const running = new Running(child, path)
    this.#running.set(`${key}-${this.#logs}`, { process: running, netns })
    return running
  }

  /** Runs a skerry command that works on the server. */
  skerry(...args: string[]): Promise<Ran> {
    return run(SKERRY, [...args, '--data-dir', this.serverData])
  }

  async token(...flags: string[]): Promise<string> {
    const made = await this.skerry('token', 'create', ...flags)
    if (made.code !== 0) throw new Error(made.err)
    return made.out.trim()
  }

  kubectl(...args: string[]): Promise<Ran> {
    return run(KUBECTL, args, { env: { KUBECONFIG: this.kubeconfig } })
  }

  /** `kubectl apply -f -` of a text. */
  apply(yaml: string, ...flags: string[]): Promise<Ran> {
    return run(KUBECTL, ['apply', '-f', '-', ...flags], { env: { KUBECONFIG: this.kubeconfig }, input: yaml })
  }

  /** What kubectl says once it fits. @throws Error with its last words when it never does */
  async kubectlUntil(what: RegExp, args: readonly string[], timeoutMs = 30_000): Promise<string> {
    let last = ''
    try {
      return await until(`${what.source} from kubectl ${args.join(' ')}`, async () => {
        const { out, err } = await this.kubectl(...args)
        last = out + err
        if (what.test(last)) return last
        await new Promise((resolve) => setTimeout(resolve, 150))
        return false
      }, timeoutMs)
    } catch (error) {
      throw new Error(`kubectl ${args.join(' ')} never said ${what.source}, but: ${last}`, { cause: error })
    }
  }

  /** A call to the server with a Kubernetes token. */
  call(method: string, path: string, token: string, body?: string): Promise<{ status: number; body: string }> {
    const ca = readFileSync(join(this.serverData, 'server/tls/ca.crt'))
    return new Promise((resolve, reject) => {
      const req = request(`${this.url}${path}`, { method, ca, headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) } }, (res) => {
        const chunks: Buffer[] = []
        res.on('data', (c: Buffer) => chunks.push(c))
        res.on('error', reject)
        res.on('end', () => resolve({ status: res.statusCode ?? 0, body: Buffer.concat(chunks).toString() }))
      })
      req.on('error', reject)
      req.end(body)
    })
  }

  /** Stops everything and removes it. */
  async close(): Promise<void> {
    for (const { process } of this.#running.values()) await process.end('SIGKILL')
    const places = new Map([...this.#running].map(([key, { netns }]) => [key.replace(/-\d+$/, ''), netns]))
    for (const [key, netns] of places) await killall(join(this.dir, key), netns)
    await this.#lab?.close()
    if (process.env['SKERRY_KEEP'] === undefined) rmSync(this.dir, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Ends all of the instance with this data directory: containerd, pods, mounts, network. */
async function killall(dataDir: string, netns: string | undefined): Promise<void> {
  if (process.getuid?.() !== 0 || !(existsSync(join(dataDir, 'agent')) || existsSync(join(dataDir, 'server/lock')))) return
  await run(join(ROOT, 'script/killall.sh'), ['--data-dir', dataDir, ...(netns !== undefined && existsSync(netns) ? ['--netns', netns] : [])])
}
