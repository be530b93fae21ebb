import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { Device, DeviceClass, DeviceClaim, Node, ResourceResourceClaim, ResourceSlice } from '../api/gen/types.ts'
import { allocate, checkClaim, deviceKey, reachable, type Supply } from './allocate.ts'

const node: Node = { metadata: { name: 'n1', labels: { rack: 'a' } } }
const DRIVER = 'dev.skerry.io'
const device = (name: string, kind: string, over: Partial<Device> = {}): Device => ({ name, attributes: { kind: { string: kind } }, ...over })
const slice = (devices: Device[], over: Partial<ResourceSlice['spec']> = {}): ResourceSlice => ({
  metadata: { name: 's' },
  spec: { driver: DRIVER, nodeName: 'n1', pool: { name: 'n1', generation: 1, resourceSliceCount: 1 }, devices, ...over },
})
const claim = (devices: DeviceClaim): ResourceResourceClaim => ({ metadata: { name: 'c', namespace: 'd' }, spec: { devices } })
const classes: Record<string, DeviceClass> = {
  any: { metadata: { name: 'any' }, spec: { config: [{ opaque: { driver: DRIVER, parameters: {} } }] } },
  cameras: { metadata: { name: 'cameras' }, spec: { selectors: [{ cel: { expression: 'camera' } }] } },
}
/** Selectors here are the kind of a device; CEL has tests of its own. */
const supply = (slices: ResourceSlice[], taken: string[] = []): Supply => ({
  devices: reachable(slices, node),
  taken: new Set(taken.map((d) => deviceKey({ driver: DRIVER, pool: 'n1', device: d }))),
  classOf: (name) => classes[name],
  matches: (expression, _driver, d) => d.attributes?.['kind']?.string === expression,
})
const names = (asked: DeviceClaim, from: Supply): string[] | undefined => allocate([claim(asked)], from, node)?.[0]?.devices?.results?.map((r) => `${r.request}=${r.device}`)
const exactly = (name: string, deviceClassName: string, more: object = {}): NonNullable<DeviceClaim['requests']>[number] => ({ name, exactly: { deviceClassName, allocationMode: 'ExactCount', count: 1, ...more } })

test('a request gets as many free devices as it asks for, of its class and selectors, or nothing', () => {
  const all = [slice([device('a', 'camera'), device('b', 'serial'), device('c', 'camera')])]
  assert.deepEqual(names({ requests: [exactly('cam', 'cameras', { count: 2 })] }, supply(all)), ['cam=a', 'cam=c'])
  assert.equal(names({ requests: [exactly('cam', 'cameras', { count: 2 })] }, supply(all, ['a'])), undefined)
  assert.deepEqual(names({ requests: [exactly('s', 'any', { selectors: [{ cel: { expression: 'serial' } }] })] }, supply(all)), ['s=b'])
  assert.deepEqual(names({ requests: [{ name: 'all', exactly: { deviceClassName: 'cameras', allocationMode: 'All' } }] }, supply(all)), ['all=a', 'all=c'])
  assert.equal(names({ requests: [{ name: 'all', exactly: { deviceClassName: 'cameras', allocationMode: 'All' } }] }, supply(all, ['c'])), undefined, 'all means all')
})

test('of several ways the first that works is taken, and a choice that leaves a later request without is undone', () => {
  const all = [slice([device('a', 'camera'), device('b', 'serial')])]
  const asked = { requests: [{ name: 'io', firstAvailable: [{ name: 'two', deviceClassName: 'cameras', count: 2, allocationMode: 'ExactCount' }, { name: 'one', deviceClassName: 'any', count: 1, allocationMode: 'ExactCount', selectors: [{ cel: { expression: 'serial' } }] }] }] }
  assert.deepEqual(names(asked, supply(all)), ['io/one=b'])
  // `any` would take the camera first, which the second request needs.
  assert.deepEqual(names({ requests: [exactly('x', 'any'), exactly('cam', 'cameras')] }, supply(all)), ['x=b', 'cam=a'])
})

test('constraints compare an attribute over the requests they name', () => {
  const on = (name: string, bus: string): Device => ({ name, attributes: { kind: { string: 'camera' }, bus: { string: bus } } })
  const all = [slice([on('a', '1'), on('b', '2'), on('c', '2'), device('d', 'camera')])]
  const asked = (constraint: object): DeviceClaim => ({ requests: [exactly('cam', 'cameras', { count: 2 })], constraints: [constraint] })
  assert.deepEqual(names(asked({ matchAttribute: `${DRIVER}/bus` }), supply(all)), ['cam=b', 'cam=c'])
  assert.deepEqual(names(asked({ distinctAttribute: `${DRIVER}/bus` }), supply(all)), ['cam=a', 'cam=b'])
  assert.equal(names(asked({ matchAttribute: `${DRIVER}/none` }), supply(all)), undefined)
})

test('only complete pools of their newest generation count, and only devices that the node reaches and the request tolerates', () => {
  const pool = (generation: number, resourceSliceCount: number): object => ({ pool: { name: 'n1', generation, resourceSliceCount } })
  const seen = (...slices: ResourceSlice[]): string[] => reachable(slices, node).map((d) => d.device.name)
  assert.deepEqual(seen(slice([device('old', 'x')], pool(1, 1)), slice([device('new', 'x')], pool(2, 1))), ['new'])
  assert.deepEqual(seen(slice([device('half', 'x')], pool(2, 2))), [])
  const { nodeName: _node, ...anywhere } = slice([]).spec
  const at = (devices: Device[], where: object): ResourceSlice => ({ metadata: { name: 's' }, spec: { ...anywhere, devices, ...where } })
  assert.deepEqual(seen(slice([device('there', 'x')], { nodeName: 'n2' })), [])
  assert.deepEqual(seen(at([device('all', 'x')], { allNodes: true })), ['all'])
  assert.deepEqual(seen(at([device('mine', 'x', { nodeName: 'n1' }), device('other', 'x', { nodeName: 'n2' })], { perDeviceNodeSelection: true })), ['mine'])
  assert.deepEqual(seen(at([device('rack', 'x')], { nodeSelector: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'rack', operator: 'In', values: ['b'] }] }] } })), [])
  const broken = supply([slice([device('a', 'camera', { taints: [{ key: 'broken', effect: 'NoSchedule' }] })])])
  assert.equal(names({ requests: [exactly('cam', 'cameras')] }, broken), undefined)
  assert.deepEqual(names({ requests: [exactly('cam', 'cameras', { tolerations: [{ key: 'broken', operator: 'Exists' }] })] }, broken), ['cam=a'])
})

test('an allocation says where it holds and how its devices are set up', () => {
  const config = [{ requests: ['cam'], opaque: { driver: DRIVER, parameters: { path: '/dev/eye' } } }, { requests: ['other'], opaque: { driver: DRIVER, parameters: {} } }]
  const [made] = allocate([claim({ requests: [exactly('cam', 'any')], config })], supply([slice([device('a', 'camera')])]), node) ?? []
  assert.deepEqual(made?.nodeSelector, { nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n1'] }] }] })
  assert.deepEqual(made?.devices?.config?.map((c) => [c.source, c.requests]), [['FromClass', ['cam']], ['FromClaim', ['cam']]])
})

test('what can be served nowhere is said in Kubernetes’ words', () => {
  assert.throws(() => checkClaim(claim({ requests: [exactly('gpu', 'gpus')] }), { classOf: () => undefined }), /^Error: claim d\/c, request gpu: device class gpus does not exist$/)
  assert.throws(() => checkClaim(claim({ requests: [exactly('x', 'any', { adminAccess: true })] }), { classOf: (n) => classes[n] }), /admin access is requested, but the feature is disabled/)
})

test('a search without an answer ends soon', () => {
  const many = Array.from({ length: 40 }, (_, i) => device(`d${i}`, 'camera', { attributes: { kind: { string: 'camera' }, bus: { int: i } } }))
  const began = performance.now()
  assert.equal(names({ requests: [exactly('a', 'cameras', { count: 8 }), exactly('b', 'cameras', { count: 8 })], constraints: [{ requests: ['b'], matchAttribute: `${DRIVER}/bus` }] }, supply([slice(many)])), undefined)
  assert.ok(performance.now() - began < 10_000)
})
