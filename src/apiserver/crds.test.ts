import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness, type Harness } from '../../test/kit/api-harness.ts'
import type { Obj } from './stored-text.ts'

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const WIDGETS = '/apis/example.com/v1/namespaces/default/widgets'
type Crd = Obj & { status: { conditions: { type: string; status: string }[] } }

const crd = (kind = 'Widget', plural = 'widgets') => ({
  metadata: { name: `${plural}.example.com` },
  spec: {
    group: 'example.com',
    names: { plural, kind },
    scope: 'Namespaced',
    versions: ['v1', 'v1beta1'].map((name) => ({
      name,
      served: true,
      storage: name === 'v1',
      subresources: { status: {}, scale: { specReplicasPath: '.spec.size', statusReplicasPath: '.status.size' } },
      schema: {
        openAPIV3Schema: {
          type: 'object',
          properties: {
            spec: { type: 'object', required: ['size'], properties: { size: { type: 'integer', minimum: 1 }, color: { type: 'string', default: 'red' } } },
            status: { type: 'object', properties: { size: { type: 'integer' } } },
          },
        },
      },
    })),
  },
})

async function serve(h: Harness): Promise<void> {
  const made = await h.call<Crd>('POST', CRDS, crd())
  assert.equal(made.status, 201, JSON.stringify(made.body))
  assert.equal(made.body.status.conditions.find((c) => c.type === 'Established')?.status, 'True')
}

test('a definition is served with the answer to its create: defaults, pruning, validation, versions', async () => {
  await using h = await startHarness()
  await serve(h)
  const made = await h.call<Obj & { spec: object }>('POST', WIDGETS, { apiVersion: 'example.com/v1', kind: 'Widget', metadata: { name: 'w' }, spec: { size: 2, extra: 1 }, status: { size: 9 } })
  assert.equal(made.status, 201)
  assert.deepEqual(made.body.spec, { size: 2, color: 'red' })
  assert.equal(made.body.status, undefined)
  assert.match(String(made.headers.warning), /unknown field \\"spec.extra\\"/)
  assert.equal((await h.call('POST', WIDGETS, { metadata: { name: 'x' }, spec: { size: 0 } })).status, 422)
  assert.equal((await h.call('GET', '/apis/example.com/v1beta1/namespaces/default/widgets/w')).body.apiVersion, 'example.com/v1beta1')
  const json = { headers: { 'content-type': 'application/json-patch+json' } }
  assert.equal((await h.call('PATCH', `${CRDS}/widgets.example.com`, [{ op: 'add', path: '/spec/versions/1/deprecated', value: true }], json)).status, 200)
  const old = await h.call('GET', '/apis/example.com/v1beta1/namespaces/default/widgets/w')
  assert.equal(old.headers['warning'], '299 - "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget"')
  const groups = await h.call<{ versions: { version: string }[] }>('GET', '/apis/example.com')
  assert.deepEqual(groups.body.versions.map((v) => v.version), ['v1', 'v1beta1'])
})

test('status and scale of a custom object are doors of their own', async () => {
  await using h = await startHarness()
  await serve(h)
  await h.call('POST', WIDGETS, { metadata: { name: 'w' }, spec: { size: 2 } })
  const headers = { 'content-type': 'application/merge-patch+json' }
  const status = await h.call<Obj & { spec: { size: number }; status: { size: number } }>('PATCH', `${WIDGETS}/w/status`, { spec: { size: 7 }, status: { size: 2 } }, { headers })
  assert.deepEqual([status.body.spec.size, status.body.status.size, status.body.metadata.generation], [2, 2, 1])
  const scaled = await h.call<Obj & { spec: object; status: object }>('PATCH', `${WIDGETS}/w/scale`, { spec: { replicas: 5 } }, { headers })
  assert.deepEqual([scaled.body.kind, scaled.body.spec, scaled.body.status], ['Scale', { replicas: 5 }, { replicas: 2 }])
  const after = await h.call<Obj & { spec: { size: number } }>('GET', `${WIDGETS}/w`)
  assert.deepEqual([after.body.spec.size, after.body.metadata.generation], [5, 2])
})

test('deleting a definition deletes its objects first, and waits for their finalizers', async () => {
  await using h = await startHarness()
  await serve(h)
  await h.call('POST', WIDGETS, { metadata: { name: 'w', finalizers: ['example.com/hold'] }, spec: { size: 1 } })
  const w = await h.watch(`${CRDS}?watch=1&fieldSelector=metadata.name%3Dwidgets.example.com`)
  await h.call('DELETE', `${CRDS}/widgets.example.com`)
  let held: Obj | undefined
  while (held?.metadata.deletionTimestamp === undefined) held = (await h.call('GET', `${WIDGETS}/w`)).body
  await h.call('PATCH', `${WIDGETS}/w`, { metadata: { finalizers: null } }, { headers: { 'content-type': 'application/merge-patch+json' } })
  while ((await w.next())?.type !== 'DELETED');
  await w.end()
  assert.equal((await h.call('GET', WIDGETS)).status, 404)
})

test('a second definition of a kind that is taken is not established', async () => {
  await using h = await startHarness()
  await serve(h)
  const other = await h.call<Crd>('POST', CRDS, crd('Widget', 'gadgets'))
  assert.equal(other.body.status.conditions.find((c) => c.type === 'NamesAccepted')?.status, 'False')
  assert.equal((await h.call('GET', '/apis/example.com/v1/namespaces/default/gadgets')).status, 404)
})

test('a name is taken by itself, and again when its holder goes', async () => {
  await using h = await startHarness()
  await serve(h)
  const other = crd('Gadget', 'gadgets')
  const short = { ...other, spec: { ...other.spec, names: { ...other.spec.names, shortNames: ['widget'] } } }
  const made = await h.call<Crd & { status: { acceptedNames: object } }>('POST', CRDS, short)
  const conditions = (c: Crd): string[] => c.status.conditions.map((x) => `${x.type}=${x.status} ${(x as { reason?: string }).reason}: ${(x as { message?: string }).message}`)
  assert.deepEqual(conditions(made.body), ['NamesAccepted=False ShortNamesConflict: "widget" is already in use', 'Established=False NotAccepted: not all names are accepted'])
  assert.deepEqual(made.body.status.acceptedNames, { plural: 'gadgets', singular: 'gadget', kind: 'Gadget', listKind: 'GadgetList' })
  const w = await h.watch(`${CRDS}?watch=1&fieldSelector=metadata.name%3Dgadgets.example.com`)
  await h.call('DELETE', `${CRDS}/widgets.example.com`)
  let last: Crd | undefined
  while (last?.status.conditions.find((c) => c.type === 'Established')?.status !== 'True') last = (await w.next())?.object as Crd
  await w.end()
  assert.equal((await h.call('GET', '/apis/example.com/v1/namespaces/default/gadgets')).status, 200)
})

test('while a definition ends it says so and takes no new objects', async () => {
  await using h = await startHarness()
  await serve(h)
  await h.call('POST', WIDGETS, { metadata: { name: 'w', finalizers: ['example.com/hold'] }, spec: { size: 1 } })
  const w = await h.watch(`${CRDS}?watch=1&fieldSelector=metadata.name%3Dwidgets.example.com`)
  await h.call('DELETE', `${CRDS}/widgets.example.com`)
  let said: { type: string; reason?: string } | undefined
  while (!said) said = ((await w.next())?.object as Crd | undefined)?.status.conditions.find((c) => c.type === 'Terminating')
  await w.end()
  assert.equal(said.reason, 'InstanceDeletionInProgress')
  const refused = await h.call<Obj & { message: string }>('POST', WIDGETS, { metadata: { name: 'x' }, spec: { size: 1 } })
  assert.deepEqual([refused.status, refused.body.message], [405, 'create not allowed while custom resource definition is terminating'])
})

interface Refused {
  readonly message: string
  readonly details: { readonly causes: { readonly field: string; readonly message: string }[] }
}

test('what a newer schema refuses may stay while it does not change', async () => {
  await using h = await startHarness()
  const part = (rules: object): object => ({
    type: 'object',
    properties: {
      spec: {
        type: 'object',
        properties: { size: { type: 'integer', ...rules }, name: { type: 'string' }, tags: { type: 'array', items: { type: 'string', ...('maximum' in rules ? { maxLength: 2 } : {}) } }, keyed: { type: 'array', 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['k'], items: { type: 'object', required: ['k'], properties: { k: { type: 'string' }, v: { type: 'integer', ...rules } } } } },
        ...('maximum' in rules ? { anyOf: [{ required: ['name'] }, { properties: { size: { minimum: 100 } } }] } : {}),
      },
    },
  })
  const definition = (rules: object): object => {
    const base = crd()
    return { ...base, spec: { ...base.spec, versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: part(rules) } }] } }
  }
  assert.equal((await h.call('POST', CRDS, definition({}))).status, 201)
  assert.equal((await h.call('POST', WIDGETS, { metadata: { name: 'w' }, spec: { size: 50, tags: ['long', 'a'], keyed: [{ k: 'x', v: 50 }] } })).status, 201)
  const merge = { headers: { 'content-type': 'application/merge-patch+json' } }
  assert.equal((await h.call('PATCH', `${CRDS}/widgets.example.com`, { spec: (definition({ maximum: 10 }) as { spec: object }).spec }, merge)).status, 200)
  const causes = async (spec: object): Promise<string[]> => ((await h.call<Refused>('PATCH', `${WIDGETS}/w`, { spec }, merge)).body.details?.causes ?? []).map((c) => `${c.field}: ${c.message}`)
  assert.deepEqual(await causes({ name: 'n' }), [])
  assert.deepEqual(await causes({ size: 60 }), ['spec.size: Invalid value: 60: spec.size in body should be less than or equal to 10'])
  assert.deepEqual(await causes({ tags: ['long', 'b'] }), ['spec.tags[0]: Too long: may not be more than 2 bytes'])
  assert.deepEqual(await causes({ keyed: [{ k: 'y', v: 1 }, { k: 'x', v: 50 }] }), [])
  assert.deepEqual(await causes({ keyed: [{ k: 'x', v: 51 }] }), ['spec.keyed[0].v: Invalid value: 51: spec.keyed[0].v in body should be less than or equal to 10'])
  assert.deepEqual(await causes({ name: null }), ['spec.name: Required value', '<nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)'])
})

test('generated manifests are taken as they are: nulls are absent, names have their rules, embedded objects their kind', async () => {
  await using h = await startHarness()
  const base = crd()
  const template = { type: 'object', 'x-kubernetes-embedded-resource': true, 'x-kubernetes-preserve-unknown-fields': true }
  const openAPIV3Schema = { type: 'object', properties: { metadata: { type: 'object', properties: { name: { type: 'string', maxLength: 4 } } }, spec: { type: 'object', properties: { size: { type: 'integer' }, color: { type: 'string', default: 'red' }, none: { type: 'string', nullable: true }, template } } } }
  assert.equal((await h.call('POST', CRDS, { ...base, spec: { ...base.spec, versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema } }] } })).status, 201)
  const made = await h.call<Obj & { spec: object }>('POST', WIDGETS, { metadata: { name: 'w', creationTimestamp: null, annotations: null }, spec: { size: null, color: null, none: null, template: { apiVersion: 'v1', kind: 'Pod', metadata: { creationTimestamp: null, labels: { a: 'b' } } } }, status: null })
  assert.equal(made.status, 201, JSON.stringify(made.body))
  assert.deepEqual(made.body.spec, { color: 'red', none: null, template: { apiVersion: 'v1', kind: 'Pod', metadata: { labels: { a: 'b' } } } })
  const causes = async (object: object): Promise<string[]> => ((await h.call<Refused>('POST', WIDGETS, object)).body.details?.causes ?? []).map((c) => `${c.field}: ${c.message}`)
  assert.deepEqual(await causes({ metadata: { name: 'toolong' }, spec: {} }), ['metadata.name: Too long: may not be more than 4 bytes'])
  assert.deepEqual(await causes({ metadata: { name: 'x' }, spec: { template: { metadata: {} } } }), ['spec.template.apiVersion: Required value: must not be empty', 'spec.template.kind: Required value: must not be empty'])
})
