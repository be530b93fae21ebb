/** Histories of applies and updates by several managers on an object with every way to merge: what always holds of object and owners. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { KubeObject, ManagedFieldsEntry } from '../meta.ts'
import type { Schema } from '../schema-types.ts'
import { ApiError } from '../status.ts'
import { managedAfterUpdate, serverSideApply } from './apply.ts'
import { difference, intersection, isEmpty, isSubset, pathsOf, union } from './field-set.ts'
import type { Fields } from './field-set.ts'
import { compare, fieldsOf, withParents } from './fields-of.ts'
import { equal } from './json-patch.ts'
import type { Writer } from './managers.ts'

const text: Schema = { type: 'string' }
const SCHEMA: Schema = {
  type: 'object',
  properties: {
    apiVersion: text, kind: text, metadata: { $ref: 'ObjectMeta' },
    spec: {
      type: 'object',
      properties: {
        one: text,
        set: { type: 'array', 'x-kubernetes-list-type': 'set', items: text },
        whole: { type: 'array', 'x-kubernetes-list-type': 'atomic', items: text },
        ports: {
          type: 'array', 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['port', 'protocol'],
          items: { type: 'object', properties: { port: { type: 'integer' }, protocol: { ...text, default: 'TCP' }, name: text, tags: { type: 'array', 'x-kubernetes-list-type': 'set', items: text } } },
        },
        fixed: { type: 'object', 'x-kubernetes-map-type': 'atomic', additionalProperties: text },
        map: { type: 'object', additionalProperties: { type: 'object', properties: { x: text, y: text } } },
        open: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      },
    },
  },
}
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> => fc.record(model, { requiredKeys: [], noNullPrototype: true }) as fc.Arbitrary<Partial<T>>
const word = fc.constantFrom('a', 'b')
/** An empty list that merges by item says nothing, so an applier of one owns nothing. */
const words = fc.uniqueArray(word, { minLength: 1, maxLength: 2 })
const port = record({ name: word, tags: words }).chain((p) => fc.record({ port: fc.constantFrom(80, 81), protocol: fc.constantFrom(undefined, 'TCP', 'UDP') }).map(({ port, protocol }) => ({ port, ...(protocol && { protocol }), ...p })))
const spec = record({
  one: word,
  set: words,
  whole: words,
  ports: fc.uniqueArray(port, { minLength: 1, maxLength: 2, selector: (p) => `${p.port}/${p.protocol ?? 'TCP'}` }),
  fixed: fc.dictionary(word, word, { maxKeys: 2, noNullPrototype: true }),
  map: fc.dictionary(word, record({ x: word, y: word }), { maxKeys: 2, noNullPrototype: true }),
  open: fc.dictionary(word, fc.oneof(word, fc.dictionary(word, word, { noNullPrototype: true })), { maxKeys: 2, noNullPrototype: true }),
})
const manager = fc.constantFrom('m', 'n', 'o')
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ how: fc.constantFrom('apply', 'force'), manager, spec }) },
  { weight: 1, arbitrary: fc.record({ how: fc.constant('update'), manager, spec }) },
)
const objectOf = (content: object): KubeObject => ({ apiVersion: 'e/v1', kind: 'E', metadata: { name: 'e' }, spec: content }) as KubeObject
const writer = (name: string, time: number): Writer => ({ manager: name, apiVersion: 'e/v1', time: new Date(time * 1_000).toISOString(), hasStatus: false })
const entries = (o: KubeObject | undefined): ManagedFieldsEntry[] => o?.metadata?.managedFields ?? []
const fieldsOfEntry = (e: ManagedFieldsEntry | undefined): Fields => (e?.fieldsV1 ?? {}) as Fields
const setOf = (o: KubeObject): Fields => fieldsOf({ spec: (o as { spec?: object }).spec }, SCHEMA)
/** Without empty containers: what was in them has gone, and nobody need own the rest. */
const filledOf = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const parts = Object.entries(value).map(([k, v]) => [k, filledOf(v)] as const).filter(([, v]) => typeof v !== 'object' || v === null || Object.keys(v).length > 0)
  return Object.fromEntries(parts)
}
const content = (o: KubeObject): object => ({ spec: (o as { spec?: object }).spec, metadata: {} })

test('of every history of applies and updates: owners own what is there, conflicts are real, nothing applied is lost, nothing given up stays', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 2, maxLength: 8, size: 'max' }), (steps) => {
      let live: KubeObject | undefined
      for (const [i, { how, manager, spec }] of steps.entries()) {
        const sent = objectOf(spec)
        const by = writer(manager, i)
        if (how === 'update') {
          const next = { ...sent, metadata: { ...sent.metadata, managedFields: entries(live) } } as KubeObject
          const managed = managedAfterUpdate(live, next, SCHEMA, by)
          live = { ...next, metadata: { ...next.metadata, managedFields: managed } } as KubeObject
        } else {
          const before = live
          const others = entries(before).filter((e) => e.manager !== manager || e.operation !== 'Apply')
          try {
            live = serverSideApply(before, sent, SCHEMA, by, how === 'force')
          } catch (error) {
            assert.ok(error instanceof ApiError && how === 'apply', String(error))
            // What is in conflict has another owner, and would have changed.
            const forced = serverSideApply(before, sent, SCHEMA, by, true)
            const changed = compare(content(before as KubeObject), content(forced), SCHEMA).changed
            const contested = others.map((e) => intersection(fieldsOfEntry(e), changed)).filter((f) => !isEmpty(f))
            assert.deepEqual(new Set(error.status.details?.causes?.map((c) => c.field)), new Set(contested.flatMap((f) => pathsOf(f))))
            continue
          }
          const mine = entries(live).find((e) => e.manager === manager && e.operation === 'Apply')
          assert.ok(equal(fieldsOfEntry(mine), setOf(sent)), 'an applier owns what it applied')
          // All that was applied is there as it was applied: applying it once more changes nothing.
          assert.deepEqual(serverSideApply(live, sent, SCHEMA, writer(manager, 1_000), false), live)
          if (before) {
            const given = entries(before).find((e) => e.manager === manager && e.operation === 'Apply')
            const stillOwned = entries(live).reduce<Fields>((all, e) => union(all, withParents(fieldsOfEntry(e), SCHEMA)), {})
            const givenUp = difference(fieldsOfEntry(given), stillOwned)
            assert.ok(isEmpty(intersection(givenUp, setOf(live))), `given up and still there: ${pathsOf(intersection(givenUp, setOf(live))).join()}`)
            // What others owned is untouched, unless it was taken by force; what is in a map entry or list item goes with that, and a list with its last item.
            const lost = pathsOf(compare(content(before), content(live), SCHEMA).removed).filter((p) => !/^\.spec\.(?:map|open|ports)\b/.test(p))
            const owned = new Set(others.flatMap((e) => pathsOf(fieldsOfEntry(e))))
            if (how === 'apply') assert.deepEqual(lost.filter((p) => owned.has(p)), [])
          }
        }
        const there = union(withParents(setOf(live), SCHEMA), setOf(live))
        for (const e of entries(live)) {
          const ghost = difference(fieldsOfEntry(e), union(there, compare({}, content(live), SCHEMA).changed))
          assert.ok(isEmpty(ghost), `${e.manager} owns what is not there: ${pathsOf(ghost).join()}`)
        }
        const all = entries(live).reduce<Fields>((sum, e) => union(sum, fieldsOfEntry(e)), {})
        const filled = setOf(filledOf(live) as KubeObject)
        assert.ok(isSubset(filled, union(all, withParents(all, SCHEMA))), `nobody owns ${pathsOf(difference(filled, all)).join()}`)
      }
    }),
    { numRuns: 150 },
  )
})
