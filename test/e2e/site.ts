/**
 * A site for end-to-end tests: machines made of network namespaces, the real `skerry` processes on them, the real kubectl.
 * Everything carries the site's own names, `close` removes it also when a test failed, and `leftovers` finds what was not.
 * Used by the tests beside.
 */
import { execFileSync, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildImage, type ImageFile } from '../../src/images/mod.ts'
import { lockDirectory } from '../../src/cli/wire/lock.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { Lab, type Host } from '../kit/lab.ts'
import { killall, KUBECTL, must, Processes, run, SKERRY, type Ran } from '../kit/process.ts'

export { killall, KUBECTL, run as ran, SKERRY, type Ran } from '../kit/process.ts'
const [LAB_NAME = 'ee', LAB_BLOCK = '247'] = process.env['SKERRY_LAB']?.split(':') ?? []
/** All sites of these tests; one exists at a time, as the network block is theirs. `SKERRY_LAB=name:block` lets two runs go on at once. */
export const LAB = { name: LAB_NAME, block: Number(LAB_BLOCK) }

/** Waits for the lab to be free of other test processes on this machine; @returns how to give it back. */
export function takeLab(): Promise<() => Promise<void>> {
  return eventually(`the lab "${LAB.name}"`, () => lockDirectory(`/tmp/${LAB.name}-lab.lock`, 'site'), 600_000, 500)
}

/** Tries `check` until it gives something; says what it saw last when time is over. */
export async function eventually<T>(what: string, check: () => Promise<T | undefined | false> | T | undefined | false, timeoutMs = 30_000, everyMs = 200): Promise<T> {
  const end = performance.now() + timeoutMs
  for (let last = ''; ; ) {
    try {
      const value = await check()
      if (value !== undefined && value !== false) return value
    } catch (error) {
      last = ` (last: ${error instanceof Error ? error.message.trim().slice(0, 1500) : String(error)})`
    }
    if (performance.now() > end) throw new Error(`wait for ${what}: not within ${timeoutMs} ms${last}`)
    await sleep(everyMs)
  }
}

export class Site {
  readonly dir: string
  readonly lab: Lab
  readonly #processes: Processes
  readonly #instances = new Map<string, Host>()
  readonly #traces = new Set<string>()
  readonly #release: () => Promise<void>

  private constructor(dir: string, lab: Lab, release: () => Promise<void>) {
    this.dir = dir
    this.lab = lab
    this.#processes = new Processes(dir)
    this.#release = release
  }

  /** Makes the machines. `name` is part of the directory `/tmp/ee-<name>`; what an earlier run left there is removed first. */
  static async create(name: string, hosts: readonly string[]): Promise<Site> {
    const dir = `/tmp/${LAB.name}-${name}`
    const release = await takeLab()
    if (existsSync(dir)) {
      for (const h of ['server', ...hosts]) if (existsSync(join(dir, h))) await killall(join(dir, h), `/run/netns/${LAB.name}-${h}`)
      rmSync(dir, { recursive: true, force: true })
    }
    try {
      return new Site(dir, await Lab.create({ ...LAB, hosts }), release)
    } catch (error) {
      await release()
      throw error
    }
  }

  get url(): string {
    return `https://${this.lab.server.address}:6443`
  }

  /** Data directory of a process, by the name it was started with. */
  data(name: string): string {
    return join(this.dir, name)
  }

  log(name: string): string {
    return this.#processes.said(name)
  }

  /** Starts `skerry server` on the lab's server machine and waits until it is ready. */
  async startServer(...flags: string[]): Promise<void> {
    this.start('server', this.lab.server, SKERRY, ['server', '--data-dir', this.data('server'), '--bind-address', this.lab.server.address, ...(flags.length === 0 ? ['--no-agent'] : flags)])
    await this.serverReady()
  }

  async serverReady(): Promise<void> {
    await eventually('server ready', async () => this.alive('server') && (await this.kubectl('get', '--raw', '/readyz')).trim() === 'ok', 40_000)
  }

  /** Starts `skerry agent` on the machine of that name; with a token it joins. */
  startAgent(name: string, ...flags: string[]): ChildProcess {
    return this.start(name, this.lab.host(name), SKERRY, ['agent', '--server', this.url, '--node-name', name, '--data-dir', this.data(name), ...flags])
  }

  /** Starts an agent with a fresh token and waits until its node is Ready. */
  async join(name: string): Promise<void> {
    this.startAgent(name, '--token', (await this.skerry('token', 'create', '--node', name)).trim())
    await this.nodeReady(name)
  }

  async nodeReady(name: string): Promise<void> {
    await eventually(`node ${name} Ready`, () => (this.alive(name) || !this.#processes.get(name)) && this.kubectl('wait', '--for=condition=Ready', `node/${name}`, '--timeout=30s'), 60_000)
  }

  /** Any process on a machine, its output in `logs/<name>.log`. `data` names its instance, removed by `close`. */
  start(name: string, host: Host, command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
    this.#instances.set(this.data(name), host)
    return this.#processes.start(name, command, args, { netns: host.netns, env }).child
  }

  /** Remembers an instance that something else started, so that `close` ends it. */
  remember(dataDir: string, host: Host): void {
    this.#instances.set(dataDir, host)
  }

  alive(name: string): boolean {
    return this.#processes.runs(name)
  }

  /** Ends a process by a signal and waits for its end; its exit code, or its signal. */
  async kill(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<number | string> {
    return (await this.#processes.end(name, signal)) ?? 'never started'
  }

  /** The machine loses everything but its disk. */
  async losePower(name: string): Promise<void> {
    this.#trace(this.data(name))
    await this.kill(name)
    await killall(this.data(name), this.lab.host(name).netns)
  }

  /** Environment of an operator of a server, named as its process. */
  env(server = 'server'): NodeJS.ProcessEnv {
    // kubectl caches what a server can do under HOME: this site's own.
    return { ...process.env, HOME: this.dir, KUBECONFIG: join(this.data(server), 'server/admin.kubeconfig'), SKERRY_DATA_DIR: this.data(server) }
  }

  /** The real kubectl; its output. @throws Error with what it said */
  async kubectl(...args: string[]): Promise<string> {
    return must(`kubectl ${args.join(' ')}`, await this.try(...args))
  }

  /** The real kubectl with exit code and both outputs. */
  try(...args: string[]): Promise<Ran> {
    return run(KUBECTL, args, { env: this.env() })
  }

  /** `kubectl apply -f -`. */
  async apply(yaml: string): Promise<string> {
    return must('kubectl apply', await run(KUBECTL, ['apply', '-f', '-'], { env: this.env(), input: yaml }))
  }

  async get<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.kubectl('get', ...args, '-o', 'json')) as T
  }

  /** A skerry command on the server's machine. */
  async skerry(...args: string[]): Promise<string> {
    return must(`skerry ${args.join(' ')}`, await run(SKERRY, args, { env: this.env() }))
  }

  /** Any program on a machine. */
  on(host: string, program: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Ran> {
    return run('nsenter', [`--net=${this.lab.host(host).netns}`, program, ...args], { env })
  }

  #trace(dataDir: string): void {
    for (const file of podTraces(dataDir)) this.#traces.add(file)
  }

  /** Stops and removes everything; what is left nevertheless, for the test to refuse. */
  async close(): Promise<string[]> {
    for (const name of this.#processes.names.filter((n) => n !== 'server')) await this.kill(name)
    const ended = this.#processes.get('server') ? await this.kill('server', 'SIGTERM') : 0
    for (const [dataDir, host] of this.#instances) {
      this.#trace(dataDir)
      await killall(dataDir, host.netns)
    }
    const left = [...this.#instances].flatMap(([dataDir, host]) => leftovers(dataDir, host.netns))
    if (ended !== 0) left.push(`the server did not end well: ${ended}`)
    for (const file of this.#traces) if (existsSync(file)) left.push(`file ${file}`)
    await this.lab.close()
    if (process.env['SKERRY_KEEP'] === undefined) rmSync(this.dir, { recursive: true, force: true })
    await this.#release()
    return left
  }
}

/** Files outside an instance's own directories that exist because of its running pods: shims' sockets, CNI's cached results. */
export function podTraces(dataDir: string): string[] {
  const state = join(pathsOf(dataDir).run, 'containerd')
  const tasks = join(state, 'io.containerd.runtime.v2.task/k8s.io')
  const sockets = names(tasks).map((id) => text(join(tasks, id, 'address')).replace('unix://', ''))
  const results = names('/var/lib/cni/results').filter((f) => names(join(state, 'io.containerd.grpc.v1.cri/sandboxes')).some((id) => f.includes(id)))
  return [...new Set(sockets.filter((s) => s !== '')), ...results.map((f) => join('/var/lib/cni/results', f))]
}

/**
 * What of an instance is on this machine besides its data directory: processes, mounts, cgroups, directories, CNI results, and
 * in the network namespace it ran in (if that is still there) its bridge and table.
 */
export function leftovers(dataDir: string, netns?: string): string[] {
  const { instance, run } = pathsOf(dataDir)
  const hash = createHash('sha256').update(instance).digest('hex').slice(0, 8)
  const left: string[] = []
  for (const pid of readdirSync('/proc').filter((n) => /^\d+$/.test(n) && Number(n) !== process.pid)) {
    const line = text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ')
    if (line.includes(`${run}/`) || line.includes(`--data-dir ${dataDir} `)) left.push(`process ${pid}: ${line.slice(0, 200)}`)
  }
  for (const line of text('/proc/self/mountinfo').split('\n')) {
    const path = line.split(' ')[4] ?? ''
    if (path.startsWith(`${run}/`) || path.startsWith(`${dataDir}/`)) left.push(`mount ${path}`)
  }
  for (const root of ['/sys/fs/cgroup', ...names('/sys/fs/cgroup').map((n) => `/sys/fs/cgroup/${n}`)]) {
    if (existsSync(`${root}/skerry-${instance}`)) left.push(`cgroup ${root}/skerry-${instance}`)
  }
  if (existsSync(run)) left.push(`directory ${run}`)
  for (const n of names('/var/lib/cni/results')) if (n.startsWith(`skerry-${hash}-`)) left.push(`CNI result ${n}`)
  if (netns !== undefined && existsSync(netns)) {
    const seen = execFileSync('nsenter', [`--net=${netns}`, 'sh', '-c', 'ip -o link; nft list tables'], { encoding: 'utf8' })
    for (const line of seen.split('\n')) if (/sk-[0-9a-f]{8}|skerry_|veth/.test(line)) left.push(`in ${netns}: ${line}`)
  }
  return left
}

const names = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : [])

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // A process that ended meanwhile.
  }
}

/** An image of busybox with all its tools, and a command; `/bin/busybox` of this machine must be static. */
export async function busyboxArchive(dir: string, name: string, script: string): Promise<string> {
  const tools = ['sh', 'cat', 'sleep', 'echo', 'ls', 'httpd', 'wget', 'env', 'id', 'touch', 'rm', 'test', 'kill', 'stat', 'tar', 'hostname', 'mkdir', 'true', 'false', 'date', 'ps', 'readlink', 'printf', 'tr', 'nc']
  const files: ImageFile[] = [
    { path: 'bin/busybox', from: { copy: '/bin/busybox' }, mode: 0o755 },
    ...tools.map((t): ImageFile => ({ path: `bin/${t}`, from: { link: 'busybox' } })),
    { path: 'tmp/.keep', from: { bytes: '' } },
    { path: 'www/index.html', from: { bytes: `${name}\n` } },
  ]
  const path = join(dir, `${name.replaceAll(/[:/]/g, '-')}.tar`)
  await buildImage({ name, layers: [files], entrypoint: ['/bin/sh', '-c', script] }, path)
  return path
}
