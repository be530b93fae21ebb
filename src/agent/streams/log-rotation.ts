/**
 * Keeps container logs within their size: a log over the limit is copied aside and emptied in place (the runtime appends,
 * so it goes on at the start), and old copies beyond the count are removed. What is written in the instant between copy
 * and emptying may be lost; nothing else is.
 */
import { copyFile, readdir, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'

const log = logger('agent.logs')
/** How often sizes are looked at, ms. */
const LOOK_MS = 30_000

export interface RotationOptions {
  readonly clock: Clock
  /** Directory that holds one directory a pod. */
  readonly root: string
  readonly maxBytes: number
  readonly maxFiles: number
}

/** Looks at all logs every half minute until the signal aborts. */
export async function runLogRotation(options: RotationOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await options.clock.sleep(LOOK_MS, signal).catch(() => undefined)
    if (!signal.aborted) await rotateLogs(options)
  }
}

/** One look at every log. */
export async function rotateLogs(options: RotationOptions): Promise<void> {
  for (const pod of await readdir(options.root).catch(() => [])) {
    for (const container of await readdir(join(options.root, pod)).catch(() => [])) {
      const dir = join(options.root, pod, container)
      for (const name of await readdir(dir).catch(() => [])) {
        if (!name.endsWith('.log')) continue
        await rotate(dir, name, options).catch((error: unknown) => log.warn('log not rotated', { file: join(dir, name), error: messageOf(error) }))
      }
    }
  }
}

async function rotate(dir: string, name: string, options: RotationOptions): Promise<void> {
  const path = join(dir, name)
  if ((await stat(path)).size <= options.maxBytes) return
  const stamp = new Date(options.clock.now()).toISOString().replace(/[-:]/g, '').replace(/\.\d+Z$/, '')
  await copyFile(path, `${path}.${stamp}`)
  await truncate(path, 0)
  const old = (await readdir(dir)).filter((f) => f.startsWith(`${name}.`)).sort()
  for (const f of old.slice(0, Math.max(0, old.length - (options.maxFiles - 1)))) await rm(join(dir, f), { force: true })
}
