/**
 * The floor of the node's time on disk (`agent/clock`), so that a boot with a wrong clock knows the least that it can be. It is what the
 * server said last, carried on by the time that has passed; written once an hour, and when the agent ends.
 */
import { readFile } from 'node:fs/promises'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { FloorClock } from '../../base/floor-clock.ts'
import { logger } from '../../base/log.ts'

const log = logger('agent')
const WRITE_MS = 3_600_000
/** What no true time is before or after: a file that says so is damaged, ms since 1970. */
const SANE = { from: Date.UTC(2020), to: Date.UTC(2200) }
/** A server that is behind the floor by more has had its clock set: the floor follows, ms. Servers beside each other differ by less. */
const BACK_MS = 3_600_000
/** Behind the floor by more, the machine's clock is told to be wrong, ms. */
const TOLD_MS = 300_000

/** The clock with the floor that is kept in a file, and how it is kept. */
export interface KeptFloor {
  readonly clock: FloorClock
  /** The server has said what time it is, ms since 1970. */
  raise(serverMs: number): void
  /** Writes what is not yet on disk; never fails. */
  close(): Promise<void>
}

/** Reads the file; one that is missing or damaged is no floor. */
export async function keptFloor(path: string, inner: Clock): Promise<KeptFloor> {
  const kept = Number(await readFile(path, 'utf8').catch(() => '0'))
  const floor = isSane(kept) ? kept : 0
  const clock = new FloorClock(inner, floor)
  if (inner.now() < floor - TOLD_MS) log.warn("the machine's clock is behind the last known time, which counts until it is set", { clock: new Date(inner.now()).toISOString(), known: new Date(floor).toISOString() })
  let written = floor
  let known = false
  let writing: Promise<void> = Promise.resolve()
  const write = (): void => {
    const now = Math.floor(clock.floorMs)
    written = now
    writing = writing
      .then(() => writeFileAtomic(path, `${now}\n`, { sync: false }))
      .catch((error: unknown) => log.debug('the time is not kept', { why: messageOf(error) })) // Full or read-only: the former floor stays.
  }
  return {
    clock,
    raise(serverMs) {
      if (!isSane(serverMs)) return
      known = true
      if (clock.floorMs - serverMs > BACK_MS) {
        log.warn('the server says an earlier time than before, which counts from now on', { before: new Date(clock.floorMs).toISOString(), now: new Date(serverMs).toISOString() })
        clock.rebase(serverMs)
      } else clock.raise(serverMs)
      if (Math.abs(clock.floorMs - written) >= WRITE_MS) write()
    },
    async close() {
      if (known) write()
      await writing
    },
  }
}

const isSane = (ms: number): boolean => ms >= SANE.from && ms <= SANE.to
