/**
 * What the server answered to pods of this node while it was in reach, of kinds that the node has no cache of (EndpointSlices,
 * custom resources) or has a part of: lists, single objects, and what watches told since. Kept on disk, sealed, so that these
 * clients go on reading cut off and after a boot. What was told in another form (a Table for kubectl, metadata alone) answers the
 * same question in the same form.
 *
 * Bounded: {@link MOST_BYTES} in {@link MOST_FILES} files, the longest unwritten goes first; an answer of more than {@link LARGEST}
 * is not remembered. Changes gather for {@link GATHER_MS}, so a restart may lose that much. Nothing here ever fails a request.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { KubeObject } from '../../api/meta.ts'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock, Timer } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { Seal } from '../ports.ts'
import { covers, type Known } from './answers.ts'
import type { LocalRequest, ResourceRequest } from './request.ts'

const log = logger('agent.local-api')
const MOST_FILES = 64
const MOST_BYTES = 16 << 20
const LARGEST = 2 << 20
const GATHER_MS = 10_000
/** Lists that are being read in pages at once; of others, the first page is forgotten. */
const MOST_PAGED = 4
/** Kinds of answers that leave most of an object out. */
const FORMS: readonly string[] = ['Table', 'PartialObjectMetadata', 'PartialObjectMetadataList']
/** Written many times a minute by whoever has them, and of no use to a reader that is cut off. */
const PASSING = new Set(['coordination.k8s.io/leases', '/events', 'events.k8s.io/events'])

/** What one request asks for, apart from the moment. */
interface Scope {
  readonly group: string
  readonly version: string
  readonly resource: string
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly labels: string
  readonly fields: string
  /** Of an answer that is not the objects whole, with what it shows of them; such a one stands for itself alone. */
  readonly form?: string
}

/** An answer as it was given, in a form that is not the objects whole. */
export interface Told {
  readonly at: number
  readonly document: object
}

interface Kept {
  readonly scope: Scope
  readonly kind: string
  /** When the server last said so, ms since 1970. */
  readonly at: number
  readonly objects: readonly KubeObject[]
}

/** What came since the file was written; `whole` stands for all that was there before. */
interface Pending {
  readonly scope: Scope
  whole: { readonly kind: string; readonly objects: readonly KubeObject[] } | undefined
  readonly changes: Map<string, KubeObject | undefined>
  bytes: number
}

/** A list so far that is read in pages. */
interface Pages {
  /** Items, or rows of a Table. */
  readonly objects: readonly KubeObject[]
  /** The first page, of a form: a Table's columns are in it. */
  readonly head?: object | undefined
  readonly bytes: number
}

/** Takes the bytes of an answer as they pass. */
export interface Follower {
  add(chunk: Uint8Array): void
  /** The answer is over. */
  end(): void
}

export interface RememberedOptions {
  readonly directory: string
  readonly clock: Clock
  readonly seal?: Seal | undefined
}

/** The kept answers; see the header. */
export class Remembered {
  readonly #o: RememberedOptions
  readonly #pending = new Map<string, Pending>()
  /** Hash of what is on disk, and when it was last known to be so; bounded as the files are. */
  readonly #files = new Map<string, { hash: string; at: number }>()
  /** By the token that leads to the next page; at most MOST_PAGED, each LARGEST. */
  readonly #pages = new Map<string, Pages>()
  #timer: Timer | undefined
  #writing: Promise<void> = Promise.resolve()

  constructor(options: RememberedOptions) {
    this.#o = options
  }

  /** Who is to see the answer to a request as it passes; undefined when such answers are not remembered. */
  follow(request: LocalRequest, status: number, contentType: string): Follower | undefined {
    const { resource, query } = request
    if (request.method !== 'GET' || !resource || resource.subresource !== undefined || PASSING.has(`${resource.group}/${resource.resource}`)) return undefined
    const scope = scopeOf(resource, query)
    if (status === 404 && resource.verb === 'get') for (const form of ['', ...FORMS]) this.#forget(fileOf(formed(scope, form, query)))
    if (status !== 200 || !/^application\/json(;|$)/.test(contentType) || query.get('resourceVersionMatch') === 'Exact') return undefined
    const token = query.get('continue') ?? ''
    const pages = token === '' ? undefined : this.#pages.get(token)
    if (token !== '' && !pages) return undefined
    return resource.verb === 'watch' ? this.#followWatch(scope, query) : this.#followAnswer(scope, query, pages)
  }

  /** What was told of all that a request can ask for, the newest such answer; empty when there is none. */
  async known(resource: ResourceRequest, query: URLSearchParams): Promise<Known[]> {
    await this.flush()
    const prefix = prefixOf(resource)
    const names = (await readdir(this.#o.directory).catch((): string[] => [])).filter((n) => n.startsWith(prefix))
    let best: Kept | undefined
    for (const file of names) {
      const kept = await this.#read(file)
      if (!kept || (best && best.at > kept.at)) continue
      const { scope } = kept
      const all = scope.name === undefined ? covers({ ...(scope.namespace === undefined ? {} : { namespace: scope.namespace }), labelSelector: scope.labels, fieldSelector: scope.fields }, resource, query) : false
      const same = fileOf(scope) === fileOf(scopeOf(resource, query))
      if (all || same) best = kept
    }
    if (!best) return []
    const { scope, kind, at, objects } = best
    const namespaced = scope.namespace !== undefined || objects.some((o) => o.metadata?.namespace !== undefined)
    return [{
      ref: { group: scope.group, version: scope.version, resource: scope.resource, kind, namespaced },
      query: {},
      asOf: at,
      cache: {
        isSynced: true,
        list: () => [...objects],
        onChange: (listener) => {
          for (const o of objects) listener(o, undefined)
          return () => undefined
        },
      },
    }]
  }

  /** What was told when the same was asked for in this form (`Table`, …), by any client; undefined when nothing was. */
  async told(resource: ResourceRequest, query: URLSearchParams, form: string): Promise<Told | undefined> {
    await this.flush()
    const kept = FORMS.includes(form) ? await this.#read(fileOf(formed(scopeOf(resource, query), form, query))) : undefined
    const [document] = kept?.objects ?? []
    return kept && document && { at: kept.at, document }
  }

  /** Resolves when what was seen so far is on disk, or the disk refused it. */
  async flush(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#writing = this.#writing.then(() => this.#write())
    await this.#writing
  }

  /** @param before what the pages before this one had, by the token that leads to it */
  #followAnswer(scope: Scope, query: URLSearchParams, before: Pages = { objects: [], bytes: 0 }): Follower {
    const parts: Uint8Array[] = []
    let size = before.bytes
    return {
      add: (chunk) => {
        if ((size += chunk.length) <= LARGEST) parts.push(chunk)
        else parts.length = 0
      },
      end: () => {
        const value = size > LARGEST ? undefined : parsed(Buffer.concat(parts).toString())
        if (size > LARGEST) this.#forget(fileOf(scope))
        const kind = kindOf(value)
        if (kind === undefined) return
        const form = FORMS.includes(kind)
        const of = form ? formed(scope, kind, query) : scope
        if (scope.name !== undefined) return this.#replace(of, kind, [value as KubeObject], size)
        const list = value as { items?: unknown; rows?: unknown; metadata?: { continue?: string } }
        const part = kind === 'Table' ? 'rows' : 'items'
        if ((kind !== 'Table' && !kind.endsWith('List')) || !Array.isArray(list[part])) return
        const objects = [...before.objects, ...(list[part] as KubeObject[])]
        const head = form ? (before.head ?? list) : undefined
        this.#pages.delete(query.get('continue') ?? '')
        if (!list.metadata?.continue) return head ? this.#replace(of, kind, [{ ...head, metadata: {}, [part]: objects } as KubeObject], size) : this.#replace(of, kind.slice(0, -4), objects, size)
        for (const [first] of [...this.#pages].slice(0, 1 - MOST_PAGED)) this.#pages.delete(first)
        this.#pages.set(list.metadata.continue, { objects, head, bytes: size })
      },
    }
  }

  #followWatch(scope: Scope, query: URLSearchParams): Follower {
    const file = fileOf(scope)
    const listed = query.get('sendInitialEvents') === 'true'
    /** What comes before the bookmark that ends the list, and how much it is. */
    let first: Map<string, KubeObject> | undefined = listed ? new Map() : undefined
    let fresh = !listed && ['', '0'].includes(query.get('resourceVersion') ?? '')
    let rest = Buffer.alloc(0)
    let size = 0
    let over = false
    /** Events in a form that shows less of the objects are not followed; what is known stays as old as it is. */
    let formedEvents = false
    /** False for what is no event that can be remembered. */
    const event = (line: string): boolean => {
      const { type, object } = (parsed(line) ?? {}) as { type?: string; object?: KubeObject }
      if (type === 'BOOKMARK') {
        if (first && object?.metadata?.annotations?.['k8s.io/initial-events-end'] === 'true') {
          this.#replace(scope, kindOf(object) ?? '', [...first.values()], size)
          first = undefined
        }
        return true
      }
      const kind = kindOf(object)
      if (kind !== undefined && FORMS.includes(kind)) formedEvents = true
      if (kind === undefined || formedEvents || object === undefined || (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED')) return false
      if (first) {
        first.set(idOf(object), object)
        return (size += line.length) <= LARGEST
      }
      // Without a revision a watch begins with all there is.
      if (fresh) this.#replace(scope, kind, [], 0)
      fresh = false
      this.#change(scope, idOf(object), type === 'DELETED' ? undefined : object, line.length)
      return true
    }
    return {
      add: (chunk) => {
        if (over) return
        rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
        for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
          over = !event(rest.toString('utf8', 0, end))
          if (over) break
          rest = rest.subarray(end + 1)
        }
        over ||= rest.length > LARGEST
        if (over) {
          rest = Buffer.alloc(0)
          // What changes unseen is not what the server has.
          if (first === undefined && !formedEvents) this.#forget(file)
        }
      },
      end: () => {
        const there = this.#files.get(file)
        if (there && !over && !first) there.at = this.#o.clock.now()
      },
    }
  }

  #replace(scope: Scope, kind: string, objects: readonly KubeObject[], bytes: number): void {
    this.#take(fileOf(scope), { scope, whole: { kind, objects }, changes: new Map(), bytes })
  }

  #change(scope: Scope, id: string, object: KubeObject | undefined, bytes: number): void {
    const file = fileOf(scope)
    const pending = this.#pending.get(file) ?? { scope, whole: undefined, changes: new Map<string, KubeObject | undefined>(), bytes: 0 }
    pending.changes.set(id, object)
    pending.bytes += bytes
    this.#take(file, pending)
  }

  #take(file: string, pending: Pending): void {
    this.#pending.set(file, pending)
    // A disk that does not keep up: what waits in memory stays bounded.
    if (pending.bytes > 2 * LARGEST) this.#forget(file)
    else if (!this.#files.has(file) || pending.bytes > LARGEST) void this.flush()
    else this.#timer ??= this.#o.clock.timer('remember answers', GATHER_MS, () => void this.flush())
  }

  #forget(file: string): void {
    this.#pending.delete(file)
    this.#files.delete(file)
    this.#writing = this.#writing.then(() => rm(this.#path(file), { force: true })).catch(() => undefined)
  }

  async #write(): Promise<void> {
    for (const [file, { scope, whole, changes }] of [...this.#pending]) {
      this.#pending.delete(file)
      const before = whole ?? (await this.#read(file))
      if (!before) continue // changes to what was too large, or never listed
      const objects = new Map(before.objects.map((o) => [idOf(o), o]))
      for (const [id, object] of changes) {
        if (object) objects.set(id, object)
        else objects.delete(id)
      }
      await this.#save(file, { scope, kind: before.kind, objects: [...objects.values()] })
    }
  }

  async #save(file: string, state: Omit<Kept, 'at'>): Promise<void> {
    const at = this.#o.clock.now()
    const hash = createHash('sha256').update(JSON.stringify(state.objects)).digest('hex')
    const former = this.#files.get(file)
    if (former) former.at = at
    if (former?.hash === hash) return
    const text = Buffer.from(JSON.stringify({ ...state, at }))
    if (text.length > LARGEST) return this.#forget(file)
    try {
      await writeFileAtomic(this.#path(file), this.#o.seal ? this.#o.seal.seal(text) : text, { sync: false })
      this.#files.set(file, { hash, at })
      if (!former) await this.#bound()
    } catch (error) {
      log.debug('an answer is not remembered', { resource: state.scope.resource, why: messageOf(error) })
    }
  }

  async #bound(): Promise<void> {
    const names = await readdir(this.#o.directory)
    const files = await Promise.all(names.map(async (name) => ({ name, state: await stat(this.#path(name)) })))
    let bytes = 0
    for (const [i, { name, state: { size } }] of files.toSorted((a, b) => b.state.mtimeMs - a.state.mtimeMs).entries()) {
      if (i < MOST_FILES && (bytes += size) <= MOST_BYTES) continue
      this.#files.delete(name)
      await rm(this.#path(name), { force: true })
    }
  }

  async #read(file: string): Promise<Kept | undefined> {
    try {
      const bytes = await readFile(this.#path(file))
      const kept = JSON.parse(Buffer.from(this.#o.seal ? this.#o.seal.open(bytes) : bytes).toString()) as Kept
      return { ...kept, at: Math.max(kept.at, this.#files.get(file)?.at ?? 0) }
    } catch {
      return undefined // absent or damaged: not known
    }
  }

  #path(file: string): string {
    return join(this.#o.directory, file)
  }
}

function scopeOf({ group, version, resource, namespace, name }: ResourceRequest, query: URLSearchParams): Scope {
  return { group, version, resource, namespace, name, labels: query.get('labelSelector') ?? '', fields: query.get('fieldSelector') ?? '' }
}

const short = (...parts: readonly string[]): string => createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16)
const prefixOf = ({ group, version, resource, form }: Pick<Scope, 'group' | 'version' | 'resource' | 'form'>): string => `${short(group, version, resource, ...(form === undefined ? [] : [form]))}-`
/** The same question with its answer in another form; a Table has what it is asked to have of each object. */
const formed = (scope: Scope, form: string, query: URLSearchParams): Scope => (form === '' ? scope : { ...scope, form: form === 'Table' ? `Table ${query.get('includeObject') ?? 'Metadata'}` : form })
const fileOf = (s: Scope): string => `${prefixOf(s)}${short(s.namespace ?? '', s.name ?? '', s.labels, s.fields)}.json`
const idOf = (o: Readonly<KubeObject>): string => `${o.metadata?.namespace ?? ''}/${o.metadata?.name}`

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The kind of an answer, which is no Status. */
function kindOf(value: unknown): string | undefined {
  const kind = (value as { kind?: unknown } | undefined)?.kind
  return typeof kind === 'string' && kind !== 'Status' ? kind : undefined
}
