import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness, type Harness } from '../../test/kit/api-harness.ts'
import { startHookServer, type HookServer } from '../../test/kit/hook-server.ts'
import { setLogSink } from '../base/log.ts'
import { splitVersion } from './custom-text.ts'
import type { Obj } from './stored-text.ts'

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const V1 = '/apis/plant.example/v1/namespaces/default/hosts'
const V2 = '/apis/plant.example/v2/namespaces/default/hosts'
type Host = Obj & { spec: { hostPort?: string; host?: string; port?: string }; message?: string }

interface Review {
  readonly request: { readonly uid: string; readonly desiredAPIVersion: string; readonly objects: Host[] }
}

/** v1 has `hostPort`, v2 `host` and `port`. */
function convert(desired: string, o: Host): Host {
  const { hostPort = '', host = '', port = '' } = o.spec
  const spec = desired.endsWith('/v2') ? { host: hostPort.split(':')[0] as string, port: hostPort.split(':')[1] as string } : { hostPort: `${host}:${port}` }
  return { ...o, apiVersion: desired, spec }
}

const startConverter = (change: (answer: Host[]) => unknown = (objects) => ({ result: { status: 'Success' }, convertedObjects: objects })): Promise<HookServer> =>
  startHookServer((path, body) => {
    const { request } = body as Review
    if (path === '/broken') return undefined
    return { kind: 'ConversionReview', apiVersion: 'apiextensions.k8s.io/v1', response: { uid: request.uid, ...(change(request.objects.map((o) => convert(request.desiredAPIVersion, o))) as object) } }
  })

const text = { type: 'string' }
const schema = (properties: object): object => ({ openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties } } } })
function definition(hook: HookServer, storage: 'v1' | 'v2', path = '/convert'): object {
  const versions = [
    { name: 'v1', served: true, storage: storage === 'v1', schema: schema({ hostPort: text }) },
    { name: 'v2', served: true, storage: storage === 'v2', schema: schema({ host: text, port: text }), selectableFields: [{ jsonPath: '.spec.host' }] },
  ]
  const conversion = { strategy: 'Webhook', webhook: { clientConfig: hook.config(path), conversionReviewVersions: ['v1'] } }
  return { metadata: { name: 'hosts.plant.example' }, spec: { group: 'plant.example', scope: 'Namespaced', names: { plural: 'hosts', kind: 'Host' }, versions, conversion } }
}

async function define(h: Harness, body: object): Promise<void> {
  const made = await h.call<Host>('POST', CRDS, body)
  assert.equal(made.status, 201, made.body.message)
}

async function redefine(h: Harness, change: object): Promise<void> {
  const patched = await h.call<Host>('PATCH', `${CRDS}/hosts.plant.example`, change, { headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal(patched.status, 200, patched.body.message)
}

const merge = { headers: { 'content-type': 'application/merge-patch+json' } }

test('get, list, watch and writes speak the version asked for; the store has one', async () => {
  await using hook = await startConverter()
  await using h = await startHarness()
  await define(h, definition(hook, 'v1'))
  const made = await h.call<Host>('POST', V2, { metadata: { name: 'a', labels: { l: '1' } }, spec: { host: 'x', port: '80' } })
  assert.deepEqual([made.status, made.body.apiVersion, made.body.spec], [201, 'plant.example/v2', { host: 'x', port: '80' }])
  const { entry } = await h.store.get('/registry/hosts.plant.example/default/a')
  assert.equal(splitVersion(entry?.value ?? '').apiVersion, 'plant.example/v1')
  assert.deepEqual((await h.call<Host>('GET', `${V1}/a`)).body.spec, { hostPort: 'x:80' })
  assert.deepEqual((await h.call<Host>('GET', `${V2}/a`)).body.spec, { host: 'x', port: '80' })
  await h.call('POST', V1, { metadata: { name: 'b' }, spec: { hostPort: 'y:81' } })
  const w = await h.watch(`${V2}?watch=1`)
  assert.deepEqual([(await w.next())?.object as unknown as Host, (await w.next())?.object as unknown as Host].map((o) => o.spec), [{ host: 'x', port: '80' }, { host: 'y', port: '81' }])
  const patched = await h.call<Host>('PATCH', `${V2}/b`, { spec: { port: '82' } }, merge)
  assert.deepEqual(patched.body.spec, { host: 'y', port: '82' })
  const event = await w.next()
  assert.deepEqual([event?.type, (event?.object as Host | undefined)?.spec, event?.object.apiVersion], ['MODIFIED', { host: 'y', port: '82' }, 'plant.example/v2'])
  await h.call('DELETE', `${V2}/b`)
  assert.deepEqual([(await w.next())?.type], ['DELETED'])
  await w.end()
  const listed = await h.call<{ items: Host[] }>('GET', `${V2}?fieldSelector=spec.host%3Dx`)
  assert.deepEqual(listed.body.items.map((i) => [i.apiVersion, i.spec]), [['plant.example/v2', { host: 'x', port: '80' }]])
  assert.equal((await h.call<{ items: Host[] }>('GET', `${V2}?fieldSelector=spec.host%3Dz`)).body.items.length, 0)
})

test('when the storage version moves, old objects are converted when read and move with their next write', async () => {
  await using hook = await startConverter()
  await using h = await startHarness()
  await define(h, definition(hook, 'v1'))
  await h.call('POST', V1, { metadata: { name: 'a' }, spec: { hostPort: 'x:80' } })
  const crd = (await h.call<Obj & { status: { storedVersions: string[] } }>('GET', `${CRDS}/hosts.plant.example`)).body
  assert.deepEqual(crd.status.storedVersions, ['v1'])
  await redefine(h, { spec: (definition(hook, 'v2') as { spec: object }).spec })
  assert.deepEqual((await h.call<Host>('GET', `${V2}/a`)).body.spec, { host: 'x', port: '80' })
  const whole = (await h.call<Host>('GET', `${V1}/a`)).body
  assert.equal((await h.call('PUT', `${V1}/a`, whole)).status, 200)
  const { entry } = await h.store.get('/registry/hosts.plant.example/default/a')
  assert.equal(splitVersion(entry?.value ?? '').apiVersion, 'plant.example/v2')
  const early = await h.call<Host>('PATCH', `${CRDS}/hosts.plant.example`, { spec: { versions: [{ name: 'v2', served: true, storage: true, schema: schema({ host: text, port: text }) }] } }, merge)
  assert.match(early.body.message ?? '', /status\.storedVersions\[0\]: Invalid value: "v1": missing from spec\.versions; v1 was previously a storage version/)
  const migrated = await h.call<Host>('PATCH', `${CRDS}/hosts.plant.example/status`, { status: { storedVersions: ['v2'] } }, merge)
  assert.equal(migrated.status, 200, migrated.body.message)
})

test('what a webhook may not do is told, and nothing is stored', async (t) => {
  const former = setLogSink(() => undefined)
  t.after(() => setLogSink(former))
  let change: (objects: Host[]) => unknown = () => ({})
  await using hook = await startConverter((objects) => change(objects))
  await using h = await startHarness()
  await define(h, definition(hook, 'v1'))
  const told = async (next: typeof change): Promise<string> => {
    change = next
    const { status, body } = await h.call<Host>('POST', V2, { metadata: { name: 'a' }, spec: { host: 'x', port: '80' } })
    assert.equal(status, 500)
    return body.message ?? ''
  }
  const start = /^Internal error occurred: conversion webhook for plant\.example\/v2, Kind=Host failed: /
  assert.match(await told(() => ({ result: { status: 'Failure', message: 'no such thing' } })), new RegExp(`${start.source}no such thing$`))
  assert.match(await told(() => ({ result: { status: 'Success' }, convertedObjects: [] })), /expected 1 converted objects, got 0$/)
  const with1 = (part: object) => (objects: Host[]) => ({ result: { status: 'Success' }, convertedObjects: objects.map((o) => ({ ...o, ...part })) })
  assert.match(await told(with1({ kind: 'Other' })), /invalid converted object at index 0: invalid converted kind: expected Host, got Other$/)
  assert.match(await told(with1({ apiVersion: 'plant.example/v9' })), /invalid converted apiVersion: expected plant\.example\/v1, got plant\.example\/v9$/)
  assert.match(await told((objects) => with1({ metadata: { ...objects[0]?.metadata, name: 'b' } })(objects)), /must have the same name: a != b$/)
  await redefine(h, { spec: { conversion: { webhook: { clientConfig: hook.config('/broken') } } } })
  assert.match(await told(with1({})), /Post "https:\/\/127\.0\.0\.1:\d+\/broken\?timeout=30s": the server responded with status 500: broken$/)
  assert.deepEqual((await h.call<{ items: Host[] }>('GET', V1)).body.items, [])
})

test('without a webhook versions differ by name; objects of an older schema are shown pruned and with defaults', async () => {
  await using h = await startHarness()
  const crd = (properties: object): object => ({ metadata: { name: 'hosts.plant.example' }, spec: { group: 'plant.example', scope: 'Namespaced', names: { plural: 'hosts', kind: 'Host' }, versions: ['v1', 'v2'].map((name) => ({ name, served: true, storage: name === 'v1', schema: schema(properties) })) } })
  await define(h, crd({ host: text, port: text }))
  await h.call('POST', V2, { metadata: { name: 'a' }, spec: { host: 'x', port: '80' } })
  assert.equal((await h.call<Host>('GET', `${V1}/a`)).body.apiVersion, 'plant.example/v1')
  await redefine(h, { spec: (crd({ host: text, color: { ...text, default: 'red' } }) as { spec: object }).spec })
  const want = { host: 'x', color: 'red' }
  assert.deepEqual((await h.call<Host>('GET', `${V1}/a`)).body.spec, want)
  assert.deepEqual((await h.call<{ items: Host[] }>('GET', V2)).body.items.map((i) => [i.apiVersion, i.spec]), [['plant.example/v2', want]])
  const w = await h.watch(`${V2}?watch=1`)
  assert.deepEqual(((await w.next())?.object as Host | undefined)?.spec, want)
  await w.end()
})
