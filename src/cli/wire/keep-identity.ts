/**
 * Keeps a running server's certificates fresh: looks every hour whether one is due, and whenever a file beside them changes
 * (`skerry certificate …`). What is new is taken up without a restart; connections that are open stay.
 */
import { watch } from 'node:fs'
import type { Clock } from '../../base/clock.ts'
import { hasCode } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { tlsDir, type ServerIdentity } from './identity.ts'

const log = logger('server.identity')
const LOOK_MS = 3_600_000
/** A command writes several files: they are read when it has been quiet so long, ms. */
const QUIET_MS = 300
/** While a change goes round among servers it is looked at so often, and after a failure. */
const SOON_MS = 5_000
const RETRY_MS = 60_000

export interface KeepIdentity {
  readonly dataDir: string
  readonly clock: Clock
  /** Reads the identity, renewing what is due. */
  readonly load: () => Promise<ServerIdentity>
  readonly current: () => ServerIdentity
  /** Takes up another. */
  readonly use: (next: ServerIdentity) => Promise<void>
  /** Servers that share an identity: brings the files up to what all have. True asks to be called again soon. */
  readonly sync?: (() => Promise<boolean>) | undefined
  /** Calls `fn` when there may be something to sync. Returns how to stop. */
  readonly onNews?: ((fn: () => void) => () => void) | undefined
}

/** Works until the signal aborts. */
export async function keepIdentity({ dataDir, clock, load, current, use, sync, onNews }: KeepIdentity, signal: AbortSignal): Promise<void> {
  let wake = Promise.withResolvers<void>()
  // Nobody waits for this watcher at the end: it must not keep the process alive.
  const files = watch(tlsDir(dataDir), { persistent: false }, () => wake.resolve())
  files.on('error', (error) => log.warn('changes of certificate files are not seen, they are looked for every hour', { error }))
  const stop = onNews?.(() => wake.resolve())
  // What was asked for, or changed, while this server was not running.
  if (sync) wake.resolve()
  let lookMs = LOOK_MS
  let shut = false
  /** What is this server's own goes on also while it may not see what all have. */
  const together = async (): Promise<number> => {
    try {
      const soon = await sync?.()
      if (shut) log.info('the cluster token opens the store again')
      shut = false
      return soon ? SOON_MS : LOOK_MS
    } catch (error) {
      if (!hasCode(error, 'forbidden')) throw error
      if (!shut) log.error('the cluster token was changed: this server goes on with the keys it has, does not hear of changes of these, and will not start again until it has the new one', { error })
      shut = true
      return RETRY_MS
    }
  }
  try {
    for (;;) {
      const rest = new AbortController()
      await Promise.race([clock.sleep(lookMs, AbortSignal.any([signal, rest.signal])), wake.promise]).finally(() => rest.abort())
      signal.throwIfAborted()
      await clock.sleep(QUIET_MS, signal)
      wake = Promise.withResolvers()
      try {
        lookMs = await together()
        const next = await load()
        if (JSON.stringify(next) === JSON.stringify(current())) continue
        await use(next)
        log.info('new certificates or keys taken up', { dir: tlsDir(dataDir) })
      } catch (error) {
        if (sync) lookMs = RETRY_MS
        log.error('certificates not renewed, those in use stay', { error })
      }
    }
  } finally {
    stop?.()
    files.close()
  }
}
