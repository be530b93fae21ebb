import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RESOURCES } from './kinds.ts'
import { openApiV2, openApiV3, openApiV3Index } from './openapi.ts'
import { loadDescriptions } from './schema-table.ts'

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
