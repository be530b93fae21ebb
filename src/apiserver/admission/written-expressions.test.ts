import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startHarness } from '../../../test/kit/api-harness.ts'
import type { Obj } from '../stored-text.ts'

interface Refusal {
  readonly message: string
  readonly details: { causes: { field: string; message: string }[] }
}
const POLICIES = '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies'
const DRA = '/apis/resource.k8s.io/v1'
const merge = { headers: { 'content-type': 'application/merge-patch+json' } }
const RULE = { operations: ['*'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }
const policy = (spec: object, name = 'p'): object => ({ metadata: { name }, spec: { matchConstraints: { resourceRules: [RULE] }, validations: [{ expression: 'true' }], ...spec } })

test('expressions of an admission policy are compiled when it is written, each with its variables', async () => {
  await using h = await startHarness()
  const refused = async (spec: object): Promise<(readonly [string, string])[]> => {
    const { status, body } = await h.call<Refusal>('POST', POLICIES, policy(spec))
    assert.equal(status, 422, JSON.stringify(body))
    return body.details.causes.map((c) => [c.field, c.message] as const)
  }
  const [[field, message] = ['', '']] = await refused({ validations: [{ expression: 'object.spec.replicas <=' }] })
  assert.equal(field, 'spec.validations[0].expression')
  assert.match(message, /^Invalid value: "object\.spec\.replicas <=": compilation failed: ERROR: <input>:1:24: Syntax error/)
  for (const [spec, at, words] of [
    [{ validations: [{ expression: '"yes"' }] }, 'spec.validations[0].expression', /must evaluate to bool$/],
    [{ validations: [{ expression: 'true', messageExpression: '1' }] }, 'spec.validations[0].messageExpression', /must evaluate to string$/],
    [{ validations: [{ expression: 'true', messageExpression: 'string(authorizer.path("/x").check("get").allowed())' }] }, 'spec.validations[0].messageExpression', /undeclared reference to 'authorizer'/],
    [{ auditAnnotations: [{ key: 'a', valueExpression: '1' }] }, 'spec.auditAnnotations[0].valueExpression', /must evaluate to one of \[string null_type\]$/],
    [{ validations: [{ expression: 'params.max > 1' }] }, 'spec.validations[0].expression', /undeclared reference to 'params'/],
    [{ matchConditions: [{ name: 'c', expression: 'variables.a' }], variables: [{ name: 'a', expression: 'true' }] }, 'spec.matchConditions[0].expression', /undeclared reference to 'variables'/],
    [{ variables: [{ name: 'late', expression: 'variables.after' }, { name: 'after', expression: '1' }] }, 'spec.variables[0].expression', /undefined field 'after'/],
  ] as const) {
    const causes = await refused(spec)
    assert.deepEqual(causes.map(([f]) => f), [at], JSON.stringify(causes))
    assert.match(causes[0]?.[1] ?? '', words)
  }
  const good = {
    paramKind: { apiVersion: 'v1', kind: 'ConfigMap' },
    matchConditions: [{ name: 'who', expression: 'request.userInfo.username != "admin" && params.data.size() > 0' }],
    variables: [{ name: 'n', expression: 'size(object.data)' }, { name: 'many', expression: 'variables.n > 3' }],
    validations: [{ expression: '!variables.many || authorizer.requestResource.check("delete").allowed()', messageExpression: '"has " + string(variables.n)' }],
    auditAnnotations: [{ key: 'n', valueExpression: 'string(variables.n)' }],
  }
  const made = await h.call<Refusal>('POST', POLICIES, policy(good))
  assert.equal(made.status, 201, made.body.message)
  const changed = await h.call<Refusal>('PATCH', `${POLICIES}/p`, { spec: { validations: [{ expression: 'variables.many + 1' }] } }, merge)
  assert.deepEqual([changed.status, changed.body.details.causes[0]?.field], [422, 'spec.validations[0].expression'])
  assert.equal((await h.call<Obj>('PATCH', `${POLICIES}/p`, { metadata: { labels: { a: 'b' } } }, merge)).status, 200)
})

test('selectors of devices are compiled in classes, claims and templates', async () => {
  await using h = await startHarness()
  const bad = [{ cel: { expression: 'device.driver ==' } }]
  const good = [{ cel: { expression: 'device.driver == "dev.skerry.io" && device.attributes["dev.skerry.io"].minor > 3' } }]
  const claim = (requests: object[]): object => ({ devices: { requests } })
  for (const [resource, spec, at] of [
    ['deviceclasses', { selectors: bad }, 'spec.selectors[0]'],
    ['namespaces/default/resourceclaims', claim([{ name: 'a', exactly: { deviceClassName: 'c', selectors: [...good, ...bad] } }]), 'spec.devices.requests[0].exactly.selectors[1]'],
    ['namespaces/default/resourceclaimtemplates', { spec: claim([{ name: 'a', firstAvailable: [{ name: 'x', deviceClassName: 'c', selectors: bad }] }]) }, 'spec.spec.devices.requests[0].firstAvailable[0].selectors[0]'],
  ] as const) {
    const refused = await h.call<Refusal>('POST', `${DRA}/${resource}`, { metadata: { name: 'x' }, spec })
    assert.equal(refused.status, 422, resource)
    assert.deepEqual(refused.body.details.causes.map((c) => c.field), [`${at}.cel.expression`])
    assert.match(refused.body.message, /compilation failed: ERROR: <input>:1:17: Syntax error/)
  }
  assert.equal((await h.call('POST', `${DRA}/deviceclasses`, { metadata: { name: 'x' }, spec: { selectors: good } })).status, 201)
})
