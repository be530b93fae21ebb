/**
 * Quotas on a store that several servers share: each write that counts is noted first in one text a namespace, which is compared
 * and swapped. Who notes has seen everything written before and all notes of others, so together they never exceed a quota.
 *
 * A note counts until its object's change is seen, or for {@link CLAIM_MS} when that never comes (the write was refused later):
 * by the clock of who looks, so clocks need not agree.
 */
import { AppError, hasCode } from '../../base/errors.ts'
import { newestOf } from '../../store/mod.ts'
import type { Core } from '../core.ts'
import { ROOT } from '../watch-cache.ts'

/** Longer than a write takes from its admission to its end. */
const CLAIM_MS = 10_000
/** Others that may come first, one after the other. */
const TRIES = 64

/** Amounts by quota and by name in it, as quantities' texts. */
export type Amounts = Readonly<Record<string, Readonly<Record<string, string>>>>

interface Note {
  readonly id: string
  /** Of the object that is written, and its storage's name. */
  readonly key: string
  readonly storage: string
  /** Its change comes after this revision. */
  readonly base: number
  readonly amounts: Amounts
}

/** When this server first saw each note, ms; notes that are gone are forgotten. */
const firstSeen = new WeakMap<Core, Map<string, number>>()

/** True when other servers write to the store too. */
export function isShared(core: Core): boolean {
  return newestOf(core.store) === undefined
}

const keyOf = (namespace: string): string => `${ROOT}ranges/quotas/${namespace}`

/**
 * Notes a write to `key`. `check` is given what others have noted and not done yet, and says what this write adds.
 * @throws what `check` throws; AppError `unavailable` when too many others write at the same time
 */
export async function claimQuota(core: Core, namespace: string, storage: string, key: string, check: (others: readonly Amounts[]) => Amounts): Promise<void> {
  for (let tries = 0; tries < TRIES; tries++) {
    const { entry, revision } = await core.store.get(keyOf(namespace))
    await core.cache.waitFor(revision, 10_000)
    const others = pending(core, entry ? (JSON.parse(entry.value) as Note[]) : [])
    const amounts = check(others.map((n) => n.amounts))
    if (Object.keys(amounts).length === 0) return
    const mine: Note = { id: crypto.randomUUID(), key, storage, base: revision, amounts }
    try {
      await core.store.put(keyOf(namespace), JSON.stringify([...others, mine]), entry?.revision ?? 0)
      return
    } catch (error) {
      if (!hasCode(error, 'conflict') && !hasCode(error, 'exists')) throw error
    }
  }
  throw new AppError('unavailable', `note the use of quotas in namespace "${namespace}": ${TRIES} other writers came first; try again`)
}

/** Forgets a namespace without quotas. */
export async function dropQuotaNotes(core: Core, namespace: string): Promise<void> {
  const { entry } = await core.store.get(keyOf(namespace))
  if (!entry) return
  await core.store.delete(entry.key, entry.revision).catch((error: unknown) => {
    if (!hasCode(error, 'conflict') && !hasCode(error, 'not-found')) throw error
  })
}

function pending(core: Core, notes: readonly Note[]): Note[] {
  const now = core.clock.monotonic()
  const known = firstSeen.get(core) ?? new Map<string, number>()
  const seen = new Map<string, number>()
  const live = notes.filter(({ id, key, storage, base }) => {
    const since = known.get(id) ?? now
    seen.set(id, since)
    if (now - since > CLAIM_MS) return false
    const cache = core.cache.resource(storage)
    const changes = cache.since(base)
    return changes ? !changes.some((e) => e.entry.key === key) : cache.get(key) === undefined
  })
  // Of other namespaces those stay that may still be asked for.
  for (const [id, since] of known) if (now - since <= CLAIM_MS && !seen.has(id)) seen.set(id, since)
  firstSeen.set(core, seen)
  return live
}
