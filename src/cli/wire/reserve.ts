/**
 * Room kept aside on a server's disk. A start needs some: SQLite's index of its log, a lock, files that are replaced. A disk that
 * is full has none, so the file `server/reserve` is given up for that, and taken back as soon as the server runs: writes fail
 * then until there is room, reads go on, and the next start finds it again. It is made while there is plenty.
 */
import { randomFillSync } from 'node:crypto'
import { mkdir, open, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isDiskRefusal } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { logger } from '../../base/log.ts'

const log = logger('server.disk')

/** A start as the one before was seen to need some 10 kB; one of another version writes its definitions anew. */
export const RESERVE_BYTES = 4 << 20
/** Without room for this the reserve is given up for the start. */
const NEEDED_BYTES = 1 << 19
/** It is made only of so much, as others need the last room more; and with less it is tried what the disk takes. */
const PLENTY_BYTES = 8 * RESERVE_BYTES
/** A disk that was full is looked at so often, ms. */
const LOOK_MS = 300_000
const CHUNK = 1 << 16

/** The file of a data directory. */
export function reservePath(dataDir: string): string {
  return join(dataDir, 'server', 'reserve')
}

/** Gives the reserve up when the disk is too full to start on. @returns whether it did */
export async function giveUpReserve(dataDir: string): Promise<boolean> {
  const path = reservePath(dataDir)
  if ((await sizeOf(path)) === 0 || (await freeBytes(dirname(path))) >= PLENTY_BYTES) return false
  // What is free is not all to be had: ext4 keeps 2 % or 16 MiB even from root, and counts them.
  const trial = `${path}.trial`
  const fits = await fill(trial, NEEDED_BYTES)
  await rm(trial, { force: true })
  if (fits) return false
  await rm(path, { force: true })
  log.warn('the disk is full: the server starts with the room it kept aside; writes fail until there is more', { dir: dataDir })
  return true
}

/** Takes all room there is, up to the size of the reserve. @returns whether it is whole */
export async function takeReserve(dataDir: string): Promise<boolean> {
  const path = reservePath(dataDir)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  return fill(path, RESERVE_BYTES)
}

/** Sees to it that there is a reserve, until the signal aborts. */
export async function keepReserve(dataDir: string, clock: Clock, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      const path = reservePath(dataDir)
      if ((await sizeOf(path)) < RESERVE_BYTES && (await freeBytes(dirname(path))) >= PLENTY_BYTES) await takeReserve(dataDir)
    } catch (error) {
      log.debug('no room kept aside', { error })
    }
    await clock.sleep(LOOK_MS, signal)
  }
}

/** Makes the file at least that long, or as long as the disk lets it be. */
async function fill(path: string, bytes: number): Promise<boolean> {
  try {
    const file = await open(path, 'a', 0o600)
    try {
      // Not zeros: some file systems keep no room for those.
      const chunk = Buffer.allocUnsafe(CHUNK)
      for (let { size } = await file.stat(); size < bytes; ) {
        randomFillSync(chunk)
        size += (await file.write(chunk, 0, Math.min(CHUNK, bytes - size))).bytesWritten
      }
      return true
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isDiskRefusal(error)) return false
    throw error
  }
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    (s) => s.size,
    () => 0,
  )
}

/** What this user may still write. Unknown is plenty. */
async function freeBytes(directory: string): Promise<number> {
  return statfs(directory).then(
    ({ bfree, bavail, bsize }) => (process.getuid?.() === 0 ? bfree : bavail) * bsize,
    () => Infinity,
  )
}
