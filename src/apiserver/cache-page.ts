/**
 * A page of a resource's state out of memory, as of now or as of a moment ago: the keys of now, corrected by what has changed
 * since. Pure. Its cost grows with the page and with the changes since, not with the resource. Used by `watch-cache.ts`.
 */
import type { CacheEntry } from './watch-cache.ts'

export interface PageOptions {
  /** All keys below; ends in a slash. */
  readonly prefix: string
  /** Begin behind this key; empty begins at the start. */
  readonly after: string
  /** Most entries; 0 is all. */
  readonly limit: number
  /** Which entries count; those that do not are passed over. @default all */
  readonly matches?: ((entry: CacheEntry) => boolean) | undefined
}

export interface CachePage {
  readonly items: CacheEntry[]
  /** Entries behind the last one looked at, whether they match or not. */
  readonly remaining: number
}

/** What some keys held at an earlier moment; undefined: nothing. Keys that are not in it hold what they hold now. */
export type Past = ReadonlyMap<string, CacheEntry | undefined>

/** @param keys the keys of now, sorted  @param entryOf what such a key holds now */
export function cachePage(keys: readonly string[], entryOf: (key: string) => CacheEntry | undefined, past: Past, options: PageOptions): CachePage {
  const { prefix, after, limit, matches } = options
  const start = after > prefix ? `${after}\0` : prefix
  let at = lowerBound(keys, start)
  const end = lowerBound(keys, `${prefix}\uffff`)
  /** Gone by now, but there at the time. */
  const gone: string[] = []
  let hidden = 0
  for (const [key, entry] of past) {
    if (key < start || !key.startsWith(prefix)) continue
    if (entryOf(key) === undefined) {
      if (entry !== undefined) gone.push(key)
    } else if (entry === undefined) hidden++
  }
  gone.sort()
  let nextGone = 0
  let remaining = end - at - hidden + gone.length
  const items: CacheEntry[] = []
  const most = limit === 0 ? Infinity : limit
  while (remaining > 0 && items.length < most) {
    const [now, former] = [at < end ? keys[at] : undefined, gone[nextGone]]
    let key: string
    if (former !== undefined && (now === undefined || former < now)) {
      key = former
      nextGone++
    } else if (now !== undefined) {
      key = now
      at++
    } else break
    const entry = past.has(key) ? past.get(key) : entryOf(key)
    if (!entry) continue
    remaining--
    if (!matches || matches(entry)) items.push(entry)
  }
  return { items, remaining }
}

/** Where in sorted `keys` the first one is that is not before `key`. */
export function lowerBound(keys: readonly string[], key: string): number {
  let low = 0
  for (let high = keys.length; low < high; ) {
    const mid = (low + high) >>> 1
    if ((keys[mid] as string) < key) low = mid + 1
    else high = mid
  }
  return low
}
