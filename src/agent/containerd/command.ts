/** Runs the machine's own programs (ip, nft, ctr, runc…) and finds them. Used by the agent's containerd, network and check. */
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../base/errors.ts'

/** Where Debian and most others keep system programs; a user's PATH often lacks the sbin ones. */
export const SYSTEM_PATH: readonly string[] = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin']

/** Output kept per stream, bytes; the rest is dropped. */
const OUTPUT_BYTES = 1 << 20

export interface CommandOptions {
  readonly input?: string | NodeJS.ReadableStream
  /** @default 60 s, then it is killed */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly env?: Readonly<Record<string, string>>
}

export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** The first executable of this name in `directories`, or undefined. */
export function findProgram(name: string, directories: readonly string[] = SYSTEM_PATH): string | undefined {
  for (const directory of directories) {
    const path = join(directory, name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not here; the next directory may have it.
    }
  }
  return undefined
}

/** Runs to the end, whatever the exit code. @throws AppError `not-found` when there is no such program, `timeout` */
export function tryCommand(program: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const path = program.includes('/') ? program : findProgram(program)
  if (path === undefined) {
    return Promise.reject(new AppError('not-found', `run ${program}: no such program in ${SYSTEM_PATH.join(':')}`))
  }
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: { PATH: SYSTEM_PATH.join(':'), LC_ALL: 'C', ...options.env },
      ...(options.signal && { signal: options.signal }),
    })
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      child.kill('SIGKILL')
    }, options.timeoutMs ?? 60_000)
    const stdout = collect(child.stdout)
    const stderr = collect(child.stderr)
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      if (timedOut) reject(new AppError('timeout', `run ${program} ${args.join(' ')}: no end after ${options.timeoutMs ?? 60_000} ms`))
      else resolve({ code: code ?? 255, stdout: stdout(), stderr: stderr() })
    })
    if (child.stdin) {
      // A program that ends before it has read everything tells so by its exit code.
      child.stdin.on('error', () => {})
      if (typeof options.input === 'string') child.stdin.end(options.input)
      else options.input?.pipe(child.stdin)
    }
  })
}

/** Runs to success and gives its stdout. @throws AppError `internal` with the program's own words */
export async function command(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await tryCommand(program, args, options)
  if (result.code === 0) return result.stdout
  const said = (result.stderr.trim() || result.stdout.trim()).slice(-2000)
  throw new AppError('internal', `run ${[program, ...args].join(' ')}: exit code ${result.code}: ${said}`)
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = []
  let size = 0
  stream?.on('data', (chunk: Buffer) => {
    if (size < OUTPUT_BYTES) chunks.push(chunk)
    size += chunk.length
  })
  return () => Buffer.concat(chunks).toString('utf8')
}
