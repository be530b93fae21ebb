import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RESOURCES } from './kinds.ts'
import { namedFields } from './openapi-defaults.ts'
import { openApiV2, openApiV3, openApiV3Index } from './openapi.ts'
import { loadDescriptions, schemaOf } from './schema-table.ts'

interface Op {
  readonly parameters: readonly { readonly name: string }[]
  readonly requestBody?: { readonly content: Record<string, unknown> }
  readonly 'x-kubernetes-group-version-kind': object
}
interface V3 {
  readonly paths: Record<string, Record<string, Op>>
  readonly components: { readonly schemas: Record<string, { description?: string; 'x-kubernetes-group-version-kind'?: object[]; properties?: Record<string, { description?: string }> }> }
}

/** Every reference of a document points at something in it. */
function dangling(document: unknown): string[] {
  const text = JSON.stringify(document)
  const root = document as { definitions?: object; components?: { schemas: object } }
  const names = new Set(Object.keys(root.definitions ?? root.components?.schemas ?? {}))
  return [...text.matchAll(/"\$ref":"#\/(?:definitions|components\/schemas)\/([^"]+)"/g)].map((m) => m[1] as string).filter((n) => !names.has(n))
}

test('each version 3 document is complete in itself', () => {
  for (const { group, version } of RESOURCES) assert.deepEqual(dangling(openApiV3(RESOURCES, group, version, 'v1')), [], `${group}/${version}`)
  assert.deepEqual(dangling(openApiV2(RESOURCES, 'v1')), [])
})

test('what kubectl looks for is there', async () => {
  const doc = openApiV3(RESOURCES, 'apps', 'v1', 'v1', await loadDescriptions()) as unknown as V3
  const patch = doc.paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}']?.patch
  const create = doc.paths['/apis/apps/v1/namespaces/{namespace}/deployments']?.post
  for (const op of [patch, create]) {
    for (const name of ['dryRun', 'fieldManager', 'fieldValidation']) assert.ok(op?.parameters.some((p) => p.name === name), name)
    assert.deepEqual(op?.['x-kubernetes-group-version-kind'], { group: 'apps', version: 'v1', kind: 'Deployment' })
  }
  assert.deepEqual(Object.keys(patch?.requestBody?.content ?? {}).sort(), [
    'application/apply-patch+yaml', 'application/json-patch+json', 'application/merge-patch+json', 'application/strategic-merge-patch+json',
  ])
  const schema = doc.components.schemas['io.k8s.api.apps.v1.Deployment']
  assert.match(schema?.description ?? '', /Deployment enables declarative updates/)
  assert.deepEqual(schema?.['x-kubernetes-group-version-kind'], [{ group: 'apps', version: 'v1', kind: 'Deployment' }])
  assert.match(doc.components.schemas['io.k8s.api.core.v1.Container']?.properties?.image?.description ?? '', /Container image name/)
})

test('the index names a document for each group version', () => {
  const { paths } = openApiV3Index(RESOURCES, (p) => `h-${p.length}`) as { paths: Record<string, { serverRelativeURL: string }> }
  assert.equal(paths['api/v1']?.serverRelativeURL, '/openapi/v3/api/v1?hash=h-6')
  assert.ok(paths['apis/apps/v1'])
})

test('version 3 says what absence means: zeros by value, none behind pointers, and the defaults that types name', () => {
  const doc = openApiV3(RESOURCES, 'apps', 'v1', 'v1') as unknown as V3
  const field = (type: string, name: string): unknown => doc.components.schemas[`io.k8s.api.${type}`]?.properties?.[name]
  const to = (type: string): object => ({ allOf: [{ $ref: `#/components/schemas/${type}` }] })
  assert.deepEqual(field('apps.v1.Deployment', 'spec'), { ...to('io.k8s.api.apps.v1.DeploymentSpec'), default: {} })
  assert.deepEqual(field('apps.v1.DeploymentSpec', 'selector'), { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector' })
  assert.deepEqual(field('apps.v1.DeploymentSpec', 'replicas'), { type: 'integer', format: 'int32' })
  assert.deepEqual(field('apps.v1.DeploymentCondition', 'type'), { type: 'string', default: '' })
  assert.deepEqual(field('apps.v1.DeploymentCondition', 'lastUpdateTime'), { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Time' })
  assert.deepEqual(field('core.v1.ContainerPort', 'protocol'), { type: 'string', default: 'TCP' })
  assert.deepEqual(field('core.v1.Container', 'command'), { type: 'array', items: { type: 'string', default: '' }, 'x-kubernetes-list-type': 'atomic' })
  assert.deepEqual((field('core.v1.Container', 'volumeDevices') as { items: unknown }).items, { ...to('io.k8s.api.core.v1.VolumeDevice'), default: {} })
  assert.deepEqual(field('core.v1.ResourceRequirements', 'limits'), {
    type: 'object', additionalProperties: { $ref: '#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity' },
  })
  const v2 = openApiV2(RESOURCES, 'v1') as unknown as { definitions: V3['components']['schemas'] }
  assert.deepEqual(v2.definitions['io.k8s.api.core.v1.ContainerPort']?.properties?.protocol, { type: 'string' }, 'version 2 has none')
})

test('the tables of defaults name fields that exist', () => {
  for (const key of namedFields()) {
    const [type = '', name = ''] = key.split('.')
    assert.ok(schemaOf(type).properties?.[name], key)
  }
})
