import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ManagedFieldsEntry } from '../api/meta.ts'
import { kubectlTests } from '../../test/kit/api-tls.ts'

const { skip, ok, fails } = kubectlTests()

const config = (x: string): string => JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { x, y: '1' } })
const deployment = (spec: string): string => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: "app:1"}]}}
${spec}`
const owners = async (what: string): Promise<string[]> => {
  const { metadata } = JSON.parse(await ok(`get ${what} -o json --show-managed-fields`)) as { metadata: { managedFields?: ManagedFieldsEntry[] } }
  return (metadata.managedFields ?? []).map((e) => `${e.manager} ${e.operation}${e.subresource ? ` ${e.subresource}` : ''}`)
}

test('what kubectl applied on its side, its server-side apply takes over, and one can go back', { skip, timeout: 60_000 }, async () => {
  await ok('apply -f -', config('1'))
  assert.deepEqual(await owners('cm a'), ['kubectl-client-side-apply Update'])
  assert.match(await ok('apply --server-side -f -', config('2')), /configmap\/a serverside-applied/)
  assert.ok((await owners('cm a')).includes('kubectl Apply'))
  assert.ok(!(await owners('cm a')).includes('kubectl-client-side-apply Update'))
  const clash = await fails('apply --server-side --field-manager=other -f -', config('3'))
  assert.match(clash, /^error: Apply failed with 1 conflict: conflict with "kubectl": \.data\.x\nPlease review the fields above/)
  await ok('apply --server-side --field-manager=other --force-conflicts -f -', config('3'))
  assert.match(await ok('apply -f -', config('4')), /configmap\/a configured/)
  assert.equal(await ok('get cm a -o jsonpath={.data.x}'), '4')
})

test('scale, its table, and who owns the replicas are what kubectl users know', { skip, timeout: 60_000 }, async () => {
  await ok('apply --server-side -f -', deployment('  replicas: 1'))
  await ok('scale deployment d --replicas=3')
  assert.deepEqual(await owners('deployment d'), ['kubectl Apply', 'kubectl Update scale'])
  assert.match(await fails('apply --server-side -f -', deployment('  replicas: 1')), /conflict with "kubectl" with subresource "scale" using apps\/v1: \.spec\.replicas/)
  assert.match(await ok('get deployment d --subresource=scale'), /^NAME +DESIRED +AVAILABLE +AGE\nd +3 +0 +/)
  assert.match(await ok('patch deployment d --subresource=scale --type=merge -p {"spec":{"replicas":7}}'), /scale\.autoscaling\/d patched/)
  // Without the field in the manifest the scaler keeps it.
  await ok('apply --server-side -f -', deployment(''))
  assert.equal(await ok('get deployment d -o jsonpath={.spec.replicas}'), '7')
})

test('a patch or manifest that does not fit is refused in words that kubectl users know', { skip, timeout: 60_000 }, async () => {
  assert.match(await fails('patch deployment d --type=json -p [{"op":"test","path":"/spec/replicas","value":9}]', ''), /^The request is invalid: the server rejected our request due to an error in our request/)
  assert.match(await fails('apply --server-side -f -', deployment('  replica: 2')), /^Error from server: failed to create typed patch object \(default\/d; apps\/v1, Kind=Deployment\): \.spec\.replica: field not declared in schema/)
  assert.match(await ok('patch deployment d -p {"spec":{"nonsense":1}}'), /patched \(no change\)\nWarning: unknown field "spec\.nonsense"/)
  assert.match(await fails('get cm --field-selector=data.x=1', ''), /"data\.x" is not a known field selector: only "metadata\.name", "metadata\.namespace"/)
  assert.match(await fails('create -f -', '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"z"},"daat":{}}'), /strict decoding error: unknown field "daat"/)
})
