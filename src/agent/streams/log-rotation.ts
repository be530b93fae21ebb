/**
 * Keeps container logs within their size: a log over the limit is renamed, and the runtime is told to go on in a new file of
 * the old name, so that no line is lost; old files beyond the count are removed. A log that is missing while its container
 * runs was renamed by an agent that ended before it could tell the runtime, which it does then.
 */
import { access, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'

const log = logger('agent.logs')
/** How often sizes are looked at, ms: the kubelet's figure. */
const LOOK_MS = 10_000

/** The log of a running container. */
export interface RunningLog {
  readonly containerId: string
  readonly path: string
}

export interface RotationOptions {
  readonly clock: Clock
  /** The logs that grow now. */
  readonly logs: () => readonly RunningLog[]
  /** The runtime goes on in a new file of the log's path. */
  readonly reopen: (containerId: string) => Promise<void>
  readonly maxBytes: number
  /** Files of a container, the current one included; at least 2. */
  readonly maxFiles: number
}

/** Looks at all logs every ten seconds until the signal aborts. */
export async function runLogRotation(options: RotationOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await options.clock.sleep(LOOK_MS, signal).catch(() => undefined)
    if (!signal.aborted) await rotateLogs(options)
  }
}

/** One look at every log. */
export async function rotateLogs(options: RotationOptions): Promise<void> {
  for (const one of options.logs()) {
    await rotate(one, options).catch((error: unknown) => log.warn('log not rotated', { file: one.path, error: messageOf(error) }))
  }
}

async function rotate({ containerId, path }: RunningLog, options: RotationOptions): Promise<void> {
  const seen = await stat(path).catch(() => undefined)
  if (!seen) return await options.reopen(containerId)
  if (seen.size <= options.maxBytes) return
  const stamp = new Date(options.clock.now()).toISOString().replace(/[-:]/g, '').replace(/\.\d+Z$/, '')
  const aside = `${path}.${stamp}`
  // Two within a second: the next look is soon enough.
  if (await exists(aside)) return
  await rename(path, aside)
  try {
    await options.reopen(containerId)
  } catch (error) {
    // The runtime still writes into the file that was renamed: it gets its name back.
    if (!(await exists(path))) await rename(aside, path)
    throw error
  }
  const old = (await readdir(dirname(path))).filter((f) => f.startsWith(`${basename(path)}.`)).sort()
  for (const f of old.slice(0, Math.max(0, old.length - (options.maxFiles - 1)))) await rm(join(dirname(path), f), { force: true })
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}
