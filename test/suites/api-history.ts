/**
 * Whole histories of the API against a reference model: writes of two kinds (one of them in two versions), watches with and without
 * selectors that drop, resume and are told 410 after a compaction, pages held while others write, restarts. On any store, by one
 * server or by several that share it and are asked in turn. `SKERRY_SOAK` is the number of histories.
 */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { startHarness, type Harness } from '../kit/api-harness.ts'
import { until } from '../kit/until.ts'
import { setLogSink } from '../../src/base/log.ts'
import type { Store } from '../../src/store/store.ts'
import type { Obj } from '../../src/apiserver/stored-text.ts'

const NAMES = ['a', 'b', 'c', 'd'] as const
const CRD = {
  apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: 'boats.example.com' },
  spec: {
    group: 'example.com', scope: 'Namespaced', names: { plural: 'boats', kind: 'Boat', singular: 'boat' },
    versions: ['v2', 'v1'].map((name) => ({ name, served: true, storage: name === 'v2', schema: { openAPIV3Schema: { type: 'object', properties: { data: { type: 'object', additionalProperties: { type: 'string' } } } } } })),
  },
}
/** A kind: its paths, one for each version. */
const KINDS = {
  maps: ['/api/v1/namespaces/default/configmaps'],
  boats: ['/apis/example.com/v1/namespaces/default/boats', '/apis/example.com/v2/namespaces/default/boats'],
} as const
type Kind = keyof typeof KINDS

/** What the model knows of an object: all that a write sets. */
interface Seen {
  readonly on: string
  readonly text: string
}
interface Change {
  readonly name: string
  readonly before: Seen | undefined
  readonly after: Seen | undefined
}
interface ModelKind {
  readonly state: Map<string, Seen>
  readonly log: Change[]
}
type Watch = Awaited<ReturnType<Harness['watch']>>
interface Watcher {
  readonly kind: Kind
  readonly path: string
  readonly on: string | undefined
  /** How much of the log it has been shown. */
  at: number
  version: string
  open: Watch | undefined
}
interface Pages {
  readonly kind: Kind
  readonly path: string
  readonly left: string[]
  readonly token: string
}
type List = { items: Obj[]; metadata: { resourceVersion: string; continue?: string }; code?: number }

const seenOf = (o: Obj & { data?: { text?: string } }): Seen => ({ on: o.metadata.labels?.['on'] ?? '', text: o.data?.text ?? '' })
const matches = (on: string | undefined, seen: Seen | undefined): boolean => seen !== undefined && (on === undefined || seen.on === on)
const sorted = (state: ReadonlyMap<string, Seen>, on?: string): [string, Seen][] => [...state].filter(([, s]) => matches(on, s)).sort(([a], [b]) => (a < b ? -1 : 1))

/** The events that a watcher must be shown of a part of the log. */
function events(changes: readonly Change[], on: string | undefined): [string, string, Seen][] {
  return changes.flatMap(({ name, before, after }): [string, string, Seen][] => {
    const [was, is] = [matches(on, before), matches(on, after)]
    if (is) return [[was ? 'MODIFIED' : 'ADDED', name, after as Seen]]
    return was ? [['DELETED', name, before as Seen]] : []
  })
}

class History {
  readonly #stores: readonly Store[]
  #servers: Harness[]
  #turn = 0
  readonly #model: Record<Kind, ModelKind> = { maps: { state: new Map(), log: [] }, boats: { state: new Map(), log: [] } }
  readonly #watchers: Watcher[] = []
  #pages: Pages | undefined

  constructor(stores: readonly Store[], servers: Harness[]) {
    this.#stores = stores
    this.#servers = servers
  }

  /** The server whose turn it is. */
  get #h(): Harness {
    return this.#servers[this.#turn++ % this.#servers.length] as Harness
  }

  #path(kind: Kind, version: number): string {
    const paths = KINDS[kind]
    return paths[version % paths.length] as string
  }

  /** One write in one of four ways; refused exactly when the model says so. */
  async write(kind: Kind, version: number, name: string, how: 'create' | 'put' | 'patch' | 'delete', seen: Seen): Promise<void> {
    const { state, log } = this.#model[kind]
    const path = this.#path(kind, version)
    const before = state.get(name)
    const body = { metadata: { name, labels: { on: seen.on } }, data: { text: seen.text } }
    const one = `${path}/${name}`
    const current = how === 'put' && before ? (await this.#h.call<Obj>('GET', one)).body : undefined
    const answer =
      how === 'create' ? await this.#h.call('POST', path, { ...body, ...this.#typeOf(kind, path) })
      : how === 'put' ? await this.#h.call('PUT', one, { ...body, ...this.#typeOf(kind, path), metadata: { ...body.metadata, ...(current ? { resourceVersion: current.metadata.resourceVersion } : {}) } })
      : how === 'patch' ? await this.#h.call('PATCH', one, { metadata: { labels: { on: seen.on } }, data: { text: seen.text } }, { headers: { 'content-type': 'application/merge-patch+json' } })
      : await this.#h.call('DELETE', one)
    const expected = how === 'create' ? (before ? 409 : 201) : before ? 200 : 404
    assert.equal(answer.status, expected, `${how} ${one}: ${JSON.stringify(answer.body)}`)
    if (answer.status >= 300) return
    if (how === 'delete') {
      state.delete(name)
      log.push({ name, before, after: undefined })
    } else if (before?.on !== seen.on || before.text !== seen.text) {
      state.set(name, seen)
      log.push({ name, before, after: seen })
    }
  }

  #typeOf(kind: Kind, path: string): object {
    return kind === 'maps' ? {} : { apiVersion: path.slice('/apis/'.length).split('/').slice(0, 2).join('/'), kind: 'Boat' }
  }

  async list(kind: Kind, version: number, on: string | undefined): Promise<List> {
    const { body } = await this.#h.call<List>('GET', `${this.#path(kind, version)}${on === undefined ? '' : `?labelSelector=on%3D${on}`}`)
    assert.deepEqual(body.items.map((o) => [o.metadata.name, seenOf(o)]), sorted(this.#model[kind].state, on))
    return body
  }

  async watch(kind: Kind, version: number, on: string | undefined): Promise<void> {
    const { metadata } = await this.list(kind, version, on)
    this.#watchers.push({ kind, path: this.#path(kind, version), on, at: this.#model[kind].log.length, version: metadata.resourceVersion, open: undefined })
  }

  /** A list streamed as a watch: the state, then the word that this was it. */
  async initial(kind: Kind, version: number, on: string | undefined): Promise<void> {
    const w = await this.#h.watch(`${this.#path(kind, version)}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true${on === undefined ? '' : `&labelSelector=on%3D${on}`}`)
    const got: [string, Seen][] = []
    let event = await w.next()
    for (; event?.type === 'ADDED'; event = await w.next()) got.push([event.object.metadata.name as string, seenOf(event.object)])
    assert.deepEqual(got, sorted(this.#model[kind].state, on))
    assert.equal(event?.object.metadata.annotations?.['k8s.io/initial-events-end'], 'true')
    await w.end()
  }

  /** Lets a watcher read all there is for it; `drop` closes its connection afterwards. */
  async read(which: number, drop: boolean): Promise<void> {
    const w = this.#watchers[which % Math.max(1, this.#watchers.length)]
    if (!w) return
    const { log } = this.#model[w.kind]
    w.open ??= await this.#h.watch(`${w.path}?watch=1&resourceVersion=${w.version}${w.on === undefined ? '' : `&labelSelector=on%3D${w.on}`}`)
    for (const expected of events(log.slice(w.at), w.on)) {
      const event: Awaited<ReturnType<Watch['next']>> = await w.open.next()
      if (event?.type === 'ERROR') return this.#startOver(w, event.object as unknown as { code: number })
      assert.deepEqual([event?.type, event?.object.metadata.name, event && seenOf(event.object)], expected)
      w.version = event?.object.metadata.resourceVersion as string
    }
    w.at = log.length
    if (!drop) return
    await w.open.end()
    w.open = undefined
  }

  /** The server no longer knows what happened since: list, and go on from there. */
  async #startOver(w: Watcher, status: { code: number }): Promise<void> {
    assert.equal(status.code, 410)
    await w.open?.end()
    w.open = undefined
    const version = KINDS[w.kind].indexOf(w.path as never)
    w.version = (await this.list(w.kind, version, w.on)).metadata.resourceVersion
    w.at = this.#model[w.kind].log.length
  }

  /** The first page of a list, kept for later. */
  async page(kind: Kind, version: number): Promise<void> {
    const path = this.#path(kind, version)
    const { body } = await this.#h.call<List>('GET', `${path}?limit=1`)
    const names = sorted(this.#model[kind].state).map(([name]) => name)
    assert.deepEqual(body.items.map((o) => o.metadata.name), names.slice(0, 1))
    this.#pages = body.metadata.continue === undefined ? undefined : { kind, path, left: names.slice(1), token: body.metadata.continue }
  }

  /** What was left at the time of the first page, whatever happened since; or, when that is forgotten, what is there now. */
  async rest(): Promise<void> {
    const pages = this.#pages
    if (!pages) return
    this.#pages = undefined
    const answer = await this.#h.call<List>('GET', `${pages.path}?limit=10&continue=${pages.token}`)
    if (answer.status === 200) return assert.deepEqual(answer.body.items.map((o) => o.metadata.name), pages.left)
    assert.equal(answer.status, 410)
    const now = await this.#h.call<List>('GET', `${pages.path}?limit=10&continue=${answer.body.metadata.continue}`)
    const all = sorted(this.#model[pages.kind].state).map(([name]) => name)
    const got = now.body.items.map((o) => o.metadata.name)
    assert.deepEqual(got, all.slice(all.length - got.length))
  }

  /** A server that begins anew, perhaps on a store that has forgotten all but the present. */
  async restart(compact: boolean): Promise<void> {
    for (const w of this.#watchers) {
      await w.open?.end()
      w.open = undefined
    }
    await this.#close()
    const [store] = this.#stores
    if (compact) await store?.compact((await store.get('/registry/none')).revision)
    this.#servers = await Promise.all(this.#stores.map((one) => startHarness({ store: one })))
  }

  async end(): Promise<void> {
    for (const kind of ['maps', 'boats'] as const) for (const on of ['yes', 'no', undefined]) await this.list(kind, 1, on)
    for (let i = 0; i < this.#watchers.length; i++) await this.read(i, true)
    // A last change that each watcher sees, directly behind all that came before.
    for (let i = 0; i < this.#watchers.length; i++) {
      const { kind, on } = this.#watchers[i] as Watcher
      const last = { on: on ?? 'yes', text: `last ${i}` }
      await this.write(kind, 0, NAMES[0], this.#model[kind].state.has(NAMES[0]) ? 'patch' : 'create', last)
      await this.read(i, true)
    }
    await this.#close()
  }

  async #close(): Promise<void> {
    for (const { api } of this.#servers) await api.close()
  }
}

const kind = fc.constantFrom<Kind>('maps', 'boats')
const on = fc.constantFrom('yes', 'no', undefined)
const version = fc.nat(1)
const seen = fc.record({ on: fc.constantFrom('yes', 'no'), text: fc.constantFrom('x', 'y') }, { noNullPrototype: true })
type Step = (h: History) => Promise<unknown>
const step: fc.Arbitrary<[string, Step]> = fc.oneof(
  { weight: 12, arbitrary: fc.tuple(kind, version, fc.constantFrom(...NAMES), fc.constantFrom('create', 'create', 'put', 'patch', 'delete'), seen).map((a): [string, Step] => [`write ${JSON.stringify(a)}`, (h) => h.write(...a)]) },
  { weight: 2, arbitrary: fc.tuple(kind, version, on).map((a): [string, Step] => [`watch ${JSON.stringify(a)}`, (h) => h.watch(...a)]) },
  { weight: 1, arbitrary: fc.tuple(kind, version, on).map((a): [string, Step] => [`initial ${JSON.stringify(a)}`, (h) => h.initial(...a)]) },
  { weight: 4, arbitrary: fc.tuple(fc.nat(5), fc.boolean()).map((a): [string, Step] => [`read ${JSON.stringify(a)}`, (h) => h.read(...a)]) },
  { weight: 3, arbitrary: fc.tuple(kind, version).map((a): [string, Step] => [`page ${JSON.stringify(a)}`, (h) => h.page(...a)]) },
  { weight: 3, arbitrary: fc.constant<[string, Step]>(['rest', (h) => h.rest()]) },
  { weight: 1, arbitrary: fc.boolean().map((compact): [string, Step] => [`restart ${compact}`, (h) => h.restart(compact)]) },
)

/** Opens fresh stores of one state, one for each server. */
export type OpenStores = () => Promise<readonly Store[]>

/** Plays histories; fails with the one that is not as the model says, made as short as it can be. */
export async function playHistories(open: OpenStores, runs: number): Promise<void> {
  const former = setLogSink(() => undefined)
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 90, size: 'max' }), async (steps) => {
        const stores = await open()
        // One after the other, as the first makes what every cluster has.
        const servers: Harness[] = []
        for (const store of stores) servers.push(await startHarness({ store }))
        try {
          assert.equal((await servers[0]?.call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', CRD))?.status, 201)
          for (const h of servers) for (const path of KINDS.boats) await until('the definition is served', async () => (await h.call('GET', path)).status === 200)
          const history = new History(stores, servers)
          for (const name of NAMES) for (const kind of ['maps', 'boats'] as const) await history.write(kind, 0, name, 'create', { on: 'yes', text: 'x' })
          for (const [, act] of steps) await act(history)
          await history.end()
        } finally {
          for (const h of servers) await h.api.close()
          for (const store of stores) await store[Symbol.asyncDispose]()
        }
      }),
      { numRuns: Math.max(0, Number(process.env['SKERRY_SOAK'] ?? 0)) || runs, ...(process.env['SKERRY_SEED'] === undefined ? {} : { seed: Number(process.env['SKERRY_SEED']) }) },
    )
  } finally {
    setLogSink(former)
  }
}
