import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness, type Harness } from '../../../test/kit/api-harness.ts'
import type { Obj } from '../stored-text.ts'

interface Refusal {
  readonly code?: number
  readonly message: string
  readonly details: { causes: { field: string; reason: string; message: string }[] }
}

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const PUMPS = '/apis/plant.example/v1/namespaces/default/pumps'

function definition(spec: object): object {
  return {
    metadata: { name: 'pumps.plant.example' },
    spec: {
      group: 'plant.example',
      scope: 'Namespaced',
      names: { plural: 'pumps', kind: 'Pump' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties: { spec } } } }],
    },
  }
}

const SPEC = {
  type: 'object',
  'x-kubernetes-validations': [
    { rule: 'self.min <= self.max', messageExpression: '"min is %d, max only %d".format([self.min, self.max])', fieldPath: '.min', reason: 'FieldValueForbidden' },
    { rule: '!has(oldSelf.serial) || has(self.serial)', message: 'a serial stays' },
    { rule: 'oldSelf.orValue(self).max <= self.max', optionalOldSelf: true, message: 'max never shrinks' },
  ],
  properties: {
    min: { type: 'integer' },
    max: { type: 'integer' },
    serial: { type: 'string', 'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'serial is immutable' }] },
    flow: { 'x-kubernetes-int-or-string': true, 'x-kubernetes-validations': [{ rule: 'type(self) == int ? self > 0 : self.endsWith("%")' }] },
    memory: { type: 'string', 'x-kubernetes-validations': [{ rule: 'quantity(self).isGreaterThan(quantity("1Mi"))' }] },
    'max-age': { type: 'string', format: 'duration', 'x-kubernetes-validations': [{ rule: 'self < duration("2h")' }] },
    valves: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      'x-kubernetes-validations': [{ rule: 'self.exists_one(v, v.main)' }],
      items: { type: 'object', required: ['name', 'main'], properties: { name: { type: 'string' }, main: { type: 'boolean' }, size: { type: 'integer', 'x-kubernetes-validations': [{ rule: 'self >= oldSelf' }] } } },
    },
    limits: { type: 'object', additionalProperties: { type: 'integer', 'x-kubernetes-validations': [{ rule: 'self < 10' }] } },
  },
}

async function withPumps(spec: object): Promise<Harness> {
  const h = await startHarness()
  const made = await h.call<Refusal>('POST', CRDS, definition(spec))
  if (made.status !== 201) await h[Symbol.asyncDispose]()
  assert.equal(made.status, 201, JSON.stringify(made.body))
  return h
}

const pump = (spec: object, name = 'a'): object => ({ apiVersion: 'plant.example/v1', kind: 'Pump', metadata: { name }, spec })

test('rules judge new objects: paths, reasons and messages as written, computed or by default', async () => {
  await using h = await withPumps(SPEC)
  const refused = await h.call<Refusal>('POST', PUMPS, pump({ min: 5, max: 3, flow: 'much', memory: '1k', 'max-age': '3h', valves: [{ name: 'x', main: false }], limits: { 'a.b': 11 } }))
  assert.equal(refused.status, 422)
  assert.deepEqual(refused.body.details.causes.map((c) => `${c.field} ${c.reason} ${c.message}`).sort(), [
    'spec.flow FieldValueInvalid Invalid value: "": failed rule: type(self) == int ? self > 0 : self.endsWith("%")',
    'spec.limits[a.b] FieldValueInvalid Invalid value: "integer": failed rule: self < 10',
    'spec.max-age FieldValueInvalid Invalid value: "string": failed rule: self < duration("2h")',
    'spec.memory FieldValueInvalid Invalid value: "string": failed rule: quantity(self).isGreaterThan(quantity("1Mi"))',
    'spec.min FieldValueForbidden Forbidden: min is 5, max only 3',
    'spec.valves FieldValueInvalid Invalid value: "array": failed rule: self.exists_one(v, v.main)',
  ])
  const good = await h.call<Obj>('POST', PUMPS, pump({ min: 1, max: 3, flow: '5%', memory: '2Mi', 'max-age': '90m', valves: [{ name: 'x', main: true, size: 3 }] }))
  assert.equal(good.status, 201)
})

test('transition rules compare with the old value, by the keys of a map list, and see its absence when they ask', async () => {
  await using h = await withPumps(SPEC)
  assert.equal((await h.call('POST', PUMPS, pump({ min: 1, max: 3, serial: 's1', valves: [{ name: 'x', main: true, size: 3 }, { name: 'y', main: false, size: 1 }] }))).status, 201)
  const merge = { headers: { 'content-type': 'application/merge-patch+json' } }
  const causes = async (spec: object): Promise<string[]> => ((await h.call<Refusal>('PATCH', `${PUMPS}/a`, { spec }, merge)).body.details?.causes ?? []).map((c) => `${c.field}: ${c.message.split(': ').at(-1)}`)
  assert.deepEqual(await causes({ serial: 's2' }), ['spec.serial: serial is immutable'])
  assert.deepEqual(await causes({ serial: null }), ['spec: a serial stays'])
  assert.deepEqual(await causes({ max: 2 }), ['spec: max never shrinks'])
  assert.deepEqual(await causes({ valves: [{ name: 'y', main: false, size: 2 }, { name: 'x', main: true, size: 2 }] }), ['spec.valves[1].size: self >= oldSelf'])
  assert.deepEqual(await causes({ max: 4, valves: [{ name: 'y', main: true, size: 9 }] }), [])
})

test('what a rule refuses may stay as it was while something else changes', async () => {
  await using h = await withPumps({ type: 'object', properties: { a: { type: 'integer' }, b: { type: 'integer' } } })
  assert.equal((await h.call('POST', PUMPS, pump({ a: 50, b: 1 }))).status, 201)
  const crd = (await h.call<Obj>('GET', `${CRDS}/pumps.plant.example`)).body
  const strict = definition({ type: 'object', properties: { a: { type: 'integer', 'x-kubernetes-validations': [{ rule: 'self < 10' }] }, b: { type: 'integer' } } })
  assert.equal((await h.call('PUT', `${CRDS}/pumps.plant.example`, { ...strict, metadata: crd.metadata })).status, 200)
  const merge = { headers: { 'content-type': 'application/merge-patch+json' } }
  assert.equal((await h.call('PATCH', `${PUMPS}/a`, { spec: { b: 2 } }, merge)).status, 200)
  assert.equal((await h.call('PATCH', `${PUMPS}/a`, { spec: { a: 51 } }, merge)).status, 422)
})

test('a definition whose rules cannot be compiled is refused where the rule stands', async () => {
  await using h = await startHarness()
  const refused = async (spec: object): Promise<string> => {
    const made = await h.call<Refusal>('POST', CRDS, definition(spec))
    assert.equal(made.status, 422, JSON.stringify(made.body))
    return made.body.message
  }
  const int = { type: 'integer' }
  assert.match(await refused({ type: 'object', properties: { a: int }, 'x-kubernetes-validations': [{ rule: 'self.b > 1' }] }), /properties\[spec\]\.x-kubernetes-validations\[0\]\.rule: .*compilation failed: ERROR: <input>:1:5: undefined field 'b'\n \| self\.b > 1\n \| \.{4}\^/)
  assert.match(await refused({ ...int, 'x-kubernetes-validations': [{ rule: 'self + "x" == 1' }] }), /compilation failed/)
  assert.match(await refused({ ...int, 'x-kubernetes-validations': [{ rule: 'self + 1' }] }), /cel expression must evaluate to a bool/)
  assert.match(await refused({ ...int, 'x-kubernetes-validations': [{ rule: 'self > 1', messageExpression: 'self' }] }), /messageExpression: .*messageExpression must evaluate to a string/)
  assert.match(await refused({ ...int, 'x-kubernetes-validations': [{ rule: 'self > 1', fieldPath: '.gone' }] }), /fieldPath must be a valid path/)
  assert.match(await refused({ type: 'array', items: { ...int, 'x-kubernetes-validations': [{ rule: 'self >= oldSelf' }] } }), /oldSelf cannot be used on the uncorrelatable portion of the schema within spec\.versions\[0\]\.schema\.openAPIV3Schema\.properties\[spec\]/)
})

test('rules that may cost too much are refused when they are written, and cut off when they do', async () => {
  await using h = await startHarness()
  const rule = 'self.all(a, self.all(b, self.all(c, a + b + c >= 0)))'
  const list = (bounds: object): object => ({ type: 'object', properties: { l: { type: 'array', ...bounds, items: { type: 'integer' }, 'x-kubernetes-validations': [{ rule }] } } })
  const refused = await h.call<Refusal>('POST', CRDS, definition(list({})))
  assert.match(refused.body.message, /properties\[l\]\.x-kubernetes-validations\[0\]\.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x \(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared\)/)
  assert.equal((await h.call('POST', CRDS, definition(list({ maxItems: 80 })))).status, 201)
  assert.equal((await h.call('POST', PUMPS, pump({ l: [1, 2, 3] }))).status, 201)
  const cut = await h.call<Refusal>('POST', PUMPS, pump({ l: Array.from({ length: 80 }, (_, i) => i) }, 'b'))
  assert.equal(cut.body.details.causes[0]?.message, `Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: ${rule}`)
})

test('lists of a schema compare and add as sets and maps', async () => {
  const items = { type: 'object', required: ['k'], properties: { k: { type: 'string' }, v: { type: 'integer' } } }
  await using h = await withPumps({
    type: 'object',
    'x-kubernetes-validations': [{ rule: 'self.a == self.b', message: 'sets differ' }, { rule: '(self.m + self.m.filter(x, x.v > 1)).size() == 2', message: 'maps merge by key' }],
    properties: { a: { type: 'array', maxItems: 9, 'x-kubernetes-list-type': 'set', items: { type: 'integer' } }, b: { type: 'array', maxItems: 9, items: { type: 'integer' } }, m: { type: 'array', maxItems: 9, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['k'], items }},
  })
  const maps = { m: [{ k: 'x', v: 1 }, { k: 'y', v: 2 }] }
  assert.equal((await h.call('POST', PUMPS, pump({ a: [1, 2], b: [2, 1], ...maps }))).status, 201)
  const refused = await h.call<Refusal>('POST', PUMPS, pump({ a: [1, 2], b: [2, 3], ...maps }, 'b'))
  assert.deepEqual(refused.body.details.causes.map((c) => c.message), ['Invalid value: "object": sets differ'])
})
