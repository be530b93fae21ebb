import assert from 'node:assert/strict'
import { test } from 'node:test'
import protobuf from 'protobufjs'
import { KINDS } from '../../api/kinds.ts'
import { openApiV2 } from '../../api/openapi.ts'
import { openApiProtobuf } from './openapi.ts'

/** The part of gnostic's format that is looked at here. */
const PROTO = `syntax = "proto3";
message Any { string yaml = 2; }
message NamedAny { string name = 1; Any value = 2; }
message Schema { string _ref = 1; }
message Body { string description = 1; string name = 2; string in = 3; bool required = 4; Schema schema = 5; }
message Query { bool required = 1; string in = 2; string description = 3; string name = 4; string type = 6; bool unique_items = 20; }
message Path { bool required = 1; string in = 2; string description = 3; string name = 4; string type = 5; bool unique_items = 19; }
message NonBody { Query query = 3; Path path = 4; }
message Parameter { Body body = 1; NonBody non_body = 2; }
message Item { Parameter parameter = 1; }
message SchemaItem { Schema schema = 1; }
message Response { string description = 1; SchemaItem schema = 2; }
message ResponseValue { Response response = 1; }
message NamedResponse { string name = 1; ResponseValue value = 2; }
message Responses { repeated NamedResponse response_code = 1; }
message Operation {
  repeated string tags = 1; string description = 3; string operation_id = 5; repeated string produces = 6; repeated string consumes = 7; repeated Item parameters = 8;
  Responses responses = 9; repeated string schemes = 10; repeated NamedAny vendor_extension = 13;
}
message PathItem { Operation get = 2; Operation put = 3; Operation post = 4; Operation delete = 5; Operation patch = 8; repeated Item parameters = 9; }
message NamedPathItem { string name = 1; PathItem value = 2; }
message Paths { repeated NamedPathItem path = 2; }
message Document { string swagger = 1; Paths paths = 8; }`

interface Item { parameter: { body?: { name: string; required: boolean; schema: { Ref: string } }; nonBody?: { query?: { name: string; type: string }; path?: { name: string; required: boolean; type: string } } } }
interface Operation { operationId: string; parameters: Item[]; responses: { responseCode: { name: string; value: { response: { schema?: { schema: { Ref: string } } } } }[] }; vendorExtension: { name: string; value: { yaml: string } }[] }
interface Read { paths: { path: { name: string; value: Record<'get' | 'put' | 'post' | 'delete' | 'patch', Operation | undefined> & { parameters: Item[] } }[] } }

test('every path has its operations, parameters and answers', () => {
  const document = openApiV2([KINDS.ConfigMap], 'v1') as Record<string, unknown>
  const type = protobuf.parse(PROTO.replaceAll('_ref', 'Ref')).root.lookupType('Document')
  const read = type.toObject(type.decode(openApiProtobuf(document))) as Read
  assert.deepEqual(read.paths.path.map((p) => p.name), Object.keys(document.paths as object))
  const at = (name: string): Read['paths']['path'][number]['value'] => read.paths.path.find((p) => p.name === name)?.value as never
  const one = at('/api/v1/namespaces/{namespace}/configmaps/{name}')
  assert.deepEqual(['get', 'put', 'post', 'delete', 'patch'].map((m) => one[m as 'get']?.operationId), [
    'readCoreV1NamespacedConfigMap', 'replaceCoreV1NamespacedConfigMap', undefined, 'deleteCoreV1NamespacedConfigMap', 'patchCoreV1NamespacedConfigMap',
  ])
  assert.deepEqual(one.parameters[0]?.parameter.nonBody?.path, { required: true, in: 'path', description: 'name of the ConfigMap', name: 'name', type: 'string', uniqueItems: true })
  const create = at('/api/v1/namespaces/{namespace}/configmaps').post as Operation
  const [body, dryRun] = create.parameters
  assert.equal(body?.parameter.body?.schema.Ref, '#/definitions/io.k8s.api.core.v1.ConfigMap')
  assert.deepEqual([dryRun?.parameter.nonBody?.query?.name, dryRun?.parameter.nonBody?.query?.type], ['dryRun', 'string'])
  const created = create.responses.responseCode.find((r) => r.name === '201')
  assert.equal(created?.value.response.schema?.schema.Ref, '#/definitions/io.k8s.api.core.v1.ConfigMap')
  assert.deepEqual(create.vendorExtension.find((v) => v.name === 'x-kubernetes-action')?.value.yaml, '"post"')
})
