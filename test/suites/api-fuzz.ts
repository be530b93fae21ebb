/**
 * Garbage at the door: paths, queries, selectors, patches, bodies and objects made of the right pieces in the wrong places. What
 * comes back is always an answer of the API, never a failure of the server, and other objects stay as they are. Bounded and seeded;
 * on any store, by one server or by several that share it and are asked in turn.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import type { ApiRequest } from '../../src/api/contract.ts'
import { apiVersionOf, RESOURCES } from '../../src/api/kinds.ts'
import { schemaOf } from '../../src/api/schema-table.ts'
import type { Schema } from '../../src/api/schema-types.ts'
import { setLogSink } from '../../src/base/log.ts'
import { depthOf } from '../../src/apiserver/body.ts'
import type { Obj } from '../../src/apiserver/stored-text.ts'
import { startHarness, type Answer, type Harness } from '../kit/api-harness.ts'
import type { OpenStores } from './api-history.ts'

/** How often a property is tried; `SKERRY_SOAK` makes it more. */
export const RUNS = Math.max(0, Number(process.env['SKERRY_SOAK'] ?? 0)) * 20 || 200

/** What Kubernetes answers to callers; 500 stands only for what it says without a reason. */
const CODES = new Set([200, 201, 202, 400, 403, 404, 405, 406, 409, 410, 413, 415, 422])
type Status = { kind?: string; reason?: string; message?: string; items?: unknown }

const piece = fc.oneof(
  fc.constantFrom('api', 'apis', 'v1', 'apps', 'namespaces', 'default', 'configmaps', 'deployments', 'pods', 'status', 'scale', 'watch', 'nodes', 'proxy', 'log', 'x', '', '.', '..', '%2e', '%2F', '%00', '%', '%ff', '\u{1f6a2}', 'a'.repeat(300), '__proto__'),
  fc.string({ maxLength: 8 }).map((s) => s.replace(/[?#]/g, '')),
)
const path = fc.tuple(fc.constantFrom('/api/v1/', '/apis/apps/v1/', '/', '/api/v1/namespaces/default/'), fc.array(piece, { maxLength: 7 })).map(([start, parts]) => start + parts.join('/'))
const queryName = fc.constantFrom('labelSelector', 'fieldSelector', 'limit', 'continue', 'resourceVersion', 'resourceVersionMatch', 'sendInitialEvents', 'dryRun', 'fieldManager', 'fieldValidation', 'propagationPolicy', 'gracePeriodSeconds', 'force', 'pretty', 'includeObject')
const queryValue = fc.oneof(fc.constantFrom('true', 'All', '0', '-1', '1e9', 'a=b', 'a in (b', '!', 'metadata.name=x', '\\', 'Exact', 'eyJydiI6MX0'), fc.string({ maxLength: 12 }))
const query = fc.array(fc.tuple(queryName, queryValue), { maxLength: 3 }).map((pairs) => (pairs.length === 0 ? '' : `?${pairs.map(([k, v]) => `${k}=${encodeURIComponent(v)}`).join('&')}`))

const leaf = fc.oneof(fc.constantFrom<unknown>(null, true, 0, -1, 1.5, 1e300, '', 'x', 'merge', 'replace', 'delete', '1Gi'), fc.string({ maxLength: 5 }))
const key = fc.constantFrom('metadata', 'name', 'labels', 'annotations', 'finalizers', 'ownerReferences', 'managedFields', 'spec', 'replicas', 'selector', 'template', 'containers', 'image', 'ports', 'env', 'resources', 'limits', 'cpu', 'status', 'data', '$patch', '$retainKeys', '$setElementOrder/containers', '$deleteFromPrimitiveList/finalizers', '__proto__', 'constructor', 'f:x', 'kind', 'apiVersion')
/** Any JSON, mostly of words that mean something to the API. */
export const value: fc.Arbitrary<unknown> = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof({ maxDepth: 5 }, leaf, fc.array(tie('tree'), { maxLength: 3 }), fc.array(fc.tuple(key, tie('tree')), { maxLength: 4 }).map((pairs) => Object.fromEntries(pairs))),
})).tree
/** One step of a JSON patch. */
export const operation = fc.record({ op: fc.constantFrom('add', 'remove', 'replace', 'move', 'copy', 'test', 'twist'), path: fc.constantFrom('', '/', '/metadata', '/metadata/labels/a~1b', '/spec/template/spec/containers/0', '/spec/template/spec/containers/-', '/metadata/finalizers/-', '/~', 'x', '/__proto__/x'), from: fc.constantFrom('/metadata', '/spec', '', '/none'), value }, { requiredKeys: ['op', 'path'] })

/** A value along a schema: some of its fields, now and then one of the wrong kind; `next` draws from 0 up to what it is given. */
function along(ref: Schema, next: (below: number) => number, depth: number): unknown {
  const schema = ref.$ref === undefined ? ref : schemaOf(ref.$ref)
  if (depth > 0 && next(40) === 0) return [null, '', -1, {}, [], true, 'x'.repeat(300), { a: null }][next(8)]
  if (schema['x-kubernetes-int-or-string']) return [0, 80, '50%', 'http', -1][next(5)]
  switch (schema.type) {
    case 'array':
      return Array.from({ length: depth > 12 ? 0 : next(3) }, () => along(schema.items ?? {}, next, depth + 1))
    case 'integer':
    case 'number':
      return [0, 1, -1, 80, 65_536, 2 ** 31][next(6)]
    case 'boolean':
      return next(2) === 0
    case 'string':
      if (schema.format === 'quantity') return ['0', '1', '100m', '1Gi', '-1'][next(5)]
      if (schema.format === 'date-time') return '2026-01-01T00:00:00Z'
      return ['', 'a', 'web', 'Always', 'TCP', 'a.b/c', '10.0.0.1', '/x', 'A B', '*', 'Never', '10.0.0.0/8'][next(12)]
    default: {
      const names = Object.keys(schema.properties ?? {})
      if (names.length === 0) return typeof schema.additionalProperties === 'object' && depth < 12 ? { [['a', 'b.c/d', ''][next(3)] as string]: along(schema.additionalProperties, next, depth + 1) } : {}
      const most = depth > 9 ? 1 : depth < 4 ? names.length : 5
      return Object.fromEntries(Array.from({ length: 1 + next(most) }, () => names[next(names.length)] as string).map((name) => [name, along(schema.properties?.[name] as Schema, next, depth + 1)]))
    }
  }
}

/** The tests, on what `open` gives. @param runs how often a property is tried at most */
export function fuzzApi(what: string, open: OpenStores, runs = RUNS): void {
  describe(what, () => {
    const options = { numRuns: runs }
    let servers: Harness[] = []
    let turn = 0
    const logged: string[] = []
    let former: ReturnType<typeof setLogSink>
    const call = <T>(method: ApiRequest['method'], path: string, body?: object | string, headers: Record<string, string> = {}): Promise<Answer<T>> => (servers[turn++ % servers.length] as Harness).call<T>(method, path, body, { headers })
    before(async () => {
      former = setLogSink((record) => void logged.push(JSON.stringify(record)))
      for (const store of await open()) servers = [...servers, await startHarness({ store })]
      await call('POST', '/api/v1/namespaces/default/configmaps', { metadata: { name: 'kept' }, data: { a: 'b' } })
    })
    after(async () => {
      for (const h of servers) await h[Symbol.asyncDispose]()
      setLogSink(former)
    })

    async function ask(method: ApiRequest['method'], path: string, body?: object | string, headers: Record<string, string> = {}): Promise<void> {
      const answer = await call<Status | string>(method, path, body, headers)
      const status = typeof answer.body === 'string' ? undefined : answer.body
      const fine = CODES.has(answer.status) || (answer.status === 500 && status?.reason === undefined && /^(failed to create typed patch object|map: |unknown patch type)/.test(status?.message ?? ''))
      assert.ok(fine, `${method} ${path} ${JSON.stringify(body)?.slice(0, 500)}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 500)}\n${logged.at(-1)}`)
    }
    /** Nothing asked here touches it. */
    async function kept(): Promise<void> {
      assert.deepEqual((await call<{ data: object }>('GET', '/api/v1/namespaces/default/configmaps/kept')).body.data, { a: 'b' })
    }

    test('paths and queries of all kinds are answered, and never by a failure of the server', { timeout: 120_000 }, async () => {
      await fc.assert(fc.asyncProperty(fc.constantFrom<ApiRequest['method']>('GET', 'POST', 'PUT', 'PATCH', 'DELETE'), path, query, async (method, p, q) => {
        // Deletes of whole collections are asked for elsewhere.
        if (method === 'DELETE' && !p.includes('/x')) return
        await ask(method, p + q, method === 'GET' || method === 'DELETE' ? undefined : {}, { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' })
      }), options)
      await kept()
    })

    test('lists take any selector, number and token', { timeout: 120_000 }, async () => {
      await fc.assert(fc.asyncProperty(query, (q) => ask('GET', `/api/v1/namespaces/default/configmaps${q}`)), options)
    })

    test('bodies and patches of all shapes are taken or refused', { timeout: 120_000 }, async () => {
      const deployments = '/apis/apps/v1/namespaces/default/deployments'
      const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 1 }] }] } }
      assert.equal((await call('POST', deployments, { metadata: { name: 'd', finalizers: ['a.io/x'] }, spec: { selector: { matchLabels: { a: 'b' } }, template } })).status, 201)
      const types = fc.constantFrom('merge-patch+json', 'strategic-merge-patch+json', 'apply-patch+yaml')
      await fc.assert(fc.asyncProperty(types, value, fc.boolean(), (type, sent, force) => {
        const body = type === 'apply-patch+yaml' && typeof sent === 'object' && !Array.isArray(sent) ? { ...sent, apiVersion: 'apps/v1', kind: 'Deployment' } : sent
        const apply = type === 'apply-patch+yaml' ? `?fieldManager=fuzz&force=${force}` : ''
        return ask('PATCH', `${deployments}/d${apply}`, JSON.stringify(body), { 'content-type': `application/${type}` })
      }), options)
      await fc.assert(fc.asyncProperty(fc.array(operation, { maxLength: 4 }), (operations) => ask('PATCH', `${deployments}/d`, JSON.stringify(operations), { 'content-type': 'application/json-patch+json' })), options)
      await fc.assert(fc.asyncProperty(value, (sent) => ask('POST', `${deployments}?dryRun=All`, JSON.stringify(sent), { 'content-type': 'application/json' })), options)
      await fc.assert(fc.asyncProperty(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('{', '}', '[', ']', ':', ',', '"', '-', ' ', '\n', 'a', '&a', '*a', '!!x', '1', '|') })), fc.constantFrom('json', 'yaml'), (text, type) => ask('POST', '/api/v1/namespaces/default/configmaps?dryRun=All', text, { 'content-type': `application/${type}` })), options)
      await kept()
    })

    test('bombs of depth are measured before they are read, and refused', async () => {
      for (const [open, close] of [['[', ']'], ['{"a":', '}']] as const) {
        const bomb = open.repeat(100_000) + (open === '[' ? '' : '1') + close.repeat(100_000)
        assert.equal(depthOf(bomb), 100_000)
        for (const type of ['json', 'merge-patch+json', 'json-patch+json', 'apply-patch+yaml']) {
          const patch = type !== 'json'
          await ask(patch ? 'PATCH' : 'POST', `/api/v1/namespaces/default/configmaps${patch ? '/kept?fieldManager=f' : ''}`, bomb, { 'content-type': `application/${type}` })
        }
      }
      const yaml = 'a: &a [x,x,x,x,x,x,x,x,x]\n' + Array.from({ length: 20 }, (_, i) => `b${i}: &b${i} [${Array.from({ length: 9 }, () => (i === 0 ? '*a' : `*b${i - 1}`)).join(',')}]`).join('\n')
      for (const [method, at] of [['POST', ''], ['PATCH', '/bomb?fieldManager=f']] as const) {
        const sent = `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n${yaml}\ndata: {x: *b19}`
        const { status, body } = await call<Status>(method, `/api/v1/namespaces/default/configmaps${at}`, sent, { 'content-type': method === 'POST' ? 'application/yaml' : 'application/apply-patch+yaml' })
        assert.equal(status, 400)
        assert.match(body.message ?? '', /document contains excessive aliasing/)
      }
      for (const deep of [1_000, 50_000]) await ask('POST', '/api/v1/namespaces/default/configmaps', `a: ${'- '.repeat(deep)}x`, { 'content-type': 'application/yaml' })
      for (const deep of [100, 240, 1_000]) await ask('POST', '/api/v1/namespaces/default/configmaps', `a:\n ${'- '.repeat(deep)}x`, { 'content-type': 'application/yaml' })
      await ask('POST', '/api/v1/namespaces/default/configmaps', '- '.repeat(50_000), { 'content-type': 'application/yaml' })
      await kept()
    })

    test('objects of every kind, made of their own fields in any state, are taken or refused', { timeout: 120_000 }, async () => {
      const kinds = RESOURCES.filter((d) => d.verbs.includes('create') && d.served !== 'virtual')
      await fc.assert(fc.asyncProperty(fc.constantFrom(...kinds), fc.integer(), async (def, seed) => {
        let state = seed
        const next = (below: number): number => {
          // mulberry32: the same seed gives the same object.
          state = (state + 0x6d2b79f5) | 0
          let t = Math.imul(state ^ (state >>> 15), 1 | state)
          t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
          return ((t ^ (t >>> 14)) >>> 0) % below
        }
        const object = along(schemaOf(def.schema), next, 0) as Obj
        const body = { ...object, apiVersion: apiVersionOf(def), kind: def.kind, metadata: { ...(object.metadata as object | undefined), name: 'fuzz', namespace: undefined, resourceVersion: undefined } }
        const path = `${def.group === '' ? '/api/v1' : `/apis/${def.group}/${def.version}`}/${def.namespaced ? 'namespaces/default/' : ''}${def.resource}`
        await ask('POST', `${path}?dryRun=All`, JSON.stringify(body), { 'content-type': 'application/json' })
        await ask('PATCH', `${path}/fuzz?dryRun=All&fieldManager=f`, JSON.stringify(body), { 'content-type': 'application/apply-patch+yaml' })
      }), { numRuns: Math.ceil(runs / 2) })
    })
  })
}
