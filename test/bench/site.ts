/**
 * The real program for benchmarks: a copy of the bundle as an installation has it, a server and nodes on machines made of
 * network namespaces, and a client of the API. Everything is named `bn` and removed by `close`.
 */
import type { ChildProcess } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, createHttpTransport, parseKubeconfig, type Client, type ResourceRef } from '../../src/client/mod.ts'
import type { KubeObject } from '../../src/api/meta.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { busyboxArchive, eventually, leftovers } from '../e2e/site.ts'
import { Lab } from '../kit/lab.ts'
import { killall, must, Processes, ROOT, run, Running } from '../kit/process.ts'

const LAB = { name: 'bn', block: 246 }
const DIR = '/tmp/bn-site'
const PORT = 7700
export const IMAGE = 'bench:1'

export const NODES: ResourceRef = { group: '', version: 'v1', resource: 'nodes', kind: 'Node', namespaced: false }
export const PODS: ResourceRef = { group: '', version: 'v1', resource: 'pods', kind: 'Pod', namespaced: true }

/** What the benchmarks read of nodes and pods. */
export interface WithConditions extends KubeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

/** Whether an object says `Ready: True`. */
export function isReady(object: WithConditions): boolean {
  return object.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true
}

export class BenchSite {
  readonly lab: Lab
  readonly program: string
  readonly #processes = new Processes(DIR)
  #client: Client | undefined

  private constructor(lab: Lab, program: string) {
    this.lab = lab
    this.program = program
  }

  /** Bundles, installs a copy, makes the machines. What an earlier run left is removed first. */
  static async create(hosts: readonly string[]): Promise<BenchSite> {
    await sweep(hosts)
    return new BenchSite(await Lab.create({ ...LAB, hosts }), await installCopy(join(DIR, 'program')))
  }

  get url(): string {
    return `https://${this.lab.server.address}:${PORT}`
  }

  data(name: string): string {
    return join(DIR, name)
  }

  /** The administrator's client; the server must have started. */
  get client(): Client {
    this.#client ??= createClient(createHttpTransport(parseKubeconfig(readFileSync(pathsOf(this.data('server')).adminKubeconfig, 'utf8'))))
    return this.#client
  }

  /** The process of that name. */
  pid(name: string): number {
    const pid = this.#processes.get(name)?.child.pid
    if (pid === undefined) throw new Error(`find process "${name}": it was not started`)
    return pid
  }

  /** Starts a server; milliseconds from the start of the process until `/readyz` says ok. */
  async startServer(): Promise<number> {
    this.#client = undefined
    const begin = performance.now()
    this.#start('server', ['server', '--bind-address', this.lab.server.address, '--port', String(PORT), '--no-agent'])
    while (!(await answersReady(this.url))) {
      this.#mustLive('server')
      await sleep(5)
    }
    return performance.now() - begin
  }

  /** Starts an agent, joining when given a token; milliseconds until the API shows its node Ready. */
  async startAgent(name: string, token?: string): Promise<number> {
    const seen = this.#untilReady(name)
    const begin = performance.now()
    this.#start(name, ['agent', '--server', this.url, '--node-name', name, ...(token === undefined ? [] : ['--token', token])])
    await seen
    return performance.now() - begin
  }

  async token(node: string): Promise<string> {
    return (await this.skerry('token', 'create', '--node', node)).trim()
  }

  /** A command on the server's machine. @throws Error with what it said */
  async skerry(...args: string[]): Promise<string> {
    return must(`skerry ${args.join(' ')}`, await run(this.program, args, { env: { ...env(), SKERRY_DATA_DIR: this.data('server') } }))
  }

  /** Puts the test image on the server, from where nodes pull it. */
  async importImage(): Promise<void> {
    await this.skerry('image', 'import', await busyboxArchive(DIR, IMAGE, 'trap "exit 0" TERM; while :; do sleep 1000 & wait; done'))
  }

  /** Ends a process; an agent leaves its pods and its containerd behind. */
  async stop(name: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#processes.end(name, signal)
  }

  /** A node loses everything but its disk. */
  async losePower(name: string): Promise<void> {
    await this.stop(name, 'SIGKILL')
    await killall(this.data(name), this.lab.host(name).netns)
  }

  /** Any program on a machine, ended by `close`. */
  run(name: string, host: string, command: string, args: readonly string[]): ChildProcess {
    const child = this.lab.spawn(this.lab.host(host), command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: env() })
    return this.#processes.keep(name, new Running(child, this.#processes.log(name))).child
  }

  /** The containerd of a node. */
  containerd(node: string): number {
    return (JSON.parse(readFileSync(join(pathsOf(this.data(node)).run, 'containerd.pid'), 'utf8')) as { pid: number }).pid
  }

  /** Stops and removes everything. @throws Error naming what is left */
  async close(): Promise<void> {
    for (const name of this.#processes.names.filter((n) => n !== 'server')) await this.stop(name, 'SIGKILL')
    await this.stop('server')
    for (const name of this.lab.hosts.keys()) if (existsSync(this.data(name))) await killall(this.data(name), this.lab.host(name).netns)
    const left = ['server', ...this.lab.hosts.keys()].flatMap((n) => leftovers(this.data(n)))
    await this.lab.close()
    if (left.length > 0) throw new Error(`clean up the benchmark: ${left.join('; ')}: remove these by hand`)
    rmSync(DIR, { recursive: true, force: true })
  }

  #start(name: string, args: readonly string[]): void {
    const { netns } = name === 'server' ? this.lab.server : this.lab.host(name)
    this.#processes.start(name, this.program, [...args, '--data-dir', this.data(name)], { netns, env: env() })
  }

  #mustLive(name: string): void {
    const running = this.#processes.get(name)
    if (running && !running.runs) throw new Error(`start ${name}: it ended:\n${this.#processes.said(name).slice(-2000)}`)
  }

  async #untilReady(name: string): Promise<void> {
    const stop = AbortSignal.timeout(60_000)
    for (;;) {
      for await (const event of this.client.resource<WithConditions>(NODES).watch({ fieldSelector: `metadata.name=${name}` }, stop)) {
        if (event.type !== 'BOOKMARK' && event.type !== 'DELETED' && isReady(event.object)) return
      }
      this.#mustLive(name)
    }
  }
}

/** Copies the fresh bundle and the start script to `dir`, like an installation; the path of the command. */
export async function installCopy(dir: string): Promise<string> {
  must('bundle the program', await run(join(ROOT, 'bin/node'), ['tools/bundle.ts']))
  mkdirSync(dir, { recursive: true })
  for (const part of ['bin', 'dist']) cpSync(join(ROOT, part), join(dir, part), { recursive: true, filter: (path) => !/dist\/(images|clients)/.test(path) })
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'))
  return join(dir, 'bin/skerry')
}

async function sweep(hosts: readonly string[]): Promise<void> {
  for (const h of ['server', ...hosts]) if (existsSync(join(DIR, h))) await killall(join(DIR, h), `/run/netns/${LAB.name}-${h}`)
  rmSync(DIR, { recursive: true, force: true })
}

/** This process's environment without what would change the memory of the program. */
function env(): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _ca, NODE_OPTIONS: _options, ...rest } = process.env
  return rest
}

function answersReady(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const req = request(`${url}/readyz`, { rejectUnauthorized: false, agent: false, timeout: 1000 }, (res) => {
      res.resume()
      res.on('end', () => resolve(res.statusCode === 200))
      res.on('error', () => resolve(false))
    })
    req.on('error', () => resolve(false))
    req.on('timeout', () => req.destroy())
    req.end()
  })
}

export { eventually, sleep }
