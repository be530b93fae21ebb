import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiError } from '../../api/status.ts'
import { decodeProtobuf } from './decode.ts'

// Recorded from a typed client: `create namespace demo`.
const NAMESPACE = Buffer.from('6b3873000a0f0a02763112094e616d657370616365121c0a140a0464656d6f12001a0022002a0032003800420012001a020a001a002200', 'hex')

const field = (number: number, bytes: Uint8Array): Buffer => Buffer.concat([Buffer.from(number < 16 ? [(number << 3) | 2] : [((number << 3) & 127) | 130, number >> 4]), Buffer.from([bytes.length]), bytes])
const text = (number: number, value: string): Buffer => field(number, Buffer.from(value))
const varint = (number: number, value: number): Buffer => Buffer.from([number << 3, value])
const envelope = (apiVersion: string, kind: string, raw: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from([0x6b, 0x38, 0x73, 0]), field(1, Buffer.concat([text(1, apiVersion), text(2, kind)])), field(2, raw)])

test('a recorded body of a typed client decodes to what its JSON would say', () => {
  assert.deepEqual(decodeProtobuf(NAMESPACE), { kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'demo' }, spec: {}, status: {} })
})

test('maps, bytes, lists, quantities, int-or-string and zeros that count survive', () => {
  const entry = (key: string, value: Uint8Array): Buffer => Buffer.concat([text(1, key), field(2, value)])
  const meta = Buffer.concat([text(1, 's'), field(11, entry('a', Buffer.from('b')))])
  const secret = Buffer.concat([field(1, meta), field(2, entry('k', Buffer.from('hush'))), text(3, 'Opaque')])
  assert.deepEqual(decodeProtobuf(envelope('v1', 'Secret', secret)), {
    kind: 'Secret', apiVersion: 'v1', metadata: { name: 's', labels: { a: 'b' } }, data: { k: 'aHVzaA==' }, type: 'Opaque',
  })
  const port = Buffer.concat([varint(3, 80), field(4, Buffer.concat([varint(1, 1), text(3, 'http')])), varint(5, 0)])
  const service = decodeProtobuf(envelope('v1', 'Service', field(2, field(1, port)))) as { spec: object }
  assert.deepEqual(service.spec, { ports: [{ port: 80, targetPort: 'http' }] })
  const deployment = decodeProtobuf(envelope('apps/v1', 'Deployment', field(2, varint(1, 0)))) as { spec: object }
  assert.deepEqual(deployment.spec, { replicas: 0 })
})

test('storage kinds of CSI sidecars are read', () => {
  const named = field(1, text(1, 'x'))
  const driver = field(2, Buffer.concat([varint(1, 0), text(3, 'Persistent'), text(5, 'File'), field(6, text(1, 'aud'))]))
  assert.deepEqual(decodeProtobuf(envelope('storage.k8s.io/v1', 'CSIDriver', Buffer.concat([named, driver]))), {
    kind: 'CSIDriver', apiVersion: 'storage.k8s.io/v1', metadata: { name: 'x' },
    spec: { attachRequired: false, volumeLifecycleModes: ['Persistent'], fsGroupPolicy: 'File', tokenRequests: [{ audience: 'aud' }] },
  })
  const attachment = Buffer.concat([named, field(2, Buffer.concat([text(1, 'd.io'), field(2, text(1, 'pv')), text(3, 'n')])), field(3, varint(1, 1))])
  assert.deepEqual(decodeProtobuf(envelope('storage.k8s.io/v1', 'VolumeAttachment', attachment)), {
    kind: 'VolumeAttachment', apiVersion: 'storage.k8s.io/v1', metadata: { name: 'x' },
    spec: { attacher: 'd.io', source: { persistentVolumeName: 'pv' }, nodeName: 'n' }, status: { attached: true },
  })
  const capacity = Buffer.concat([named, text(3, 'slow'), field(4, text(1, '5Gi'))])
  assert.deepEqual(decodeProtobuf(envelope('storage.k8s.io/v1', 'CSIStorageCapacity', capacity)), {
    kind: 'CSIStorageCapacity', apiVersion: 'storage.k8s.io/v1', metadata: { name: 'x' }, storageClassName: 'slow', capacity: '5Gi',
  })
})

test('free-form objects are the JSON they carry', () => {
  const managed = Buffer.concat([text(1, 'kubectl'), text(2, 'Update'), text(3, 'v1'), text(6, 'FieldsV1'), field(7, text(1, '{"f:data":{}}'))])
  const { metadata } = decodeProtobuf(envelope('v1', 'ConfigMap', field(1, Buffer.concat([text(1, 'c'), field(17, managed)])))) as { metadata: object }
  assert.deepEqual(metadata, { name: 'c', managedFields: [{ manager: 'kubectl', operation: 'Update', apiVersion: 'v1', fieldsType: 'FieldsV1', fieldsV1: { 'f:data': {} } }] })
})

test('a kind that is read from JSON only is answered with the types that are taken', () => {
  assert.throws(() => decodeProtobuf(envelope('flowcontrol.apiserver.k8s.io/v1', 'FlowSchema', Buffer.alloc(0))), (e) => {
    assert.ok(e instanceof ApiError)
    assert.deepEqual([e.status.code, e.status.reason], [415, 'UnsupportedMediaType'])
    return e.message.includes('FlowSchema') && e.message.endsWith('accepted media types include: application/json, application/yaml')
  })
})

test('what is cut off, foreign or unknown is refused, never half decoded', () => {
  const refused = (bytes: Uint8Array): void => assert.throws(() => decodeProtobuf(bytes), (e) => e instanceof ApiError && e.status.code === 400)
  refused(Buffer.from('{}'))
  refused(envelope('v1', 'Teapot', Buffer.alloc(0)))
  for (let cut = 5; cut < NAMESPACE.length; cut++) {
    // Every prefix either decodes to an object or is refused; none may throw anything else.
    try {
      decodeProtobuf(NAMESPACE.subarray(0, cut))
    } catch (error) {
      assert.ok(error instanceof ApiError)
    }
  }
})
