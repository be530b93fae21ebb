import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { CustomResourceDefinition } from '../gen/types.ts'
import { crdCreateErrors, crdErrors, crdStatusErrors, crdUpdateErrors } from './crd.ts'

type Mutable = Record<string, unknown>
const definition = (change: (spec: Mutable & { versions: Mutable[]; names: Mutable }) => void = () => undefined, group = 'x.io'): CustomResourceDefinition => {
  const spec = {
    group,
    scope: 'Namespaced',
    names: { plural: 'cams', singular: 'cam', kind: 'Cam', listKind: 'CamList' },
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }] as Mutable[],
  }
  change(spec as never)
  return { metadata: { name: `cams.${group}` }, spec } as never
}
const told = (crd: CustomResourceDefinition): string[] => [...crdErrors(crd), ...crdCreateErrors(crd)].map((e) => `${e.field} ${e.message}`)
const ofSchema = (spec: object, version: Mutable = {}): string[] =>
  told(definition((s) => Object.assign(s.versions[0] as Mutable, { schema: { openAPIV3Schema: { type: 'object', properties: { spec } } } }, version))).map((t) => t.replaceAll('spec.versions[0].schema.openAPIV3Schema.properties[spec]', '$'))

const PARTS: readonly [string, Parameters<typeof definition>[0], string][] = [
  ['no group', (s) => (s.group = ''), 'spec.group Required value'],
  ['group of one word', (s) => (s.group = 'x'), 'spec.group Invalid value: "x": should be a domain with at least one dot'],
  ['scope', (s) => (s.scope = 'Global'), 'spec.scope Unsupported value: "Global": supported values: "Cluster", "Namespaced"'],
  ['kind and listKind', (s) => (s.names.listKind = 'Cam'), 'spec.names.listKind Invalid value: "Cam": kind and listKind may not be the same'],
  ['kind of wrong letters', (s) => (s.names.kind = 'Ca_m'), 'spec.names.kind Invalid value: "Ca_m": may have mixed case, but should otherwise match: a DNS-1035 label must consist'],
  ['short name', (s) => (s.names.shortNames = ['ok', 'No']), 'spec.names.shortNames[1] Invalid value: "No"'],
  ['no storage', (s) => ((s.versions[0] as Mutable).storage = false), 'must have exactly one version marked as storage version'],
  ['twice a version', (s) => s.versions.push({ ...s.versions[0], storage: false }), 'must contain unique version names'],
  ['no schema', (s) => delete (s.versions[0] as Mutable).schema, 'spec.versions[0].schema.openAPIV3Schema Required value: schemas are required'],
  ['preserveUnknownFields', (s) => (s.preserveUnknownFields = true), 'spec.preserveUnknownFields Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead'],
  ['column type', (s) => ((s.versions[0] as Mutable).additionalPrinterColumns = [{ name: 'a', type: 'int', jsonPath: '.a' }]), 'additionalPrinterColumns[0].type Invalid value: "int": must be one of boolean,date,integer,number,string'],
  ['column path', (s) => ((s.versions[0] as Mutable).additionalPrinterColumns = [{ name: 'a', type: 'string', jsonPath: 'a' }]), 'additionalPrinterColumns[0].JSONPath Invalid value: "a": must be a simple json path starting with .'],
  ['scale path', (s) => ((s.versions[0] as Mutable).subresources = { scale: { specReplicasPath: '.status.n', statusReplicasPath: '.status.n', labelSelectorPath: '.x' } }), 'subresources.scale.labelSelectorPath Invalid value: ".x": should be a json path under either .spec or .status'],
  ['deprecation without flag', (s) => ((s.versions[0] as Mutable).deprecationWarning = 'old'), 'deprecationWarning Invalid value: "old": can only be set for deprecated versions'],
  ['selectable metadata', (s) => ((s.versions[0] as Mutable).selectableFields = [{ jsonPath: '.spec.gone' }]), 'selectableFields[0].jsonPath Invalid value: ".spec.gone": is an invalid path: does not refer to a valid field'],
  ['conversion without webhook', (s) => (s.conversion = { strategy: 'Webhook' }), 'spec.conversion.webhookClientConfig Required value: required when strategy is set to Webhook'],
  ['conversion by http', (s) => (s.conversion = { strategy: 'Webhook', webhook: { clientConfig: { url: 'http://x/' }, conversionReviewVersions: ['v1'] } }), "webhookClientConfig.url Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"],
  ['conversion by url and service', (s) => (s.conversion = { strategy: 'Webhook', webhook: { clientConfig: { url: 'https://x/', service: { name: 'a', namespace: 'b' } }, conversionReviewVersions: ['v1'] } }), 'webhookClientConfig Required value: exactly one of url or service is required'],
  ['conversion of an unknown review', (s) => (s.conversion = { strategy: 'Webhook', webhook: { clientConfig: { url: 'https://x/' }, conversionReviewVersions: ['v3'] } }), 'spec.conversion.conversionReviewVersions Invalid value: ["v3"]: must include at least one of v1, v1beta1'],
  ['webhook without its strategy', (s) => (s.conversion = { strategy: 'None', webhook: { clientConfig: { url: 'https://x/' }, conversionReviewVersions: ['v1'] } }), 'webhookClientConfig Forbidden: should not be set when strategy is not set to Webhook'],
]

test('names, versions, subresources and conversion are held to their rules', () => {
  assert.deepEqual(told(definition()), [])
  for (const [what, change, text] of PARTS) assert.ok(told(definition(change)).some((t) => t.includes(text)), `${what}: ${JSON.stringify(told(definition(change)))}`)
})

const SCHEMAS: readonly [object, string][] = [
  [{}, '$.type Required value: must not be empty for specified object fields'],
  [{ type: 'array', items: {} }, '$.items.type Required value: must not be empty for specified array items'],
  [{ type: 'array' }, '$.items Required value: must be specified'],
  [{ type: 'string', pattern: '^(?!a)' }, '$.pattern Invalid value: "^(?!a)": must be a valid regular expression, but isn\'t: error parsing regexp: invalid or unsupported Perl syntax: `(?!`'],
  [{ type: 'float' }, '$.type Unsupported value: "float": supported values: "array", "boolean", "integer", "number", "object", "string"'],
  [{ type: 'object', $ref: '#/x' }, '$.$ref Forbidden: $ref is not supported'],
  [{ type: 'object', definitions: { a: { type: 'string' } } }, '$.definitions Forbidden: definitions is not supported'],
  [{ type: 'object', patternProperties: { a: { type: 'string' } } }, '$.patternProperties Forbidden: patternProperties is not supported'],
  [{ type: 'array', items: [{ type: 'string' }] }, '$.items Forbidden: items must be a schema object and not an array'],
  [{ type: 'array', items: { type: 'string' }, uniqueItems: true }, '$.uniqueItems Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic'],
  [{ type: 'object', properties: { a: { type: 'string' } }, additionalProperties: { type: 'string' } }, '$.additionalProperties Forbidden: additionalProperties and properties are mutual exclusive'],
  [{ 'x-kubernetes-int-or-string': true, type: 'string' }, '$.type Forbidden: must be empty if x-kubernetes-int-or-string is true'],
  [{ 'x-kubernetes-int-or-string': true, 'x-kubernetes-preserve-unknown-fields': true }, '$.x-kubernetes-preserve-unknown-fields Invalid value: true: must be false if x-kubernetes-int-or-string is true'],
  [{ type: 'object', 'x-kubernetes-preserve-unknown-fields': false }, '$.x-kubernetes-preserve-unknown-fields Invalid value: false: must be true or undefined'],
  [{ type: 'object', 'x-kubernetes-embedded-resource': true }, '$.properties Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields'],
  [{ type: 'string', 'x-kubernetes-map-type': 'atomic' }, '$.type Invalid value: "string": must be object if x-kubernetes-map-type is specified'],
  [{ type: 'object', 'x-kubernetes-map-type': 'loose' }, '$.x-kubernetes-map-type Unsupported value: "loose": supported values: "atomic", "granular"'],
  [{ type: 'array', items: { type: 'object' }, 'x-kubernetes-list-type': 'set' }, '$.items.x-kubernetes-map-type Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set'],
  [{ type: 'array', items: { type: 'string' }, 'x-kubernetes-list-map-keys': ['a'] }, '$.x-kubernetes-list-type Required value: must be map if x-kubernetes-list-map-keys is non-empty'],
  [{ type: 'array', items: { type: 'object' }, 'x-kubernetes-list-type': 'map' }, '$.x-kubernetes-list-map-keys Required value: must not be empty if x-kubernetes-list-type is map'],
  [{ type: 'array', items: { type: 'string' }, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['a'] }, "$.items.type Invalid value: \"string\": must be object if parent array's x-kubernetes-list-type is map"],
  [{ type: 'array', items: { type: 'object', properties: { a: { type: 'string' } } }, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['a'] }, '$.items.properties[a].default Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property'],
  [{ type: 'array', items: { type: 'object', required: ['a'], properties: { a: { type: 'string', nullable: true } } }, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['a'] }, '$.items.properties[a].nullable Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable'],
  [{ type: 'object', anyOf: [{ required: ['a'], type: 'object' }] }, '$.anyOf[0].type Forbidden: must be empty to be structural'],
  [{ type: 'object', allOf: [{ properties: { a: { description: 'x' } } }], properties: { a: { type: 'string' } } }, '$.allOf[0].properties[a].description Forbidden: must be empty to be structural'],
  [{ type: 'object', oneOf: [{ properties: { b: { minLength: 1 } } }] }, '$.properties[b] Required value: because it is defined in $.oneOf[0].properties[b]'],
  [{ type: 'object', not: { nullable: true } }, '$.not.nullable Forbidden: must be false to be structural'],
  [{ type: 'string', default: 1 }, '$.default Invalid value: "integer": $.default in body must be of type string: "integer"'],
  [{ type: 'object', default: { a: 1 } }, '$.default Invalid value: {"a":1}: must not have unknown fields'],
  [{ type: 'string', default: null }, '$.default Invalid value: null: must not be null unless nullable is true'],
  [{ type: 'object', 'x-kubernetes-validations': [{ rule: ' ' }] }, '$.x-kubernetes-validations[0].rule Required value: rule is not specified'],
  [{ type: 'object', 'x-kubernetes-validations': [{ rule: 'true\n|| false' }] }, '$.x-kubernetes-validations[0].message Required value: message must be specified if rule contains line breaks'],
  [{ type: 'object', 'x-kubernetes-validations': [{ rule: 'true', reason: 'Why' }] }, '$.x-kubernetes-validations[0].reason Unsupported value: "Why": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"'],
  [{ type: 'object', 'x-kubernetes-validations': [{ rule: 'true', fieldPath: '.gone' }] }, '$.x-kubernetes-validations[0].fieldPath Invalid value: ".gone": fieldPath must be a valid path'],
]

test('schemas are structural, each fault told where it is', () => {
  for (const [schema, text] of SCHEMAS) assert.ok(ofSchema(schema).includes(text), `${text}\n in ${JSON.stringify(ofSchema(schema), null, 1)}`)
  const fine: object[] = [
    { 'x-kubernetes-int-or-string': true, anyOf: [{ type: 'integer' }, { type: 'string' }] },
    { 'x-kubernetes-int-or-string': true, allOf: [{ anyOf: [{ type: 'integer' }, { type: 'string' }] }, { pattern: '^a' }] },
    { type: 'object', properties: { a: { type: 'string' }, b: { type: 'string' } }, oneOf: [{ required: ['a'] }, { required: ['b'], properties: { a: { maxLength: 1 } } }] },
    { type: 'object', 'x-kubernetes-embedded-resource': true, 'x-kubernetes-preserve-unknown-fields': true, properties: { metadata: { type: 'object', properties: { name: { type: 'string', pattern: '^a' } } } } },
    { 'x-kubernetes-preserve-unknown-fields': true },
    { type: 'array', items: { type: 'object', required: ['a'], properties: { a: { type: 'string' } } }, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['a'], default: [] },
  ]
  for (const schema of fine) assert.deepEqual(ofSchema(schema), [], JSON.stringify(schema))
})

test('metadata in a schema speaks of names only, and defaults stay out of it', () => {
  const root = (metadata: object): string[] => told(definition((s) => Object.assign(s.versions[0] as Mutable, { schema: { openAPIV3Schema: { type: 'object', properties: { metadata } } } })))
  assert.deepEqual(root({ type: 'object' }), [])
  assert.deepEqual(root({ type: 'object', properties: { name: { type: 'string', maxLength: 5 } } }), [])
  assert.match(root({ type: 'object', properties: { labels: { type: 'object' } } }).join(), /must not specify anything other than name and generateName, but metadata is implicitly specified/)
  assert.match(root({ type: 'object', properties: { name: { type: 'string', default: 'a' } } }).join(), /default Forbidden: must not be set in top-level metadata/)
})

test('what an established definition keeps, what its status must say, and who may name groups of Kubernetes', () => {
  const established = { conditions: [{ type: 'Established', status: 'True' }], storedVersions: ['v1'] }
  const old = { ...definition(), status: established } as never as CustomResourceDefinition
  const next = { ...definition((s) => Object.assign(s, { scope: 'Cluster', names: { ...s.names, kind: 'Other' } })), status: established } as never as CustomResourceDefinition
  assert.deepEqual(crdUpdateErrors(next, old).map((e) => `${e.field} ${e.message}`), ['spec.scope Invalid value: "Cluster": field is immutable', 'spec.names.kind Invalid value: "Other": field is immutable'])
  const gone = { ...definition((s) => Object.assign(s.versions[0] as Mutable, { name: 'v2' })), status: { storedVersions: ['v1', 'v2'] } } as never as CustomResourceDefinition
  assert.match(crdStatusErrors(gone)[0]?.message ?? '', /missing from spec\.versions; v1 was previously a storage version, and must remain/)
  const ours = definition(() => undefined, 'apps.k8s.io')
  assert.match(told(ours).join(), /metadata\.annotations\[api-approved\.kubernetes\.io\] Required value: protected groups must have approval annotation/)
  const annotated = (text: string): CustomResourceDefinition => ({ ...ours, metadata: { ...ours.metadata, annotations: { 'api-approved.kubernetes.io': text } } })
  assert.deepEqual(told(annotated('https://github.com/kubernetes/kubernetes/pull/1')), [])
  assert.deepEqual(told(annotated('unapproved, experimental-only')), [])
  assert.match(told(annotated('yes')).join(), /with either a URL or a reason starting with "unapproved"/)
})

test('any schema is read without throwing, in bounded depth', () => {
  const key = fc.constantFrom('type', 'properties', 'items', 'additionalProperties', 'allOf', 'not', 'default', 'x-kubernetes-list-type', 'x-kubernetes-validations', 'pattern', 'required', 'metadata')
  // What the decoder lets through: schemas stand where schemas belong.
  const level = (below: fc.Arbitrary<object>): fc.Arbitrary<object> =>
    fc.record(
      {
        type: fc.constantFrom('object', 'array', 'string', '', 'x'), properties: fc.dictionary(key, below, { maxKeys: 3 }), items: fc.oneof(fc.array(below, { maxLength: 1 }), below), allOf: fc.array(below, { maxLength: 2 }), not: below,
        default: fc.jsonValue(), pattern: fc.string({ maxLength: 6 }), required: fc.array(key), additionalProperties: fc.oneof(fc.boolean(), below), 'x-kubernetes-list-type': fc.constantFrom('set', 'map', 'atomic', 'no'),
        'x-kubernetes-list-map-keys': fc.array(key), 'x-kubernetes-int-or-string': fc.boolean(), 'x-kubernetes-embedded-resource': fc.boolean(),
      },
      { requiredKeys: [] },
    )
  const schema = level(level(level(fc.constant({}))))
  fc.assert(fc.property(schema, (s) => ofSchema(s).length >= 0), { seed: 7, numRuns: 200 })
  let deep: object = { type: 'string' }
  for (let i = 0; i < 5_000; i++) deep = { type: 'object', properties: { a: deep } }
  assert.match(ofSchema(deep).join(), /schemas may not be nested deeper than 100 levels/)
})
