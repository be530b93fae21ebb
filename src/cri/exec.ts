/**
 * An interactive command in a running container, by containerd's task service and named pipes on the host: the way CRI
 * itself does it, but with an end of stdin that arrives, an exit code that is a number, and no copy through containerd.
 * The pipes live in a directory of their own per session and go with it. Used by `containerd.ts`.
 */
import { execFile } from 'node:child_process'
import { constants, openSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { promisify } from 'node:util'
import type { Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import type { GrpcChannel } from './grpc.ts'
import type { StreamSession } from './runtime.ts'

export interface ExecOptions {
  readonly ioDirectory: string
  readonly clock: Clock
  readonly containerId: string
  readonly command: readonly string[]
  readonly stdin: boolean
  readonly tty: boolean
}

/** Output still in the pipes after the command's end is waited for this long, ms: a child left behind may hold them open. */
const DRAIN_MS = 2000
const SIGKILL = 9
/** containerd's type of an OCI process written as JSON. */
const PROCESS_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Process'

/** Starts the command; the session ends with it or with `close()`, which kills it. */
export async function execInTask(channel: GrpcChannel, options: ExecOptions): Promise<StreamSession> {
  const { containerId, tty } = options
  if (options.command.length === 0) throw new AppError('invalid', 'exec: the command is empty')
  const spec = await processSpec(channel, options)
  await mkdir(options.ioDirectory, { recursive: true, mode: 0o700 })
  const directory = await mkdtemp(join(options.ioDirectory, 'exec-'))
  const execId = directory.slice(directory.lastIndexOf('/') + 1)
  const target = { containerId, execId }
  const opened: Socket[] = []
  try {
    const path = (name: string, wanted: boolean): string => (wanted ? join(directory, name) : '')
    const paths = { stdin: path('in', options.stdin), stdout: path('out', true), stderr: path('err', !tty) }
    await promisify(execFile)('mkfifo', ['-m', '600', ...Object.values(paths).filter((p) => p !== '')])
    const stdout = fifo(paths.stdout, 'read', opened)
    const stderr = tty ? undefined : fifo(paths.stderr, 'read', opened)
    const input = options.stdin ? fifo(paths.stdin, 'write', opened) : undefined

    await channel.unary('tasks', 'Exec', { ...target, ...paths, terminal: tty, spec })
    const waiting = channel.unary<{ exitStatus: number }>('tasks', 'Wait', target, { timeoutMs: 0 })
    // A failed start rejects the wait as well; only the start's error is told.
    waiting.catch(() => {})
    try {
      await channel.unary('tasks', 'Start', target)
    } catch (error) {
      await channel.unary('tasks', 'DeleteProcess', target).catch(() => {})
      throw error
    }
    const drained = Promise.allSettled([finished(stdout, { writable: false }), stderr && finished(stderr, { writable: false })])
    const exit = (async () => {
      try {
        const { exitStatus } = await waiting
        const stop = new AbortController()
        await Promise.race([drained, options.clock.sleep(DRAIN_MS, stop.signal).catch(() => {})])
        stop.abort()
        return exitStatus
      } finally {
        await channel.unary('tasks', 'DeleteProcess', target).catch(() => {})
        for (const s of opened) s.destroy()
        await rm(directory, { recursive: true, force: true })
      }
    })()
    // The caller may never ask for the exit; its failure is then nobody's news.
    exit.catch(() => {})
    return {
      stdin: input && stdinOf(input, () => channel.unary('tasks', 'CloseIO', { ...target, stdin: true })),
      stdout,
      stderr,
      resize: (width, height) => void channel.unary('tasks', 'ResizePty', { ...target, width, height }).catch(() => {}),
      exit,
      close: () => void channel.unary('tasks', 'Kill', { ...target, signal: SIGKILL }).catch(() => {}),
    }
  } catch (error) {
    for (const s of opened) s.destroy()
    await rm(directory, { recursive: true, force: true })
    throw error
  }
}

/** The container's own process (user, environment, capabilities, limits) with another command. */
async function processSpec(channel: GrpcChannel, options: ExecOptions): Promise<object> {
  const { container } = await channel.unary<{ container: { spec: { value: Buffer } } }>('containers', 'Get', { id: options.containerId })
  interface Process { args: string[]; terminal?: boolean; env?: string[]; commandLine?: string }
  const { process } = JSON.parse(container.spec.value.toString('utf8')) as { process: Process }
  process.args = [...options.command]
  process.terminal = options.tty
  delete process.commandLine
  if (options.tty && !process.env?.some((e) => e.startsWith('TERM='))) process.env = [...(process.env ?? []), 'TERM=xterm']
  return { typeUrl: PROCESS_TYPE, value: Buffer.from(JSON.stringify(process)) }
}

/** Opens one end without waiting for the other; the descriptor is polled, so it never blocks a thread. */
function fifo(path: string, end: 'read' | 'write', opened: Socket[]): Socket {
  // Read and write on our writing end: a FIFO without a reader yet refuses a plain writer.
  const mode = end === 'read' ? constants.O_RDONLY : constants.O_RDWR
  const fd = openSync(path, mode | constants.O_NONBLOCK)
  const socket = new Socket({ fd, readable: end === 'read', writable: end === 'write' })
  socket.on('error', () => {})
  opened.push(socket)
  return socket
}

function stdinOf(socket: Socket, closeIO: () => Promise<unknown>): Writable {
  return new Writable({
    write: (chunk: Buffer, _encoding, callback) => void socket.write(chunk, callback),
    // Written chunks have been handed to the pipe by now. A FIFO cannot be half-closed: our end goes, then the shim's.
    final: (callback) => {
      socket.destroy()
      // Refused when the command has ended before its input: nobody reads any more.
      void closeIO().catch(() => {}).finally(callback)
    },
    destroy: (error, callback) => {
      socket.destroy()
      callback(error)
    },
  })
}
