import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { RESOURCES } from '../src/api/kinds.ts'
import { openApiV2 } from '../src/api/openapi.ts'
import { loadDescriptions } from '../src/api/schema-table.ts'
import { compareWith, readDocument } from './check-openapi.ts'

test('a document is equal to itself, and each change of it is found', () => {
  const document = openApiV2(RESOURCES, '') as unknown as Parameters<typeof compareWith>[0]
  assert.deepEqual(compareWith(document).differences, [])
  const pod = 'io.k8s.api.core.v1.PodSpec'
  const properties = { ...(document.definitions[pod]?.properties as object), nodeName: { type: 'integer' }, extra: { type: 'string' } }
  const changed = { ...document, definitions: { ...document.definitions, [pod]: { ...document.definitions[pod], properties, required: [] } } }
  assert.deepEqual(compareWith(changed).differences, [
    `${pod}: required is "containers", published ""`,
    `${pod}.nodeName: type is "string", published "integer"`,
    `${pod}.extra: published, but not ours`,
  ])
})

const oracle = process.env.SKERRY_OPENAPI_ORACLE
const skip = oracle === undefined || !existsSync(oracle) ? 'SKERRY_OPENAPI_ORACLE names no document' : false
test('types, fields, their words, and paths equal the published document', { skip }, async () => {
  assert.deepEqual(compareWith(await readDocument(oracle as string), await loadDescriptions()).differences, [])
})
