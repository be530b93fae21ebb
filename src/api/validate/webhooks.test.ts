import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MutatingWebhookConfiguration } from '../gen/types.ts'
import { webhookConfigurationErrors } from './webhooks.ts'

const RULE = { operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }
const HOOK = { name: 'a.b.c', admissionReviewVersions: ['v1'], sideEffects: 'None', clientConfig: { url: 'https://h/x' }, rules: [RULE] }
const told = (change: object, ...more: object[]): string[] =>
  webhookConfigurationErrors({ webhooks: [{ ...HOOK, ...change }, ...more] } as MutatingWebhookConfiguration).map((e) => `${e.field.replace('webhooks[0].', '')} ${e.message}`)
const rule = (change: object): object => ({ rules: [{ ...RULE, ...change }] })

const CASES: readonly [object, string][] = [
  [{ name: 'a.b' }, 'name Invalid value: "a.b": should be a domain with at least three segments separated by dots'],
  [{ name: '' }, 'name Required value'],
  [{ admissionReviewVersions: [] }, 'admissionReviewVersions Required value: must specify one of v1, v1beta1'],
  [{ admissionReviewVersions: ['v2'] }, 'admissionReviewVersions Invalid value: ["v2"]: must include at least one of v1, v1beta1'],
  [{ admissionReviewVersions: ['v1', 'v1'] }, 'admissionReviewVersions[1] Invalid value: "v1": duplicate version'],
  [{ sideEffects: undefined }, 'sideEffects Required value: must specify one of None, NoneOnDryRun'],
  [{ sideEffects: 'Some' }, 'sideEffects Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'],
  [{ failurePolicy: 'Maybe' }, 'failurePolicy Unsupported value: "Maybe": supported values: "Fail", "Ignore"'],
  [{ matchPolicy: 'Near' }, 'matchPolicy Unsupported value: "Near": supported values: "Equivalent", "Exact"'],
  [{ reinvocationPolicy: 'Always' }, 'reinvocationPolicy Unsupported value: "Always": supported values: "IfNeeded", "Never"'],
  [{ timeoutSeconds: 31 }, 'timeoutSeconds Invalid value: 31: the timeout value must be between 1 and 30 seconds'],
  [{ clientConfig: {} }, 'clientConfig Required value: exactly one of url or service is required'],
  [{ clientConfig: { url: 'https://u:p@h/' } }, 'clientConfig.url Invalid value: "u:p": user information is not permitted in the URL'],
  [{ clientConfig: { url: 'https://h/?a=b' } }, 'clientConfig.url Invalid value: "a=b": query parameters are not permitted in the URL'],
  [{ clientConfig: { url: 'https:///x' } }, 'clientConfig.url Invalid value: "": host must be specified; desired format: https://host[/path]'],
  [{ clientConfig: { service: { name: 'a', namespace: 'b', path: 'x', port: 0 } } }, "clientConfig.service.path Invalid value: \"x\": must start with a '/'"],
  [{ clientConfig: { service: { name: 'a', namespace: 'b', port: 70000 } } }, 'clientConfig.service.port Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive'],
  [{ clientConfig: { url: 'https://h/', caBundle: 'AAAA' } }, 'clientConfig.caBundle Invalid value: "AAAA": unable to load root certificates: unable to parse bytes as PEM block'],
  [rule({ operations: ['*', 'CREATE'] }), "rules[0].operations Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations"],
  [rule({ operations: ['PATCH'] }), 'rules[0].operations[0] Unsupported value: "PATCH": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"'],
  [rule({ apiVersions: [] }), 'rules[0].apiVersions Required value'],
  [rule({ resources: ['*', 'pods'] }), "rules[0].resources Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources"],
  [rule({ resources: ['pods/*', 'pods/status'] }), "rules[0].resources[1] Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status"],
  [rule({ scope: 'Node' }), 'rules[0].scope Unsupported value: "Node": supported values: "*", "Cluster", "Namespaced"'],
  [{ matchConditions: [{ name: 'a', expression: '' }] }, 'matchConditions[0].expression Required value'],
  [{ matchConditions: [{ name: 'a', expression: 'true' }, { name: 'a', expression: 'true' }] }, 'matchConditions[1].name Duplicate value: "a"'],
  [{ objectSelector: { matchExpressions: [{ key: 'a', operator: 'In' }] } }, "objectSelector.matchExpressions[0].values Required value: must be specified when `operator` is 'In' or 'NotIn'"],
]

test('webhook configurations are held to their rules, in Kubernetes\' words', () => {
  assert.deepEqual(told({}), [])
  assert.deepEqual(told({ clientConfig: { service: { name: 'a', namespace: 'b', path: '/x/y', port: 8443 } }, rules: [{ ...RULE, resources: ['*', '*/scale', 'pods/*'] }] }), [])
  for (const [change, text] of CASES) assert.ok(told(change).includes(text), `${text}\nin ${JSON.stringify(told(change), null, 1)}`)
  assert.deepEqual(told({}, HOOK), ['webhooks[1].name Duplicate value: "a.b.c"'])
})
