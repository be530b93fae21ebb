/**
 * get and list. A get shows the store's newest state. A list comes from the watch cache once that has caught up with what
 * `resourceVersion` asks for; pages after the first show the first page's revision (from memory while it knows what changed
 * since, then from the store), so a chunked list is one stable snapshot or ends with 410.
 */
import type { ApiResponse } from '../../api/contract.ts'
import { ApiError, badRequest, expired, notFound, tooLargeResourceVersion } from '../../api/status.ts'
import { AppError, hasCode } from '../../base/errors.ts'
import { answer, type Call, type Core } from '../core.ts'
import { hasConverter, inVersion } from '../conversion.ts'
import { encodeList, encodeOne, type Stored } from '../encode.ts'
import { keyOf, storageName } from '../resources.ts'
import { selection, type Selection } from '../selection.ts'
import { checkListOptions, checkTable, wholeNumber } from './options.ts'
import { CacheEntry } from '../watch-cache.ts'

/** Entries read from the store at a time when a selector thins them out. */
const PAGE = 500

/** GET of one object. @throws ApiError 404 */
export async function get(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query } = call
  const key = keyOf(def, info.namespace, info.name as string)
  checkTable(call)
  const asked = revisionOf(query.get('resourceVersion'))
  let stored: Stored | undefined
  if (asked === undefined) {
    stored = await core.cache.read(key)
  } else {
    await reach(core, asked)
    stored = core.cache.resource(storageName(def)).get(key)
  }
  if (!stored) throw notFound(def, info.name as string)
  if (hasConverter(def)) [stored] = await inVersion(core, def, [stored], call.signal)
  return answer(call, 200, encodeOne(call, stored as Stored, core.clock.now()))
}

/** Position in a chunked list, as an opaque text. `rv` -1: the snapshot was lost, go on from the key in the newest state. */
interface Continue {
  readonly rv: number
  readonly key: string
}

/** Selectors that hold in every version. */
function withoutFields(query: URLSearchParams): URLSearchParams {
  const out = new URLSearchParams(query)
  out.delete('fieldSelector')
  return out
}

/** GET of a collection. @throws ApiError 400, 410, 504 by the rules of resourceVersion */
export async function list(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query } = call
  checkListOptions(query, false)
  checkTable(call)
  const limit = Math.max(0, wholeNumber(query.get('limit')) ?? 0)
  const prefix = keyOf(def, info.namespace)
  const select = selection(def, hasConverter(def) ? withoutFields(query) : query)
  const match = query.get('resourceVersionMatch')
  const asked = revisionOf(query.get('resourceVersion'))
  const token = query.get('continue')

  let after = ''
  let exact: number | undefined
  if (token !== null && token !== '') {
    if (asked !== undefined && asked !== 0) throw badRequest('specifying resource version is not allowed when using continue')
    const at = decodeContinue(token)
    if (!at.key.startsWith(prefix)) throw badRequest('invalid continue token: continue key is not valid: it belongs to another list')
    after = at.key
    if (at.rv > 0 && at.rv !== core.cache.revision) exact = at.rv
    else if (at.rv <= 0) await core.cache.refresh()
  } else if (match === 'Exact') {
    exact = asked as number
    await reach(core, exact)
  } else if (asked === undefined) await core.cache.refresh()
  else await reach(core, asked)

  const page = fromCache(core, storageName(def), prefix, after, select, limit, exact) ?? (await fromStore(core, prefix, after, select, limit, exact as number))
  const end = {
    revision: page.revision,
    ...(page.next === undefined ? {} : { continue: encodeContinue({ rv: page.revision, key: page.next }) }),
    ...(page.next === undefined || select ? {} : { remaining: page.remaining }),
  }
  return answer(call, 200, encodeList(call, await shownItems(core, call, page.items), end, core.clock.now()))
}

/** The items in the caller's version. Selectors on fields are judged on what a conversion webhook made, so the page may be shorter. */
async function shownItems(core: Core, call: Call, items: readonly Stored[]): Promise<readonly Stored[]> {
  const { def, query } = call
  if (!hasConverter(def)) return items
  const converted = await inVersion(core, def, items, call.signal)
  const select = query.get('fieldSelector') ? selection(def, query) : undefined
  if (!select) return converted
  return converted.filter((one, i) => select.matches(new CacheEntry((items[i] as CacheEntry).key, one.text, one.revision, one.revision)))
}

interface Page {
  readonly items: Stored[]
  readonly revision: number
  /** Last key returned, when there is more behind it. */
  readonly next: string | undefined
  readonly remaining: number
}

/** The newest state, or that of `exact` as long as memory knows it. */
function fromCache(core: Core, resource: string, prefix: string, after: string, select: Selection | undefined, limit: number, exact: number | undefined): Page | undefined {
  const { revision } = core.cache
  const cache = core.cache.resource(resource)
  const options = { prefix, after, limit, matches: select && ((entry: CacheEntry) => select.matches(entry)) }
  const page = exact === undefined ? cache.page(options) : exact <= revision ? cache.pageAt(exact, options) : undefined
  if (!page) return undefined
  return { ...page, revision: exact ?? revision, next: page.remaining > 0 ? page.items.at(-1)?.key : undefined }
}

async function fromStore(core: Core, prefix: string, after: string, select: Selection | undefined, limit: number, revision: number): Promise<Page> {
  const items: CacheEntry[] = []
  let from = after
  try {
    for (;;) {
      const page = await core.store.list(prefix, { revision, ...(from === '' ? {} : { after: from }), ...(limit > 0 ? { limit: select ? Math.max(PAGE, limit) : limit } : {}) })
      let used = 0
      for (const e of page.entries) {
        used++
        from = e.key
        const entry = new CacheEntry(e.key, e.value, e.revision, e.created)
        if (!select || select.matches(entry)) items.push(entry)
        if (limit > 0 && items.length === limit) break
      }
      const remaining = page.remaining + page.entries.length - used
      if (remaining === 0) return { items, revision, next: undefined, remaining: 0 }
      if (limit > 0 && items.length >= limit) return { items, revision, next: from, remaining }
    }
  } catch (error) {
    if (!hasCode(error, 'compacted')) throw error
    if (from === '') throw expired('The resourceVersion for the provided list is too old.')
    const lost = expired('The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.')
    throw new ApiError({ ...lost.status, metadata: { continue: encodeContinue({ rv: -1, key: from || prefix }) } })
  }
}

/** Waits until the cache shows `revision`. @throws ApiError 504 when that revision is in the future */
export async function reach(core: Core, revision: number): Promise<void> {
  if (revision === 0 || core.cache.revision >= revision) return
  try {
    await core.cache.waitFor(revision)
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    throw tooLargeResourceVersion(revision, core.cache.revision)
  }
}

/** undefined: most recent. 0: anything. @throws ApiError 400 */
export function revisionOf(text: string | null): number | undefined {
  if (text === null || text === '') return undefined
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`)
  return Number(text)
}

function encodeContinue(at: Continue): string {
  return Buffer.from(JSON.stringify(at)).toString('base64url')
}

function decodeContinue(token: string): Continue {
  try {
    const at = JSON.parse(Buffer.from(token, 'base64url').toString()) as Continue
    if (Number.isSafeInteger(at.rv) && typeof at.key === 'string') return at
  } catch {
    // Falls through to the refusal: what does not parse was not made here.
  }
  throw badRequest('invalid continue token: continue key is not valid: use the token of the last page unchanged')
}
