/**
 * watch: initial events if asked for, then the window, then live, each change once and in order. An event is encoded once for
 * all watchers that want the same shape. Objects that enter or leave a selector show as ADDED or DELETED.
 * Bounds: {@link QUEUE_BYTES} wait for a slow reader, then the watch ends and the client resumes; `timeoutSeconds` ends it
 * cleanly (default: 30 to 60 minutes, spread so that a fleet does not come back at once).
 */
import { metaVersion } from '../negotiate.ts'
import type { ApiResponse } from '../../api/contract.ts'
import { expired, toStatus } from '../../api/status.ts'
import { AppError } from '../../base/errors.ts'
import { answer, type Call, type Core } from '../core.ts'
import { hasConverter } from '../conversion.ts'
import { encodeOne, type Stored } from '../encode.ts'
import { apiVersionOf, keyOf, storageName } from '../resources.ts'
import { selection } from '../selection.ts'
import type { CacheEvent } from '../watch-cache.ts'
import { WatchStream } from '../watch-stream.ts'
import { checkListOptions, checkTable, flag, wholeNumber } from './options.ts'
import { watchConverted } from './watch-converted.ts'
import { reach, revisionOf } from './read.ts'

const QUEUE_BYTES = 4 << 20
/** Waiting bytes after which initial events pause until the reader has taken them. */
const INITIAL_BYTES = 1 << 20
/** A bookmark comes this often while revisions go on; one that would say nothing new is not sent. */
const BOOKMARK_MS = 60_000
/** The same for nodes, whose lines are metered: what they watch seldom changes, and a watch resumes by its resource's own changes. */
const NODE_BOOKMARK_MS = 600_000

/**
 * GET with `watch`: a stream of JSON lines. A revision that is too old (410) or in the future (504) is an ERROR event, as watchers
 * of Kubernetes expect it. @throws ApiError 400, 422 before it starts
 */
export async function watch(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query, accepted } = call
  checkListOptions(query, true)
  checkTable(call)
  if (hasConverter(def)) return watchConverted(core, call, watch)
  const select = selection(def, query)
  const cache = core.cache.resource(storageName(def))
  const key = keyOf(def, info.namespace, info.name)
  const inScope = (k: string): boolean => (info.name === undefined ? k.startsWith(key) : k === key)
  const bookmarks = flag(query, 'allowWatchBookmarks') ?? false
  const initial = flag(query, 'sendInitialEvents')
  const asked = revisionOf(query.get('resourceVersion'))
  try {
    if (asked === undefined) await core.cache.refresh()
    else await reach(core, asked)
  } catch (error) {
    if (error instanceof AppError && error.code === 'timeout') return failed(call, error)
    throw error
  }

  // From here to `subscribe` nothing awaits, so no change falls between what is replayed and what follows live.
  const state = initial ?? (asked === undefined || asked === 0)
  const start = core.cache.revision
  const replay = state ? [] : cache.since(asked === undefined || asked === 0 ? start : asked)
  if (!replay) return failed(call, expired(`too old resource version: ${asked} (${start})`))
  const first = state ? [...cache.scan(info.name === undefined ? key : key)].filter((e) => inScope(e.key) && (!select || select.matches(e))) : []

  const shape = `${accepted.shape}${accepted.beta ? 'beta' : ''}:${query.get('includeObject') ?? ''}:${apiVersionOf(def)}`
  const memoKeys = { ADDED: `ADDED:${shape}`, MODIFIED: `MODIFIED:${shape}`, DELETED: `DELETED:${shape}` }
  let columnsSent = false
  const encode = (type: string, stored: Stored): Uint8Array => {
    const text = encodeOne(call, stored, core.clock.now(), !columnsSent)
    columnsSent = true
    return Buffer.from(`{"type":"${type}","object":${text}}\n`)
  }
  /** The revision that the client has heard of. */
  let told = state || !asked ? start : asked
  const bookmark = (revision: number, end = false): Uint8Array => {
    told = revision
    const metadata = { resourceVersion: String(revision), creationTimestamp: null, ...(end ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}) }
    const object = { kind: accepted.shape === 'meta' ? 'PartialObjectMetadata' : def.kind, apiVersion: accepted.shape === 'meta' ? metaVersion(accepted) : apiVersionOf(def), metadata }
    if (accepted.shape !== 'table') return Buffer.from(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`)
    const table = { kind: 'Table', apiVersion: metaVersion(accepted), metadata, columnDefinitions: null, rows: [] }
    return Buffer.from(`${JSON.stringify({ type: 'BOOKMARK', object: table })}\n`)
  }
  const deliver = (event: CacheEvent): void => {
    if (!inScope(event.entry.key)) return
    const now = event.type === 'put' && (!select || select.matches(event.entry))
    // A previous state that is no longer known counts as matching: a spare DELETED is harmless, a missing one is not.
    const existed = event.entry.created !== event.revision || event.type === 'delete'
    const before = existed && (!select || !event.previous || select.matches(event.previous))
    if (!now && !before) return
    const type = now ? (before ? 'MODIFIED' : 'ADDED') : 'DELETED'
    // Who leaves the selector is shown as last seen inside it, under the revision of leaving.
    const text = now || event.type === 'delete' ? event.entry.text : (event.previous ?? event.entry).text
    const memoKey = accepted.shape === 'table' && !columnsSent ? undefined : memoKeys[type]
    let chunk = memoKey === undefined ? undefined : event.memo?.get(memoKey)
    if (!chunk) {
      chunk = encode(type, { text, revision: event.revision })
      if (memoKey !== undefined) (event.memo ??= new Map()).set(memoKey, chunk)
    }
    told = event.revision
    stream.push(chunk)
  }

  let live = !state
  let pending: CacheEvent[] = []
  const stop = cache.subscribe((event) => {
    if (event === 'reset') stream.end()
    else if (live) deliver(event)
    else if (pending.push(event) > 10_000) stream.end()
  })
  const timers = new Set<{ cancel(): void }>()
  const onAbort = (): void => void stream.return()
  const stream = new WatchStream(QUEUE_BYTES, () => {
    stop()
    for (const timer of timers) timer.cancel()
    call.signal.removeEventListener('abort', onAbort)
  })
  if (call.signal.aborted) onAbort()
  else call.signal.addEventListener('abort', onAbort, { once: true })
  const seconds = wholeNumber(query.get('timeoutSeconds')) ?? 0
  timers.add(core.clock.timer('watch-timeout', (seconds > 0 ? seconds : 1_800 * (1 + Math.random())) * 1_000, () => {
    // The last word says where to go on from.
    if (bookmarks && live) stream.push(bookmark(core.cache.revision))
    stream.end()
  }))
  const tick = (): void => {
    if (stream.ended) return
    if (live && core.cache.revision > told) stream.push(bookmark(core.cache.revision))
    timers.delete(timer)
    timer = core.clock.timer('watch-bookmark', every, tick)
    timers.add(timer)
  }
  const every = call.user.groups.includes('system:nodes') ? NODE_BOOKMARK_MS : BOOKMARK_MS
  let timer = core.clock.timer('watch-bookmark', every, tick)
  if (bookmarks) timers.add(timer)
  else timer.cancel()

  for (const event of replay) deliver(event)
  if (!state) return answer(call, 200, stream)

  const goLive = (): void => {
    if (initial === true && bookmarks) stream.push(bookmark(start, true))
    for (const event of pending) deliver(event)
    pending = []
    live = true
  }
  // Few objects go at once; many are paced by the reader so that a list of any size needs little memory.
  let at = 0
  const pump = (): void => {
    for (let bytes = 0; at < first.length && bytes < INITIAL_BYTES; at++) {
      const entry = first[at] as (typeof first)[number]
      const chunk = encode('ADDED', entry)
      bytes += chunk.length
      stream.push(chunk)
    }
    if (at < first.length) return
    first.length = 0
    goLive()
  }
  pump()
  stream.onTaken(() => {
    if (live || stream.ended) return false
    pump()
    return true
  })
  return answer(call, 200, stream)
}

/** A watch that ends with the reason why it cannot begin. */
function failed(call: Call, error: AppError): ApiResponse {
  const stream = new WatchStream(QUEUE_BYTES, () => undefined)
  stream.push(Buffer.from(`${JSON.stringify({ type: 'ERROR', object: toStatus(error) })}\n`))
  stream.end()
  return answer(call, 200, stream)
}
