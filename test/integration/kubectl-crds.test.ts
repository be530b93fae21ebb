/** Definitions as kubectl users meet them: refusals, rules, columns, fields, versions behind a webhook, and admission webhooks. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setLogSink } from '../../src/base/log.ts'
import { KUBECTL, startTls, type TlsServer } from '../kit/api-tls.ts'
import { startHookServer, type HookServer } from '../kit/hook-server.ts'

const skip = existsSync(KUBECTL) ? false : 'no kubectl in dist/clients: run tools/unpack-clients.ts'
let server: TlsServer
let hook: HookServer
const former = setLogSink(() => undefined)

interface Boat {
  readonly apiVersion: string
  readonly spec: { readonly length?: string; readonly metres?: number }
}
interface Review {
  readonly kind: string
  readonly apiVersion: string
  readonly request: { readonly uid: string; readonly desiredAPIVersion: string; readonly objects: Boat[]; readonly object?: { readonly spec?: { readonly metres?: number } } }
}

/** v1 says `metres: 12`, v1beta1 `length: 12m`. */
function answer(path: string, body: unknown): unknown {
  const { kind, apiVersion, request } = body as Review
  if (path === '/admit') return { kind, apiVersion, response: { uid: request.uid, allowed: (request.object?.spec?.metres ?? 0) < 100, status: { message: 'no boat is that long' }, warnings: ['boats are inspected'] } }
  const convertedObjects = request.objects.map((o) => ({ ...o, apiVersion: request.desiredAPIVersion, spec: request.desiredAPIVersion.endsWith('/v1') ? { metres: Number.parseInt(o.spec.length ?? '0', 10) } : { length: `${o.spec.metres}m` } }))
  return { kind, apiVersion, response: { uid: request.uid, result: { status: 'Success' }, convertedObjects } }
}

before(async () => {
  if (skip) return
  hook = await startHookServer(answer)
  server = await startTls()
})
after(async () => {
  setLogSink(former)
  if (skip) return
  await server[Symbol.asyncDispose]()
  await hook[Symbol.asyncDispose]()
})

async function ok(line: string, stdin?: string): Promise<string> {
  const { code, out, err } = await server.kubectl(line.split(' '), stdin)
  assert.equal(code, 0, `kubectl ${line}: ${err}`)
  return out + err
}
async function fails(line: string, stdin?: string): Promise<string> {
  const { code, err } = await server.kubectl(line.split(' '), stdin)
  assert.notEqual(code, 0, `kubectl ${line} should fail`)
  return err
}

const definition = (spec: object, conversion: object = { strategy: 'None' }): string =>
  JSON.stringify({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'boats.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'boats', singular: 'boat', kind: 'Boat', shortNames: ['bt'] },
      conversion,
      versions: [
        { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object', properties: { spec } } }, additionalPrinterColumns: [{ name: 'Metres', type: 'integer', jsonPath: '.spec.metres' }], selectableFields: [{ jsonPath: '.spec.metres' }] },
        { name: 'v1beta1', served: true, storage: false, deprecated: true, schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { length: { type: 'string' } } } } } } },
      ],
    },
  })
const SPEC = { type: 'object', required: ['metres'], properties: { metres: { type: 'integer', minimum: 1, 'x-kubernetes-validations': [{ rule: 'self >= oldSelf', message: 'boats do not shrink' }] } } }
const boat = (name: string, spec: object, version = 'v1'): string => JSON.stringify({ apiVersion: `example.com/${version}`, kind: 'Boat', metadata: { name }, spec })

test('a definition that is wrong is refused where it is wrong', { skip, timeout: 60_000 }, async () => {
  const told = await fails('apply -f -', definition({ type: 'object', properties: { a: { type: 'array' }, b: { type: 'string', 'x-kubernetes-validations': [{ rule: 'self.size() > 1 && self.c' }] } } }))
  assert.match(told, /The CustomResourceDefinition "boats\.example\.com" is invalid:/)
  assert.match(told, /\* spec\.versions\[0\]\.schema\.openAPIV3Schema\.properties\[spec\]\.properties\[a\]\.items: Required value: must be specified/)
})

test('objects are held to schema and rules; versions are converted; columns and fields are served', { skip, timeout: 60_000 }, async () => {
  await ok('apply -f -', definition(SPEC, { strategy: 'Webhook', webhook: { clientConfig: hook.config('/convert'), conversionReviewVersions: ['v1'] } }))
  await ok('wait --for=condition=Established crd/boats.example.com --timeout=10s')
  await ok('create -f -', boat('a', { metres: 12 }))
  assert.match(await ok('create -f -', boat('b', { length: '20m' }, 'v1beta1')), /Warning: example\.com\/v1beta1 Boat is deprecated; use example\.com\/v1 Boat/)
  assert.match(await ok('get bt'), /^NAME +METRES\na +12\nb +20\n/)
  assert.match(await ok('get boats.v1beta1.example.com a -o jsonpath={.apiVersion}/{.spec.length}'), /^example\.com\/v1beta1\/12m/)
  assert.match(await ok('get boats --field-selector spec.metres=20 -o name'), /^boat\.example\.com\/b\n$/)
  assert.match(await fails('create -f -', boat('c', { metres: 'ten' })), /spec\.metres: Invalid value: "string": spec\.metres in body must be of type integer: "string"/)
  assert.match(await fails('create -f -', boat('c', {})), /spec\.metres: Required value/)
  assert.match(await fails('patch boat a --type merge -p {"spec":{"metres":3}}'), /The Boat "a" is invalid: spec\.metres: Invalid value: "integer": boats do not shrink/)
  assert.match(await ok('explain boat.spec'), /metres\s+<integer> -required-/)
})

test('an admission webhook refuses and warns', { skip, timeout: 60_000 }, async () => {
  const rules = [{ operations: ['CREATE', 'UPDATE'], apiGroups: ['example.com'], apiVersions: ['v1'], resources: ['boats'] }]
  const config = { apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingWebhookConfiguration', metadata: { name: 'boats' }, webhooks: [{ name: 'boats.example.com', admissionReviewVersions: ['v1'], sideEffects: 'None', rules, clientConfig: hook.config('/admit') }] }
  await ok('apply -f -', JSON.stringify(config))
  assert.match(await fails('create -f -', boat('d', { metres: 300 })), /admission webhook "boats\.example\.com" denied the request: no boat is that long/)
  // Sent in the other version, it is shown in the one the webhook asked for.
  assert.match(await fails('create -f -', boat('d', { length: '300m' }, 'v1beta1')), /no boat is that long/)
  assert.match(await ok('create -f -', boat('d', { metres: 30 })), /Warning: boats are inspected/)
  await ok('delete validatingwebhookconfiguration boats')
  await ok('delete crd boats.example.com --timeout=20s')
  assert.match(await fails('get boats'), /the server (doesn't have a resource type "boats"|could not find the requested resource)/)
})
