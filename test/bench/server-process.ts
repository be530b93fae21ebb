/**
 * The server as a user runs it: the bundle, as a process of its own on a fresh data directory, started by
 * `bin/skerry`; and what it costs, as the system counts it. Used by the benchmarks.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { Agent, request, type RequestOptions } from 'node:https'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const ROOT = join(import.meta.dirname, '../..')
/** The kernel's clock ticks a second, as Linux shows them to programs. */
const TICKS = 100

export interface ServerProcess {
  readonly pid: number
  readonly port: number
  /** Time from the start of the process to the first answered `/readyz`, ms. */
  readonly readyMs: number
  /** An HTTPS agent with the administrator's certificate. */
  agent(maxSockets: number): Agent
  /** Resident memory, MB of 10^6 bytes. */
  rssMb(): number
  /** CPU time used so far, s. */
  cpuSeconds(): number
  stop(): Promise<void>
}

/** Starts the server on `port`. `bundle`: the directory of a bundle; undefined runs the sources. `flags`: further flags of V8. */
export async function startServerProcess(port: number, bundle: string | undefined, flags: readonly string[] = []): Promise<ServerProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-server-'))
  // A place like an installation, with the launcher of users.
  const place = join(dir, 'program')
  mkdirSync(join(place, 'bin'), { recursive: true })
  const launcher = join(place, 'bin/skerry')
  writeFileSync(launcher, readFileSync(join(ROOT, 'bin/skerry'), 'utf8').replace('"$main" "$@"', `${flags.join(' ')} "$main" "$@"`), { mode: 0o755 })
  for (const part of bundle === undefined ? ['src', 'bin/node'] : ['bin/node']) symlinkSync(join(ROOT, part), join(place, part))
  if (bundle !== undefined) symlinkSync(resolve(bundle), join(place, 'dist'))
  const started = performance.now()
  const child = spawn(launcher, ['server', '--no-agent', '--data-dir', join(dir, 'data'), '--port', String(port), '--bind-address', '127.0.0.1', '--log-level', 'warn'], { stdio: ['ignore', 'inherit', 'inherit'] })
  const pid = child.pid as number
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await exited
    rmSync(dir, { recursive: true, force: true })
  }
  try {
    const ready = await untilReady(port, child)
    // Written right after the port has opened.
    while (!existsSync(join(dir, 'data/server/admin.kubeconfig'))) {
      if (child.exitCode !== null) throw new Error(`start server: it ended with ${child.exitCode}; does another one answer on port ${port}?`)
      await sleep(5)
    }
    const pem = (field: string): string => {
      const found = new RegExp(`${field}: (\\S+)`).exec(readFileSync(join(dir, 'data/server/admin.kubeconfig'), 'utf8'))?.[1]
      if (found === undefined) throw new Error(`read admin kubeconfig: it has no ${field}`)
      return Buffer.from(found, 'base64').toString()
    }
    return {
      pid,
      port,
      readyMs: ready - started,
      agent: (maxSockets) => new Agent({ keepAlive: true, maxSockets, ca: pem('certificate-authority-data'), cert: pem('client-certificate-data'), key: pem('client-key-data') }),
      rssMb: () => Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1.024e-3),
      cpuSeconds() {
        const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
        return (Number(fields[11]) + Number(fields[12])) / TICKS
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Bundles the sources as they are now into `directory` (below the repository's root). */
export function bundleInto(directory: string): string {
  const made = spawnSync(join(ROOT, 'bin/node'), [join(ROOT, 'tools/bundle.ts'), directory], { stdio: 'inherit' })
  if (made.status !== 0) throw new Error('bundle: tools/bundle.ts failed')
  return join(ROOT, directory)
}

async function untilReady(port: number, child: { exitCode: number | null }): Promise<number> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`start server: it ended with ${child.exitCode}`)
    const status = await new Promise<number>((resolve) => {
      const req = request({ host: '127.0.0.1', port, path: '/readyz', rejectUnauthorized: false, agent: false }, (res) => (res.resume(), resolve(res.statusCode ?? 0)))
      req.on('error', () => resolve(0))
      req.end()
    })
    if (status === 200) return performance.now()
    await sleep(5)
  }
}

export type Call = (method: string, path: string, body?: object, type?: string) => Promise<string>

/** Calls through `agent`; resolves with the body of a good answer. */
export function caller(port: number, agent: Agent): Call {
  return (method, path, body, type = 'application/json') =>
    new Promise((resolve, reject) => {
      const options: RequestOptions = { host: '127.0.0.1', port, method, path, agent, headers: body ? { 'content-type': type } : {} }
      const req = request(options, (res) => {
        const chunks: Buffer[] = []
        res.on('data', (c: Buffer) => chunks.push(c)).on('end', () => {
          const text = Buffer.concat(chunks).toString()
          if ((res.statusCode ?? 500) < 300) resolve(text)
          else reject(new Error(`${method} ${path}: ${text}`))
        })
        res.on('error', reject)
      })
      req.on('error', reject)
      req.end(body && JSON.stringify(body))
    })
}
