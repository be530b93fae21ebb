/**
 * Programs as a user runs them, on this machine or on a host of a lab: run to their end, or kept going by name with what they
 * say in a file. What sites of tests, benchmarks and the demo share.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { ROOT } from '../../tools/files.ts'
import { until } from './until.ts'

export { ROOT }
/** The command in this checkout. */
export const SKERRY = join(ROOT, 'bin/skerry')
/** The real kubectl, where `tools/unpack-clients.ts` puts it. */
export const KUBECTL = join(ROOT, 'dist/clients/kubectl')

/** How a command ended, and all it said. */
export interface Ran {
  /** -1: it was killed, or could not be started. */
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface RunOptions {
  /** The whole environment. @default this process's */
  readonly env?: NodeJS.ProcessEnv
  readonly input?: string | Uint8Array
  /** Then it is killed. @default 120 s */
  readonly timeoutMs?: number
  readonly uid?: number
  /** @default the checkout */
  readonly cwd?: string
}

/** Runs a command to its end; never throws for its exit code. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve) => {
    const own = { env: options.env ?? process.env, maxBuffer: 64 << 20, timeout: options.timeoutMs ?? 120_000, killSignal: 'SIGKILL', cwd: options.cwd ?? ROOT, ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }) } as const
    const child = execFile(command, args, own, (error, out, err) => {
      const ended = error === null || typeof error.code === 'number'
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, out, err: ended ? err : `${err}${error.message}` })
    })
    child.stdin?.on('error', () => {}) // A command that wants no input may end before it is given.
    child.stdin?.end(options.input ?? '')
  })
}

/** What it printed. @throws Error with what it said when its exit code is not 0 */
export function must(what: string, { code, out, err }: Ran): string {
  if (code !== 0) throw new Error(`${what}: exit code ${code}: ${err || out}`)
  return out
}

/** A process that goes on; its words are in a file. */
export class Running {
  readonly child: ChildProcess
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>
  readonly #path: string
  readonly #from: number

  /** @param from where its own words begin in the file */
  constructor(child: ChildProcess, path: string, from = 0) {
    this.child = child
    this.#path = path
    this.#from = from
    this.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal ?? -1)))
  }

  /** All it has said so far, on both streams. */
  get said(): string {
    return readFileSync(this.#path).subarray(this.#from).toString()
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

  /** Ends it and waits for that; what does not heed the signal within 20 s is killed. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    if (!this.runs) return this.ended
    this.child.kill(signal)
    const slow = setTimeout(() => this.child.kill('SIGKILL'), 20_000)
    try {
      return await this.ended
    } finally {
      clearTimeout(slow)
    }
  }
}

/** How a process is started. */
export interface Start {
  /** Network namespace of the machine it runs on. @default this machine's */
  readonly netns?: string | undefined
  /** As in {@link RunOptions}. */
  readonly env?: NodeJS.ProcessEnv
}

/** Processes by name. Each says its words into `<dir>/logs/<name>.log`, one start after the other. */
export class Processes {
  readonly #dir: string
  readonly #all = new Map<string, Running>()

  constructor(dir: string) {
    this.#dir = join(dir, 'logs')
    mkdirSync(this.#dir, { recursive: true, mode: 0o755 })
  }

  get names(): string[] {
    return [...this.#all.keys()]
  }

  get(name: string): Running | undefined {
    return this.#all.get(name)
  }

  runs(name: string): boolean {
    return this.#all.get(name)?.runs === true
  }

  /** Path of what those of that name said. */
  log(name: string): string {
    return join(this.#dir, `${name}.log`)
  }

  /** All that those of that name said. */
  said(name: string): string {
    return existsSync(this.log(name)) ? readFileSync(this.log(name), 'utf8') : ''
  }

  /** Starts one, in a session of its own, so that the terminal's signals are not for it. A former one of the name should have ended. */
  start(name: string, command: string, args: readonly string[], { netns, env = process.env }: Start = {}): Running {
    const log = openSync(this.log(name), 'a')
    const from = fstatSync(log).size
    const [program, ...words] = netns === undefined ? [command, ...args] : ['nsenter', `--net=${netns}`, command, ...args]
    // However full the machine of the tests is, nodes of a test evict nothing unless it says so.
    const child = spawn(program as string, words, { stdio: ['ignore', log, log], detached: true, env: { SKERRY_EVICTION_HARD: 'memory.available<20Mi', ...env } })
    closeSync(log)
    return this.keep(name, new Running(child, this.log(name), from))
  }

  /** Keeps one that was started otherwise, for `end`. */
  keep(name: string, running: Running): Running {
    this.#all.set(name, running)
    return running
  }

  /** Ends one and waits for that; how it ended, or undefined when none of the name was started. */
  async end(name: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<number | NodeJS.Signals | undefined> {
    return this.#all.get(name)?.end(signal)
  }
}

/** Ends all of the instance with this data directory: containerd, pods, mounts, network. Needs root. */
export function killall(dataDir: string, netns?: string): Promise<Ran> {
  return run(join(ROOT, 'script/killall.sh'), ['--data-dir', dataDir, ...(netns !== undefined && existsSync(netns) ? ['--netns', netns] : [])])
}

/** The answer to a call. */
export interface Answer {
  readonly status: number
  readonly body: string
}

/** A call over HTTPS with a Kubernetes token; `ca` is the path of the server's certificate authority. */
export function callWithToken(url: string, { method, ca, token, body }: { method: string; ca: string; token: string; body?: string | undefined }): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
    const req = request(url, { method, ca: readFileSync(ca), headers }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (c: Buffer) => chunks.push(c))
      res.on('error', reject)
      res.on('end', () => resolve({ status: res.statusCode ?? 0, body: Buffer.concat(chunks).toString() }))
    })
    req.on('error', reject)
    req.end(body)
  })
}
