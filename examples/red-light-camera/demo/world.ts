/**
 * The demo's machines and processes: a server and four nodes in namespaces behind NAT, a camera process beside each camera
 * node, the real kubectl, and calls to the collector. Removes everything it made, also what an earlier run left.
 */
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Lab, type Host } from '../../../test/kit/lab.ts'
import { callWithToken, killall, KUBECTL, must, Processes, ROOT, run, SKERRY, type Answer } from '../../../test/kit/process.ts'
import { until } from './tell.ts'

const NODE = join(ROOT, 'bin/node')

export const CAMERAS = ['cam-1', 'cam-2', 'cam-3'] as const
export const NODES = [...CAMERAS, 'till-1'] as const
export type Camera = (typeof CAMERAS)[number]

export class World {
  readonly dir: string
  readonly lab: Lab
  readonly #processes: Processes

  private constructor(dir: string, lab: Lab) {
    this.dir = dir
    this.lab = lab
    this.#processes = new Processes(dir)
  }

  /** Makes the machines; `dir` holds everything that is written. */
  static async create({ dir, name, block }: { dir: string; name: string; block: number }): Promise<World> {
    await World.sweep(dir, name)
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    return new World(dir, await Lab.create({ name, block, hosts: NODES }))
  }

  /** Removes what an earlier demo left, running or crashed. */
  static async sweep(dir: string, lab: string): Promise<void> {
    for (const name of ['server', ...NODES]) {
      if (existsSync(join(dir, name))) await killall(join(dir, name), `/run/netns/${lab}-${name}`)
    }
    rmSync(dir, { recursive: true, force: true })
  }

  get url(): string {
    return `https://${this.lab.server.address}:6443`
  }

  get kubeconfig(): string {
    return join(this.dir, 'server/server/admin.kubeconfig')
  }

  /** Path of the log of a process. */
  log(name: string): string {
    return this.#processes.log(name)
  }

  /** Starts the server; resolves when it says ready. */
  async startServer(): Promise<void> {
    this.#start('server', this.lab.server, [SKERRY, 'server', '--data-dir', join(this.dir, 'server'), '--bind-address', this.lab.server.address, '--no-agent'])
    await until('server ready', 30_000, async () => (await this.kubectl('get', '--raw', '/readyz')).trim() === 'ok', 100)
  }

  async token(node: string): Promise<string> {
    return (await this.skerry('token', 'create', '--node', node)).trim()
  }

  startAgent(name: string, token?: string): void {
    const join_ = token === undefined ? [] : ['--token', token]
    this.#start(name, this.lab.host(name), [SKERRY, 'agent', '--server', this.url, '--node-name', name, '--data-dir', join(this.dir, name), ...join_])
  }

  /** Starts the camera that hangs on a node. It speaks to the node's MQTT port. */
  startCamera(name: Camera, seed: number, cycles: number): void {
    const script = join(ROOT, 'examples/red-light-camera/camera/camera.ts')
    const broker = `mqtt://${this.lab.host(name).address}:1883`
    this.#start(`camera-${name}`, this.lab.host(name), [NODE, script, '--broker', broker, '--id', name, '--seed', String(seed), '--cycles', String(cycles), '--dir', this.cameraDir(name)])
  }

  cameraDir(name: Camera): string {
    return join(this.dir, 'cameras', name)
  }

  running(name: string): boolean {
    return this.#processes.runs(name)
  }

  /** Ends a process by signal and waits for it. */
  async kill(name: string, signal: NodeJS.Signals): Promise<void> {
    await this.#processes.end(name, signal)
  }

  /** A node loses everything but its disk: its processes, its pods', their mounts and namespaces, and what was in memory. */
  async losePower(name: string): Promise<void> {
    await this.kill(name, 'SIGKILL')
    await killall(join(this.dir, name), this.lab.host(name).netns)
  }

  /** The real kubectl. */
  async kubectl(...args: string[]): Promise<string> {
    return must(`kubectl ${args.join(' ')}`, await run(KUBECTL, args, { env: { ...process.env, KUBECONFIG: this.kubeconfig } }))
  }

  async skerry(...args: string[]): Promise<string> {
    return must(`skerry ${args.join(' ')}`, await run(SKERRY, [...args, '--data-dir', join(this.dir, 'server')]))
  }

  /** A call to the server with a Kubernetes token, as the reviewer's browser makes it. */
  call(method: string, path: string, token: string, body?: unknown): Promise<Answer> {
    return callWithToken(`${this.url}${path}`, { method, ca: join(this.dir, 'server/server/tls/ca.crt'), token, body: body === undefined ? undefined : JSON.stringify(body) })
  }

  /** GET inside a node's own network, e.g. of a host port. */
  async getAt(node: string, url: string): Promise<string> {
    const script = `require('http').get(process.argv[1],{timeout:1500},r=>{let t='';r.on('data',d=>t+=d);r.on('end',()=>{process.stdout.write(t);process.exit(r.statusCode===200?0:1)})}).on('error',()=>process.exit(1)).on('timeout',()=>process.exit(1))`
    return this.lab.exec(this.lab.host(node), NODE, ['-e', script, url])
  }

  /** Stops everything and removes it; with `keepData` the directory stays, for a look at the logs. */
  async close(keepData = false): Promise<void> {
    for (const c of CAMERAS) await this.kill(`camera-${c}`, 'SIGTERM')
    for (const n of NODES) await this.kill(n, 'SIGKILL')
    await this.kill('server', 'SIGTERM')
    for (const n of NODES) await killall(join(this.dir, n), this.lab.host(n).netns)
    await this.lab.close()
    if (!keepData) rmSync(this.dir, { recursive: true, force: true })
  }

  #start(name: string, host: Host, [command, ...args]: [string, ...string[]]): void {
    this.#processes.start(name, command, args, { netns: host.netns })
  }
}
