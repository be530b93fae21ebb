import assert from 'node:assert/strict'
import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Pod, ResourceResourceClaim } from '../../api/gen/types.ts'
import { FakeClock } from '../../base/clock.ts'
import { FakeApi } from '../testing.ts'
import { claimedBy, devicesOf } from './claims.ts'
import { ExtendedResources } from './extended.ts'
import { findDevices, parseDeviceRule, type FoundDevice } from './found.ts'
import { NodeDevices } from './node-devices.ts'
import { publishSlices, slicesOf } from './publish.ts'

const pod = (name: string, containers: object[] = [{ name: 'c' }], init: object[] = []): Pod =>
  ({ metadata: { name, namespace: 'd', uid: `uid-${name}` }, spec: { containers, initContainers: init, resourceClaims: [{ name: 'io', resourceClaimName: 'nil' }] } }) as unknown as Pod
const claim = (over: object = {}): ResourceResourceClaim => ({
  metadata: { name: 'nil', namespace: 'd', uid: 'cu' },
  spec: {},
  status: { reservedFor: [{ resource: 'pods', name: 'p', uid: 'uid-p' }], allocation: { devices: { results: [{ request: 'it', driver: 'dev.skerry.io', pool: 'n', device: 'null' }], ...over } } },
})
const found: FoundDevice[] = [{ name: 'null', path: '/dev/null', resource: undefined, attributes: {} }, { name: 'zero', path: '/dev/zero', resource: 'example.com/zero', attributes: {} }]
const here = { nodeName: 'n', found }

test('a rule is a pattern under /dev, or a resource with a pattern or a number; anything else is refused by name', () => {
  assert.deepEqual(parseDeviceRule('/dev/video*'), { resource: undefined, pattern: '/dev/video*', count: 0 })
  assert.deepEqual(parseDeviceRule('example.com/video=/dev/video*'), { resource: 'example.com/video', pattern: '/dev/video*', count: 0 })
  assert.deepEqual(parseDeviceRule('example.com/dongle=2'), { resource: 'example.com/dongle', pattern: undefined, count: 2 })
  for (const bad of ['video*', '/dev/', '/dev/../etc/shadow', '/etc/passwd', 'video=/dev/video*', 'kubernetes.io/x=1', 'cpu=4', 'example.com/x=many']) assert.throws(() => parseDeviceRule(bad), (e: Error) => e.message.includes(`--device "${bad}"`), bad)
})

test('device nodes are found once, by the first rule that means them; other files are not devices', async () => {
  const all = await findDevices(['/dev/zero', 'example.com/mem=/dev/zer*', '/dev/{null,fd,gone}'].map(parseDeviceRule))
  assert.deepEqual(all.map((d) => [d.name, d.path, d.resource]), [['zero', '/dev/zero', undefined], ['null', '/dev/null', undefined]])
})

test('init containers lend what they had to those after them; nothing is given twice, and what ended pods had is free', () => {
  const asks = (name: string, n: number, more: object = {}): object => ({ name, resources: { limits: { 'example.com/x': String(n) } }, ...more })
  const given = new ExtendedResources()
  given.offer(new Map([['example.com/x', ['/dev/a', '/dev/b', '/dev/c']]]))
  const live = new Set(['uid-one', 'uid-two'])
  const admit = (p: Pod): string | undefined => given.admit(p, (uid) => live.has(uid))
  assert.equal(admit(pod('one', [asks('m', 1)], [asks('i', 2), asks('s', 1, { restartPolicy: 'Always' })])), undefined)
  assert.deepEqual(given.given('uid-one'), { i: { 'example.com/x': ['/dev/a', '/dev/b'] }, s: { 'example.com/x': ['/dev/a'] }, m: { 'example.com/x': ['/dev/b'] } })
  assert.match(admit(pod('two', [asks('m', 2)])) ?? '', /unavailable for example.com\/x. Requested: 2, Available: 1/)
  live.delete('uid-one')
  assert.equal(admit(pod('two', [asks('m', 2)])), undefined)
  assert.deepEqual(given.given('uid-two')['m'], { 'example.com/x': ['/dev/a', '/dev/b'] })
})

test('a claim is good only for the pod that it is held for, on the node that has the device', () => {
  assert.deepEqual(devicesOf(pod('p'), claim(), here), [{ request: 'it', device: 'null', hostPath: '/dev/null', containerPath: '/dev/null', permissions: 'rw' }])
  assert.throws(() => devicesOf(pod('q'), claim(), here), /pod q\(uid-q\) is not allowed to use resource claim nil\(cu\)/)
  assert.throws(() => devicesOf(pod('p'), claim(), { ...here, nodeName: 'other' }), /is not on this node now/)
  const result = { request: 'it', pool: 'n', device: 'null', driver: 'dev.skerry.io' }
  assert.throws(() => devicesOf(pod('p'), claim({ results: [{ ...result, device: 'zero' }] }), here), /is not on this node now/, 'it is given out as a resource')
  assert.throws(() => devicesOf(pod('p'), claim({ results: [{ ...result, driver: 'gpu.example.com' }] }), here), /DRA driver gpu.example.com is not registered/)
  const set = (parameters: object, requests?: string[]): object => ({ source: 'FromClaim', opaque: { driver: 'dev.skerry.io', parameters }, ...(requests ? { requests } : {}) })
  assert.equal(devicesOf(pod('p'), claim({ config: [set({ path: '/dev/a' }), set({ path: '/dev/b' }), set({ path: '/dev/c' }, ['other'])] }), here)[0]?.containerPath, '/dev/b')
  for (const bad of [{ path: '/etc/passwd' }, { path: '/dev/../etc' }, { permissions: 'x' }, { size: 1 }]) assert.throws(() => devicesOf(pod('p'), claim({ config: [set(bad)] }), here), /is none of path \(under \/dev\) and permissions/)
})

test('a container gets the requests that it names', () => {
  const device = (request: string): { request: string; device: string; hostPath: string; containerPath: string; permissions: string } => ({ request, device: request, hostPath: '', containerPath: '', permissions: 'rw' })
  const claims = { io: [device('cam/usb'), device('mic')] }
  const of = (claimsOf: object[]): string[] => Object.values(claimedBy({ name: 'c', resources: { claims: claimsOf as never } }, claims)).flat().map((d) => d.request)
  assert.deepEqual([of([{ name: 'io' }]), of([{ name: 'io', request: 'cam' }]), of([{ name: 'io', request: 'mic' }, { name: 'io' }]), of([])], [['cam/usb', 'mic'], ['cam/usb'], ['mic', 'cam/usb'], []])
})

test('slices hold 128 devices each, change with a new generation, and go when nothing is offered', async () => {
  const many = Array.from({ length: 130 }, (_, i): FoundDevice => ({ name: `d${i}`, path: `/dev/d${i}`, resource: undefined, attributes: {} }))
  assert.deepEqual(slicesOf('n', many).map((s) => s.length), [128, 2])
  const api = new FakeApi()
  const slices = (): unknown[] => [...api.objects.values()].map((o) => { const { spec } = o as { spec?: { pool?: object; devices?: unknown[] } }; return [o.metadata?.name, spec?.pool, spec?.devices?.length] })
  const client = { ...api.client, resource: (ref: never) => ({ ...api.client.resource(ref), list: async () => ({ items: [...api.objects.values()] }), update: async (o: never) => api.put('resourceslices', o) }) } as unknown as typeof api.client
  const node = { metadata: { name: 'n', uid: 'nu' } }
  await publishSlices(client, node, many)
  const pool = (generation: number, resourceSliceCount: number): object => ({ name: 'n', generation, resourceSliceCount })
  assert.deepEqual(slices(), [['n-dev.skerry.io-0', pool(1, 2), 128], ['n-dev.skerry.io-1', pool(1, 2), 2]])
  await publishSlices(client, node, many)
  assert.deepEqual((slices()[0] as unknown[])[1], pool(1, 2), 'nothing changed')
  await publishSlices(client, node, many.slice(0, 3))
  assert.deepEqual(slices(), [['n-dev.skerry.io-0', pool(2, 1), 3]])
  await publishSlices(client, node, [])
  assert.deepEqual(slices(), [])
})

test('what a pod was given is read from its directory after a restart, and the server is not asked for it', async (t: TestContext) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'dr-devices-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  const make = (fetch: () => Promise<unknown>): NodeDevices =>
    new NodeDevices({ nodeName: 'n', client: new FakeApi().client, clock: new FakeClock(), fetch: fetch as never, rules: ['/dev/null', 'example.com/zero=/dev/zero'].map(parseDeviceRule), dataDir, node: () => undefined, isLive: () => true })
  const mine = pod('p', [{ name: 'c', resources: { claims: [{ name: 'io' }], limits: { 'example.com/zero': '1' } } }])
  const before = make(async () => claim())
  await before.start()
  assert.deepEqual(await before.look(), { 'example.com/zero': '1' })
  assert.equal(before.admit(mine), undefined)
  await before.prepare(mine)
  const [spec] = mine.spec?.containers ?? []
  assert.ok(spec)
  const access = before.accessOf(mine, spec)
  assert.deepEqual(access.env, { SKERRY_DEVICES_IO: '/dev/null', SKERRY_DEVICES_EXAMPLE_COM_ZERO: '/dev/zero' })
  const later = make(async () => assert.fail('asked the server'))
  await later.start()
  await later.look()
  await later.prepare(mine)
  assert.deepEqual(later.accessOf(mine, spec), access)
  assert.match(later.admit(pod('q', [{ name: 'c', resources: { limits: { 'example.com/zero': '1' } } }])) ?? '', /Available: 0/)
  later.forget('uid-p')
  assert.equal(later.admit(pod('q', [{ name: 'c', resources: { limits: { 'example.com/zero': '1' } } }])), undefined)
})

test('a resource that the settings name no longer is told as none; a torn file of a pod counts as none', async (t: TestContext) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'dr-devices-'))
  t.after(() => rm(dataDir, { recursive: true, force: true }))
  const make = (rules: string[]): NodeDevices => new NodeDevices({ nodeName: 'n', client: new FakeApi().client, clock: new FakeClock(), fetch: async () => undefined, rules: rules.map(parseDeviceRule), dataDir, node: () => undefined, isLive: () => true })
  const before = make(['example.com/zero=/dev/zero'])
  await before.start()
  assert.deepEqual(JSON.parse(await readFile(join(dataDir, 'devices.json'), 'utf8')), ['example.com/zero'])
  await mkdir(join(dataDir, 'pods/u'), { recursive: true })
  await writeFile(join(dataDir, 'pods/u/devices.json'), '{"claims":')
  const later = make([])
  await later.start()
  assert.deepEqual(await later.look(), { 'example.com/zero': '0' })
})
