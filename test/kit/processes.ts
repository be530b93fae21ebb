/**
 * Real processes as a user runs them: `skerry server` on loopback or in a lab, `skerry agent` on the lab's hosts, the real
 * kubectl. What is made lies in one directory and is removed by `close`, and by the next `create` after a crash.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Lab, type LabOptions } from './lab.ts'
import { callWithToken, killall, KUBECTL, must, Processes, run, SKERRY, type Answer, type Ran, type Running } from './process.ts'
import { until } from './until.ts'

export { KUBECTL, ROOT, run, Running, SKERRY, type Ran } from './process.ts'

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
  readonly #processes: Processes
  readonly #started: { readonly key: string; readonly running: Running; readonly netns: string | undefined }[] = []

  private constructor(dir: string, port: number, lab: Lab | undefined) {
    this.dir = dir
    this.port = port
    this.#lab = lab
    this.#processes = new Processes(dir)
  }

  /** Makes the place; nothing runs yet. What an earlier one of the name left is removed first. */
  static async create(options: SiteOptions): Promise<Site> {
    const dir = `/tmp/${options.name}`
    for (const name of existsSync(dir) ? readdirSync(dir) : []) await endAll(join(dir, name), undefined)
    rmSync(dir, { recursive: true, force: true })
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

  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, KUBECONFIG: this.kubeconfig }
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
    const running = this.#processes.start(key, SKERRY, args, { netns, env: { ...process.env, ...env } })
    this.#started.push({ key, running, netns })
    return running
  }

  /** Runs a skerry command that works on the server. */
  skerry(...args: string[]): Promise<Ran> {
    return run(SKERRY, [...args, '--data-dir', this.serverData])
  }

  async token(...flags: string[]): Promise<string> {
    return must('skerry token create', await this.skerry('token', 'create', ...flags)).trim()
  }

  kubectl(...args: string[]): Promise<Ran> {
    return run(KUBECTL, args, { env: this.#env })
  }

  /** `kubectl apply -f -` of a text. */
  apply(yaml: string, ...flags: string[]): Promise<Ran> {
    return run(KUBECTL, ['apply', '-f', '-', ...flags], { env: this.#env, input: yaml })
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
  call(method: string, path: string, token: string, body?: string): Promise<Answer> {
    return callWithToken(`${this.url}${path}`, { method, ca: join(this.serverData, 'server/tls/ca.crt'), token, body })
  }

  /** Stops everything and removes it. */
  async close(): Promise<void> {
    for (const { running } of this.#started) await running.end('SIGKILL')
    const places = new Map(this.#started.map(({ key, netns }) => [key, netns]))
    for (const [key, netns] of places) await endAll(join(this.dir, key), netns)
    await this.#lab?.close()
    if (process.env['SKERRY_KEEP'] === undefined) rmSync(this.dir, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Ends all of an instance, where there may be one. */
async function endAll(dataDir: string, netns: string | undefined): Promise<void> {
  if (process.getuid?.() === 0 && (existsSync(join(dataDir, 'agent')) || existsSync(join(dataDir, 'server/lock')))) await killall(dataDir, netns)
}
