/**
 * A container runtime in memory for tests of the agent: the port's whole behaviour without a kernel. Images are declared
 * with how their containers behave (run on, exit after a while, refuse to start); failures of any call can be ordered.
 * Time comes from a Clock, so a test decides when containers end. Not for production; nothing is isolated.
 */
import { Duplex, PassThrough, Writable } from 'node:stream'
import { systemClock, type Clock, type Timer } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import type {
  Container, ContainerConfig, ContainerRuntime, ExecResult, ImageInfo, ImageRuntime, Runtime, RuntimeEvent, RuntimeFeatures, Sandbox, SandboxConfig, SandboxRuntime,
  StreamRuntime, StreamSession,
} from './runtime.ts'

/** How containers of an image behave. */
export interface FakeBehaviour {
  /** Ends by itself after this, ms. @default runs until stopped */
  readonly exitAfterMs?: number
  /** @default 0 */
  readonly exitCode?: number
  /** `start` fails with this message. */
  readonly startError?: string
  /** Time the stop signal takes to end it, ms; over the grace period it is killed with 137. @default 0 */
  readonly stopAfterMs?: number
  /** Answers commands. @default exit 0 with the command's words on stdout */
  readonly exec?: (command: readonly string[]) => { exitCode: number; stdout?: string; stderr?: string }
}

export interface FakeImage extends FakeBehaviour {
  /** Present at the start, or only in the registry (a pull brings it). @default true */
  readonly present?: boolean
  readonly sizeBytes?: number
  readonly user?: string
}

interface FakeContainer {
  info: Container
  config: ContainerConfig
  timer?: Timer | undefined
  ended: (() => void)[]
}

/** Events a reader has not taken yet; over this many the reader is cut off and must relist. */
const EVENT_LIMIT = 1024

/** The Runtime port in memory; the methods beyond the port are the test's hand on it. */
export class FakeRuntime implements Runtime {
  readonly sandboxes: SandboxRuntime
  readonly containers: ContainerRuntime
  readonly images: ImageRuntime
  readonly streams: StreamRuntime
  /** What it says that it can do. @default as containerd 1.6, nothing more */
  features: RuntimeFeatures | undefined
  /** Every call in order, e.g. `containers.start c-3`. */
  readonly calls: string[] = []
  readonly #clock: Clock
  readonly #registry = new Map<string, FakeImage>()
  readonly #present = new Set<string>()
  /** What addresses of sandboxes are taken from. */
  podCIDR = '10.0.0.0/16'
  readonly #sandboxes = new Map<string, { info: Sandbox; config: SandboxConfig; ip: string }>()
  readonly #containers = new Map<string, FakeContainer>()
  readonly #readers = new Set<(event: RuntimeEvent | 'cut') => void>()
  readonly #failures = new Map<string, Error[]>()
  #next = 1
  #away = false

  constructor(options: { clock?: Clock; images?: Readonly<Record<string, FakeImage>> } = {}) {
    this.#clock = options.clock ?? systemClock
    for (const [reference, image] of Object.entries(options.images ?? {})) this.addImage(reference, image)
    this.sandboxes = this.#makeSandboxes()
    this.containers = this.#makeContainers()
    this.images = this.#makeImages()
    this.streams = this.#makeStreams()
  }

  /** Declares an image, or changes how later containers of it behave. */
  addImage(reference: string, image: FakeImage = {}): void {
    this.#registry.set(reference, image)
    if (image.present !== false) this.#present.add(reference)
  }

  /** The next call of this name (e.g. `sandboxes.run`, `images.pull`) throws `error`; may be ordered several times. */
  failNext(call: string, error: Error): void {
    this.#failures.set(call, [...(this.#failures.get(call) ?? []), error])
  }

  /** What the newest container of that name was made with. */
  configOf(name: string): ContainerConfig | undefined {
    return [...this.#containers.values()].findLast((c) => c.config.name === name)?.config
  }

  /** What the newest sandbox of that pod was made with. */
  sandboxOf(pod: string): SandboxConfig | undefined {
    return [...this.#sandboxes.values()].findLast((s) => s.config.name === pod)?.config
  }

  /** The runtime goes away (every call is `unavailable`, event readers are cut) or comes back with what it had. */
  setAway(away: boolean): void {
    this.#away = away
    if (away) for (const reader of this.#readers) reader('cut')
  }

  /** Ends a container from inside, as a crash does. */
  crash(id: string, exitCode = 1, reason = exitCode === 0 ? 'Completed' : 'Error'): void {
    this.#end(this.#container(id), exitCode, reason)
  }

  /** Power loss: nothing runs any more, everything is still listed. */
  powerLoss(): void {
    for (const c of this.#containers.values()) if (c.info.state !== 'exited') this.#end(c, 255, 'Unknown', false)
    for (const s of this.#sandboxes.values()) s.info = { ...s.info, state: 'not-ready' }
    for (const reader of this.#readers) reader('cut')
  }

  async status(): ReturnType<Runtime['status']> {
    this.#enter('status', '')
    return { name: 'fake', version: '0', ready: true, networkReady: true, message: '', ...(this.features ? { features: this.features } : {}) }
  }

  async *events(signal: AbortSignal): AsyncGenerator<RuntimeEvent> {
    this.#enter('events', '')
    const queue: RuntimeEvent[] = []
    let cut = false
    let wake = (): void => {}
    const reader = (event: RuntimeEvent | 'cut'): void => {
      if (event === 'cut' || queue.length >= EVENT_LIMIT) cut = true
      else queue.push(event)
      wake()
    }
    const onAbort = (): void => wake()
    this.#readers.add(reader)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      while (!signal.aborted) {
        const event = queue.shift()
        if (event) yield event
        else if (cut) throw new AppError('unavailable', 'read container events: the runtime ended the stream')
        else await new Promise<void>((resolve) => (wake = resolve))
      }
    } finally {
      this.#readers.delete(reader)
      signal.removeEventListener('abort', onAbort)
    }
  }

  #makeSandboxes(): SandboxRuntime {
    return {
      run: async (config) => {
        this.#enter('sandboxes.run', `${config.namespace}/${config.name}`)
        const n = this.#next++
        const { name, namespace, uid, attempt, labels, annotations } = config
        const info: Sandbox = { id: `s-${n}`, name, namespace, uid, attempt, state: 'ready', createdAtMs: this.#clock.now(), labels, annotations }
        this.#sandboxes.set(info.id, { info, config, ip: this.#address(n) })
        this.#emit('created', info.id)
        this.#emit('started', info.id)
        return info.id
      },
      stop: async (id) => {
        this.#enter('sandboxes.stop', id)
        const sandbox = this.#sandboxes.get(id)
        if (!sandbox || sandbox.info.state === 'not-ready') return
        for (const c of this.#containers.values()) if (c.info.sandboxId === id && c.info.state === 'running') this.#end(c, 137, 'Error')
        sandbox.info = { ...sandbox.info, state: 'not-ready' }
        this.#emit('exited', id)
      },
      remove: async (id) => {
        await this.sandboxes.stop(id)
        this.#enter('sandboxes.remove', id)
        for (const c of [...this.#containers.values()]) if (c.info.sandboxId === id) await this.containers.remove(c.info.id)
        if (this.#sandboxes.delete(id)) this.#emit('deleted', id)
      },
      list: async () => {
        this.#enter('sandboxes.list', '')
        return [...this.#sandboxes.values()].map((s) => s.info)
      },
      ips: async (id) => {
        this.#enter('sandboxes.ips', id)
        const sandbox = this.#sandbox(id)
        return sandbox.config.hostNetwork || sandbox.info.state === 'not-ready' ? [] : [sandbox.ip]
      },
    }
  }

  #makeContainers(): ContainerRuntime {
    return {
      create: async (sandboxId, config) => {
        this.#enter('containers.create', config.name)
        if (this.#sandbox(sandboxId).info.state !== 'ready') throw new AppError('internal', `create container "${config.name}": sandbox ${sandboxId} is not ready`)
        if (!this.#present.has(config.image)) throw new AppError('not-found', `create container "${config.name}": image "${config.image}" is not present`)
        const { name, attempt, image, labels, annotations } = config
        const info: Container = {
          id: `c-${this.#next++}`, sandboxId, name, attempt, state: 'created', image, imageRef: imageId(image), createdAtMs: this.#clock.now(),
          startedAtMs: 0, finishedAtMs: 0, exitCode: 0, reason: '', message: '', labels, annotations,
        }
        this.#containers.set(info.id, { info, config, ended: [] })
        this.#emit('created', info.id)
        return info.id
      },
      start: async (id) => {
        this.#enter('containers.start', id)
        const c = this.#container(id)
        if (c.info.state !== 'created') throw new AppError('internal', `start container ${id}: it is ${c.info.state}`)
        const behaviour = this.#registry.get(c.info.image) ?? {}
        if (behaviour.startError !== undefined) {
          this.#end(c, 128, 'StartError', false)
          c.info = { ...c.info, message: behaviour.startError }
          throw new AppError('internal', `start container ${id}: ${behaviour.startError}`)
        }
        c.info = { ...c.info, state: 'running', startedAtMs: this.#clock.now() }
        this.#emit('started', id)
        if (behaviour.exitAfterMs === undefined) return
        const code = behaviour.exitCode ?? 0
        c.timer = this.#clock.timer('fake container ends', behaviour.exitAfterMs, () => this.#end(c, code, code === 0 ? 'Completed' : 'Error'))
      },
      stop: async (id, graceSeconds) => {
        this.#enter('containers.stop', id)
        const c = this.#containers.get(id)
        if (c?.info.state !== 'running') return
        const needs = this.#registry.get(c.info.image)?.stopAfterMs ?? 0
        const killed = needs > graceSeconds * 1000
        const wait = Math.min(needs, graceSeconds * 1000)
        if (wait > 0) {
          c.timer?.cancel()
          c.timer = this.#clock.timer('fake container stops', wait, () => this.#end(c, killed ? 137 : 0, killed ? 'Error' : 'Completed'))
          await new Promise<void>((resolve) => c.ended.push(resolve))
        } else this.#end(c, killed ? 137 : 0, killed ? 'Error' : 'Completed')
      },
      remove: async (id) => {
        this.#enter('containers.remove', id)
        const c = this.#containers.get(id)
        if (!c) return
        if (c.info.state === 'running') this.#end(c, 137, 'Error')
        this.#containers.delete(id)
        this.#emit('deleted', id)
      },
      update: async (id, resources) => {
        this.#enter('containers.update', id)
        const c = this.#container(id)
        if (c.info.state !== 'running') throw new AppError('internal', `update container ${id}: it is ${c.info.state}`)
        c.config = { ...c.config, resources: { ...resources, memoryLimitBytes: resources.memoryLimitBytes || c.config.resources.memoryLimitBytes } }
      },
      reopenLog: async (id) => {
        this.#enter('containers.reopenLog', id)
        const c = this.#container(id)
        if (c.info.state !== 'running') throw new AppError('internal', `reopen log of container ${id}: it is ${c.info.state}`)
      },
      list: async () => {
        this.#enter('containers.list', '')
        return [...this.#containers.values()].map((c) => c.info)
      },
      inspect: async (id) => {
        this.#enter('containers.inspect', id)
        return this.#container(id).info
      },
      stats: async () => {
        this.#enter('containers.stats', '')
        const running = [...this.#containers.values()].filter((c) => c.info.state === 'running')
        return running.map((c) => ({ id: c.info.id, cpuNanos: 1e6, memoryBytes: 1 << 20, writableBytes: 4096 }))
      },
    }
  }

  #makeImages(): ImageRuntime {
    const infoOf = (reference: string): ImageInfo => {
      const image = this.#registry.get(reference)
      return { id: imageId(reference), tags: [reference], digests: [], sizeBytes: image?.sizeBytes ?? 1 << 20, user: image?.user ?? '', pinned: false }
    }
    const named = (reference: string): string | undefined => [...this.#present].find((r) => r === reference || imageId(r) === reference)
    return {
      list: async () => {
        this.#enter('images.list', '')
        return [...this.#present].map(infoOf)
      },
      find: async (reference) => {
        this.#enter('images.find', reference)
        const name = named(reference)
        return name === undefined ? undefined : infoOf(name)
      },
      pull: async (reference, _auth, signal) => {
        this.#enter('images.pull', reference)
        signal?.throwIfAborted()
        if (!this.#registry.has(reference)) throw new AppError('not-found', `pull image "${reference}": no registry has it`)
        this.#present.add(reference)
        return imageId(reference)
      },
      remove: async (id) => {
        this.#enter('images.remove', id)
        const name = named(id)
        if (name !== undefined) this.#present.delete(name)
      },
      usage: async () => {
        this.#enter('images.usage', '')
        return [...this.#present].reduce((sum, r) => sum + infoOf(r).sizeBytes, 0)
      },
    }
  }

  #makeStreams(): StreamRuntime {
    const run = (id: string, command: readonly string[]): ExecResult => {
      const c = this.#container(id)
      if (c.info.state !== 'running') throw new AppError('internal', `exec in container ${id}: it is ${c.info.state}`)
      const answer = this.#registry.get(c.info.image)?.exec?.(command) ?? { exitCode: 0, stdout: `${command.slice(1).join(' ')}\n` }
      return { exitCode: answer.exitCode, stdout: Buffer.from(answer.stdout ?? ''), stderr: Buffer.from(answer.stderr ?? '') }
    }
    return {
      execSync: async (id, command) => {
        this.#enter('streams.execSync', id)
        return run(id, command)
      },
      exec: async (id, command, options) => {
        this.#enter('streams.exec', id)
        const result = run(id, command)
        return session(options, (stdout, stderr) => {
          stdout.end(result.stdout)
          stderr?.end(result.stderr)
          return Promise.resolve(result.exitCode)
        })
      },
      attach: async (id, options) => {
        this.#enter('streams.attach', id)
        const c = this.#container(id)
        return session(options, async (stdout, stderr) => {
          await new Promise<void>((resolve) => (c.info.state === 'running' ? c.ended.push(resolve) : resolve()))
          stdout.end()
          stderr?.end()
          return c.info.exitCode
        })
      },
      portForward: async (sandboxId, port) => {
        this.#enter('streams.portForward', `${sandboxId} ${port}`)
        this.#sandbox(sandboxId)
        // An echo server on every port.
        const echo = new PassThrough()
        return Duplex.from({ readable: echo, writable: echo })
      },
    }
  }

  #address(n: number): string {
    const [a, b, c] = this.podCIDR.split('.').map(Number)
    return `${a}.${b}.${(c ?? 0) + (n >> 8)}.${n & 255}`
  }

  #enter(call: string, detail: string): void {
    this.calls.push(`${call} ${detail}`.trim())
    if (this.#away) throw new AppError('unavailable', `${call}: the container runtime is away`)
    const failure = this.#failures.get(call)?.shift()
    if (failure) throw failure
  }

  #sandbox(id: string): { info: Sandbox; config: SandboxConfig; ip: string } {
    const sandbox = this.#sandboxes.get(id)
    if (!sandbox) throw new AppError('not-found', `look up sandbox: "${id}" does not exist`)
    return sandbox
  }

  #container(id: string): FakeContainer {
    const c = this.#containers.get(id)
    if (!c) throw new AppError('not-found', `look up container: "${id}" does not exist`)
    return c
  }

  #end(c: FakeContainer, exitCode: number, reason: string, announce = true): void {
    if (c.info.state === 'exited') return
    c.timer?.cancel()
    c.info = { ...c.info, state: 'exited', exitCode, reason, finishedAtMs: this.#clock.now() }
    for (const fn of c.ended.splice(0)) fn()
    if (announce) this.#emit('exited', c.info.id)
  }

  #emit(type: RuntimeEvent['type'], containerId: string): void {
    for (const reader of this.#readers) reader({ type, containerId })
  }
}

function imageId(reference: string): string {
  return reference.startsWith('sha256:') ? reference : `sha256:${Buffer.from(reference).toString('hex').padEnd(64, '0').slice(0, 64)}`
}

function session(options: { stdin: boolean; tty: boolean }, run: (out: PassThrough, err: PassThrough | undefined) => Promise<number>): StreamSession {
  const stdout = new PassThrough()
  const stderr = options.tty ? undefined : new PassThrough()
  return {
    stdin: options.stdin ? new Writable({ write: (_chunk, _encoding, done) => done() }) : undefined,
    stdout,
    stderr,
    resize: () => {},
    exit: run(stdout, stderr),
    close: () => {
      stdout.end()
      stderr?.end()
    },
  }
}
