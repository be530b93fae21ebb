import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compareVersions, printerOf, resourceFromCrd } from './crd.ts'
import type { CustomResourceDefinition } from './gen/types.ts'
import { openApiV2, openApiV3 } from './openapi.ts'
import { walk } from './schema.ts'

const CRD: CustomResourceDefinition = {
  metadata: { name: 'cams.x.io' },
  spec: {
    group: 'x.io',
    scope: 'Namespaced',
    names: { plural: 'cams', kind: 'Cam', shortNames: ['c'], categories: ['all'] },
    versions: [
      { name: 'v1beta1', served: true, storage: false, deprecated: true, schema: { openAPIV3Schema: { type: 'object' } } },
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { fps: { type: 'integer', description: 'Frames per second.' } } }, status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } } },
        subresources: { status: {}, scale: { specReplicasPath: '.spec.n', statusReplicasPath: '.status.n' } },
        additionalPrinterColumns: [{ name: 'FPS', type: 'integer', jsonPath: '.spec.fps' }, { name: 'Seen', type: 'date', jsonPath: '.status.seen' }, { name: 'Node', type: 'string', jsonPath: '.status.node', priority: 1 }],
        selectableFields: [{ jsonPath: '.spec.fps' }],
      },
      { name: 'v2', served: false, storage: false, schema: { openAPIV3Schema: { type: 'object' } } },
    ],
  },
}

test('a CRD becomes a row for each served version, the preferred first', () => {
  const defs = resourceFromCrd(CRD)
  assert.deepEqual(defs.map((d) => d.version), ['v1', 'v1beta1'])
  const [v1, old] = defs
  assert.deepEqual([v1?.kind, v1?.listKind, v1?.singular, v1?.storage, v1?.namespaced], ['Cam', 'CamList', 'cam', 'x.io/cams', true])
  assert.deepEqual(v1?.subresources.map((s) => s.name), ['status', 'scale'])
  assert.deepEqual(v1?.custom?.scale, { spec: 'spec.n', status: 'status.n' })
  assert.equal(v1?.custom?.storageVersion, 'v1')
  assert.match(old?.custom?.warning ?? '', /deprecated/)
  assert.equal(v1?.selectable['spec.fps']?.({ spec: { fps: 5 } } as object), '5')
})

test('printer columns come from JSONPath, by type', () => {
  const [v1] = resourceFromCrd(CRD)
  const object = { metadata: { name: 'a' }, spec: { fps: 5 }, status: { seen: '2026-01-01T00:00:00Z' } } as object
  assert.deepEqual(v1?.printer.columns.map((c) => [c.name, c.priority]), [['Name', 0], ['FPS', 0], ['Seen', 0], ['Node', 1]])
  assert.deepEqual(v1?.printer.cells(object, Date.UTC(2026, 0, 1, 0, 0, 30)), ['a', 5, '30s', null])
  assert.deepEqual(printerOf([{ name: 'X', type: 'string', jsonPath: '.a[' }]).cells(object, 0), ['a', null])
  assert.deepEqual(printerOf(undefined).columns.map((c) => c.name), ['Name', 'Age'])
})

test('the schema of a custom resource knows its own metadata', () => {
  const [v1] = resourceFromCrd(CRD)
  assert.ok(v1?.custom)
  const r = walk(v1.custom.schema, { apiVersion: 'x.io/v1', kind: 'Cam', metadata: { name: 'a', lables: {} }, spec: { fps: 1, x: 1 } }, { dialect: 'custom' })
  assert.deepEqual(r, { unknown: ['metadata.lables', 'spec.x'], errors: [] })
})

test('custom resources are published in OpenAPI', () => {
  const defs = resourceFromCrd(CRD)
  const doc = openApiV3(defs, 'x.io', 'v1', 'v1') as { paths: Record<string, Record<string, { parameters: { name: string }[] }>>; components: { schemas: Record<string, { properties: Record<string, object> }> } }
  assert.deepEqual(doc.components.schemas['io.x.v1.Cam']?.properties.spec, { type: 'object', properties: { fps: { type: 'integer', description: 'Frames per second.' } } })
  assert.ok(doc.paths['/apis/x.io/v1/namespaces/{namespace}/cams/{name}']?.patch?.parameters.some((p) => p.name === 'fieldValidation'))
  assert.ok(doc.paths['/apis/x.io/v1/namespaces/{namespace}/cams/{name}/scale'])
  assert.ok((openApiV2(defs, 'v1') as { definitions: object }).definitions)
})

test('versions are ordered as discovery does', () => {
  assert.deepEqual(['v1alpha1', 'foo', 'v2', 'v1beta2', 'v10', 'v1', 'v1beta10', 'bar'].sort(compareVersions), ['v10', 'v2', 'v1', 'v1beta10', 'v1beta2', 'v1alpha1', 'bar', 'foo'])
})
