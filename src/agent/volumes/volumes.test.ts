import assert from 'node:assert/strict'
import { chmodSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import type { Pod, Volume } from '../../api/gen/types.ts'
import type { KubeObject } from '../../api/meta.ts'
import { FakeClock } from '../../base/clock.ts'
import type { AppError } from '../../base/errors.ts'
import { FakeApi } from '../testing.ts'
import { writeAtomicDir, type Remembered } from './atomic-dir.ts'
import { setOwnership } from './ownership.ts'
import { Tokens } from './tokens.ts'
import type { SourceContext } from './sources.ts'
import { Volumes } from './volumes.ts'

const root = await mkdtemp(join(tmpdir(), 'skerry-volumes-'))
after(() => rm(root, { recursive: true, force: true }))
const tmpfs: string[] = []
const huge: string[] = []
const mounter = { tmpfs: async (path: string, size: number) => void tmpfs.push(`${path} ${size}`), hugePages: async (path: string, size: number) => void huge.push(`${path} ${size}`), readOnly: async () => {}, unmountUnder: async () => {} }
const objects = new Map<string, KubeObject>()
const volumes = new Volumes({ fetch: async (ref, _namespace, name) => objects.get(`${ref.kind}/${name}`) as never, dataDir: join(root, 'data'), runDir: join(root, 'run'), mounter, clock: new FakeClock() })

const pod = (list: Volume[], spec: object = {}): Pod => ({
  metadata: { uid: 'u1', name: 'web', namespace: 'default', labels: { app: 'x' }, annotations: { 'a/b': 'c' } },
  spec: { volumes: list, containers: [{ name: 'main', resources: { limits: { memory: '64Mi' } } }], ...spec },
})
const content = new Map([['key', Buffer.from('value')], ['other', Buffer.from('2')]])
const context = (p: Pod): SourceContext => ({
  pod: p,
  hostIPs: ['192.0.2.1'],
  podIPs: ['10.0.0.2'],
  allocatable: { cpu: '4', memory: '2Gi' },
  config: { read: async (_kind, name) => (name === 'none' ? undefined : content) },
  token: async (r) => `token of ${r.serviceAccount} for ${r.audiences.join() || 'the API'}`,
})
const prepare = (list: Volume[], spec: object = {}): Promise<void> => volumes.prepare(pod(list, spec), context(pod(list, spec)))
const at = (name: string, file = ''): string => join(root, 'run', 'pods', 'u1', 'volumes', name, file)

test('an atomic directory changes all at once and forgets what is gone', async () => {
  const dir = join(root, 'atomic')
  const file = (path: string, text: string) => ({ path, content: Buffer.from(text), mode: 0o640 })
  assert.equal(await writeAtomicDir(dir, [file('a', '1'), file('d/b', '2')], { stamp: 't1' }), true)
  assert.equal(readlinkSync(join(dir, '..data')), '..t1')
  assert.equal(readlinkSync(join(dir, 'd')), '..data/d')
  assert.equal(statSync(join(dir, 'a')).mode & 0o777, 0o640)
  assert.equal(await writeAtomicDir(dir, [file('a', '1'), file('d/b', '2')], { stamp: 't2' }), false)
  assert.equal(await writeAtomicDir(dir, [file('a', '9')], { stamp: 't3' }), true)
  assert.deepEqual((await readdir(dir)).sort(), ['..data', '..t3', 'a'])
  await assert.rejects(writeAtomicDir(dir, [file('../x', '')], { stamp: 't4' }), /must be relative and stay inside/)
})

test('what is remembered of an atomic directory is looked at, not read; what somebody changed is written again', async () => {
  const dir = join(root, 'remembered')
  const path = join(dir, 'a')
  const memory = new Map<string, Remembered>()
  const look = (text: string) => writeAtomicDir(dir, [{ path: 'a', content: Buffer.from(text), mode: 0o640 }], { stamp: `t${text}`, memory })
  const change = (text: string): void => {
    writeFileSync(path, text)
    utimesSync(path, 1000, 1000)
  }
  assert.equal(await look('1'), true)
  assert.equal(await look('1'), false)
  utimesSync(path, 1000, 1000)
  assert.equal(await look('1'), false)
  change('7')
  assert.equal(await look('1'), false)
  assert.equal(readFileSync(path, 'utf8'), '7', 'a change that nothing shows is not noticed: the file was not read')
  change('88')
  assert.equal(await look('1'), true)
  assert.equal(readFileSync(path, 'utf8'), '1')
  assert.equal(await look('2'), true)
  assert.equal(readFileSync(path, 'utf8'), '2')
  rmSync(join(dir, '..data', 'a'))
  await look('2')
  assert.equal(readFileSync(path, 'utf8'), '2')
})

test('items, modes, optional and missing keys of configMap and secret volumes', async () => {
  await prepare([
    { name: 'c', configMap: { name: 'conf', items: [{ key: 'key', path: 'sub/k', mode: 0o600 }] } },
    { name: 's', secret: { secretName: 'sec', defaultMode: 0o400 } },
    { name: 'o', configMap: { name: 'none', optional: true } },
  ])
  assert.equal(readFileSync(at('c', 'sub/k'), 'utf8'), 'value')
  assert.equal(statSync(at('c', 'sub/k')).mode & 0o777, 0o600)
  assert.equal(statSync(at('s', 'key')).mode & 0o777, 0o400)
  await assert.rejects(prepare([{ name: 'c', configMap: { name: 'none' } }]), (e: Error) => /volume "c"/.test(e.message) && /configmap "none" not found/.test(String((e.cause as Error).message)))
  await assert.rejects(prepare([{ name: 'c', configMap: { name: 'conf', items: [{ key: 'zzz', path: 'z' }] } }]), (e: Error) => /non-existent config key: zzz/.test(String((e.cause as Error).message)))
})

test('downwardAPI and projected volumes carry fields, resources and tokens', async () => {
  const items = [
    { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
    { path: 'ann', fieldRef: { fieldPath: "metadata.annotations['a/b']" } },
    { path: 'mem', resourceFieldRef: { containerName: 'main', resource: 'limits.memory', divisor: '1Mi' } },
    { path: 'cpu', resourceFieldRef: { containerName: 'main', resource: 'limits.cpu' } },
  ]
  await prepare([{ name: 'p', projected: { sources: [{ downwardAPI: { items } }, { serviceAccountToken: { path: 'token', audience: 'bus' } }] } }], { serviceAccountName: 'robot' })
  const text = (f: string): string => readFileSync(at('p', f), 'utf8')
  assert.deepEqual(['labels', 'ann', 'mem', 'cpu', 'token'].map(text), ['app="x"', 'c', '64', '4', 'token of robot for bus'])
})

test('fsGroup makes volumes belong to the group', { skip: process.getuid?.() === 0 ? false : 'needs root' }, async () => {
  const security = { securityContext: { fsGroup: 1234 } }
  await prepare([{ name: 'e', emptyDir: {} }, { name: 'g', secret: { secretName: 'sec', defaultMode: 0o400 } }], security)
  const dir = statSync(join(root, 'data', 'pods', 'u1', 'volumes', 'e'))
  assert.deepEqual([dir.gid, dir.mode & 0o7777], [1234, 0o2777])
  const file = statSync(at('g', 'key'))
  assert.deepEqual([file.gid, file.mode & 0o777], [1234, 0o440])
})

test('an emptyDir is what the pod has made of it, also after the agent has started again; one that is gone is made anew', async () => {
  const dir = join(root, 'data', 'pods', 'u1', 'volumes', 'own')
  const mode = (): number => statSync(dir).mode & 0o7777
  const again = (): Promise<void> => prepare([{ name: 'own', emptyDir: {} }])
  await again()
  assert.equal(mode(), 0o777)
  chmodSync(dir, 0o700)
  await again()
  assert.equal(mode(), 0o700)
  rmSync(dir, { recursive: true })
  await again()
  assert.equal(mode(), 0o777)
})

test('emptyDir in memory is a tmpfs of its size, at most what the pod or else the node may have', async () => {
  const limited = { containers: [{ name: 'main', resources: { limits: { memory: '64Mi' } } }, { name: 'side' }] }
  await prepare([{ name: 'm', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }])
  await prepare([{ name: 'pod', emptyDir: { medium: 'Memory', sizeLimit: '1Gi' } }])
  await prepare([{ name: 'node', emptyDir: { medium: 'Memory' } }], limited)
  assert.deepEqual(tmpfs.map((t) => t.slice(t.lastIndexOf('/') + 1)), ['m 1048576', 'pod 67108864', 'node 2147483648'])
})

test('emptyDir of huge pages is made of those that the pod asks for', async () => {
  const asks = (...sizes: string[]): object => ({ containers: [{ name: 'c', resources: { limits: { memory: '1Gi', ...Object.fromEntries(sizes.map((s) => [`hugepages-${s}`, '1Gi'])) } } }] })
  const refused = (medium: string, spec: object, why: RegExp): Promise<void> => assert.rejects(prepare([{ name: 'h', emptyDir: { medium } }], spec), (e: Error) => why.test(String((e.cause as Error).message)))
  await prepare([{ name: 'any', emptyDir: { medium: 'HugePages' } }, { name: 'said', emptyDir: { medium: 'HugePages-2Mi' } }], asks('2Mi'))
  await prepare([{ name: 'large', emptyDir: { medium: 'HugePages-1Gi' } }], asks('2Mi', '1Gi'))
  assert.deepEqual(huge.map((t) => t.slice(t.lastIndexOf('/') + 1)), ['any 2097152', 'said 2097152', 'large 1073741824'])
  await refused('HugePages', asks(), /^medium "HugePages": no container asks for huge pages, give one a limit of hugepages-2Mi$/)
  await refused('HugePages', asks('2Mi', '1Gi'), /asks for pages of 2Mi and 1Gi, say which as "HugePages-2Mi"$/)
  await refused('HugePages-1Gi', asks('2Mi'), /asks for pages of 2Mi only, give a container a limit of hugepages-1Gi$/)
  await refused('Disk', asks(), /medium "Disk" is not supported/)
})

test('hostPath types are checked and made', async () => {
  const dir = join(root, 'host')
  await prepare([{ name: 'h', hostPath: { path: dir, type: 'DirectoryOrCreate' } }, { name: 'f', hostPath: { path: join(dir, 'x', 'f'), type: 'FileOrCreate' } }])
  assert.ok(lstatSync(join(dir, 'x', 'f')).isFile())
  await prepare([{ name: 'n', hostPath: { path: '/dev/null', type: 'CharDevice' } }])
  await assert.rejects(prepare([{ name: 'h', hostPath: { path: dir, type: 'File' } }]), (e: Error) => /is not a file/.test(String((e.cause as Error).message)))
})

test('subPath stays inside its volume', async () => {
  const p = pod([{ name: 'e', emptyDir: {} }])
  await volumes.prepare(p, context(p))
  const env = new Map([['POD', 'web']])
  const mount = (subPath: string) => volumes.mount(p, { name: 'e', mountPath: '/e', subPath }, env)
  assert.match((await mount('a/b')).hostPath, /volumes\/e\/a\/b$/)
  assert.match((await volumes.mount(p, { name: 'e', mountPath: '/e', subPathExpr: 'of-$(POD)' }, env)).hostPath, /of-web$/)
  await assert.rejects(volumes.mount(p, { name: 'e', mountPath: '/e', subPathExpr: '$$(x)-$(NOT)-$(POD)-$(ALSO)' }, env), /missing value for ALSO, NOT: set it in the container's env/)
  await assert.rejects(mount('../x'), /stay inside/)
  symlinkSync('/etc', join(root, 'data', 'pods', 'u1', 'volumes', 'e', 'out'))
  await assert.rejects(mount('out'), /a link leads out/)
  await assert.rejects(volumes.mount(p, { name: 'zz', mountPath: '/' }, env), /no volume "zz"/)
})

test('tokens are kept on disk, renewed in time, and the old one stays while the server is away', async () => {
  const api = new FakeApi()
  const clock = new FakeClock()
  const make = (): Tokens => new Tokens({ directory: join(root, 'tokens'), client: api.client, clock, seal: undefined })
  const request = { namespace: 'default', serviceAccount: 'sa', podName: 'web', podUid: 'u1', audiences: [], expirationSeconds: 3600 }
  const first = await make().token(request)
  const files = await readdir(join(root, 'tokens'))
  assert.equal(statSync(join(root, 'tokens', files[0] as string)).mode & 0o777, 0o600)
  const tokens = make()
  assert.equal(await tokens.token(request), first)
  await clock.advance(2900_000)
  api.away = true
  assert.equal(await tokens.token(request), first)
  api.away = false
  await clock.advance(61_000)
  assert.notEqual(await tokens.token(request), first)
  await tokens.keepOnly(new Set())
  assert.deepEqual(await readdir(join(root, 'tokens')), [])
  api.away = true
  await assert.rejects(make().token(request), (e: AppError) => e.code === 'unavailable')
})

test('tokens are renewed by their life, whatever date this machine believes in, and when its clock was set back', async () => {
  const api = new FakeApi()
  // Ten hours behind the server: by its own clock a token of an hour would be good for eleven.
  const clock = new FakeClock(Date.UTC(2025, 11, 31, 14))
  const make = (): Tokens => new Tokens({ directory: join(root, 'tokens'), client: api.client, clock, seal: undefined })
  const request = { namespace: 'default', serviceAccount: 'sa', podName: 'web', podUid: 'u2', audiences: [], expirationSeconds: 3600 }
  const tokens = make()
  const first = await tokens.token(request)
  await clock.advance(2900_000)
  const second = await tokens.token(request)
  assert.notEqual(second, first)
  clock.jump(-400 * 86_400_000)
  const booted = make()
  assert.equal(await booted.token(request), second, 'a boot waits for nothing')
  booted.linkBack()
  const third = await booted.token(request)
  assert.notEqual(third, second)
  assert.equal(await booted.token(request), third, 'once')
  await tokens.keepOnly(new Set())
})

test('a torn token file is asked for anew', async () => {
  const api = new FakeApi()
  const dir = join(root, 'torn')
  const tokens = new Tokens({ directory: dir, client: api.client, clock: new FakeClock(), seal: undefined })
  const request = { namespace: 'default', serviceAccount: 'sa', podName: 'web', podUid: 'u1', audiences: [], expirationSeconds: 3600 }
  await tokens.token(request)
  mkdirSync(dir, { recursive: true })
  for (const f of await readdir(dir)) writeFileSync(join(dir, f), '{"tok')
  assert.match(await new Tokens({ directory: dir, client: api.client, clock: new FakeClock(), seal: undefined }).token(request), /^token-/)
})

const forget = (): void => rmSync(join(root, 'data/pods/u1/claims'), { recursive: true, force: true })
const claimed = (spec: object, claim: object = {}): void => {
  forget()
  objects.set('PersistentVolume/pv', { metadata: { name: 'pv' }, spec: { claimRef: { uid: 'c1' }, ...spec } } as KubeObject)
  objects.set('PersistentVolumeClaim/data', { metadata: { name: 'data', uid: 'c1', annotations: { 'pv.kubernetes.io/bind-completed': 'yes' } }, spec: { volumeName: 'pv' }, status: { phase: 'Bound' }, ...claim } as KubeObject)
}
const why = (pattern: RegExp) => (e: Error): boolean => pattern.test(String((e.cause as Error).message))
const CLAIM: Volume = { name: 'd', persistentVolumeClaim: { claimName: 'data' } }

test('a claim is mounted where its volume lies; subPaths are made in it, and a read-only claim is read-only', async () => {
  const dir = join(root, 'disk')
  mkdirSync(dir)
  claimed({ local: { path: dir } })
  await prepare([CLAIM])
  const p = pod([CLAIM])
  assert.deepEqual(await volumes.mount(p, { name: 'd', mountPath: '/d' }, new Map()), { hostPath: dir, containerPath: '/d', readOnly: false, propagation: 'private' })
  assert.equal((await volumes.mount(p, { name: 'd', mountPath: '/d', subPath: 'a/b' }, new Map())).hostPath, join(dir, 'a/b'))
  const sealed: Volume = { name: 'd', persistentVolumeClaim: { claimName: 'data', readOnly: true } }
  await prepare([sealed])
  assert.equal((await volumes.mount(pod([sealed]), { name: 'd', mountPath: '/d' }, new Map())).readOnly, true)
})

test('a claim that cannot be mounted says why', async () => {
  objects.clear()
  forget()
  await assert.rejects(prepare([CLAIM]), why(/persistentvolumeclaim "data" not found/))
  claimed({ local: { path: join(root, 'nowhere') } })
  await assert.rejects(prepare([CLAIM]), why(/path ".*nowhere" does not exist/))
  claimed({ nfs: { server: 's', path: '/' } })
  await assert.rejects(prepare([CLAIM]), why(/kind "nfs" cannot be mounted by this node/))
  claimed({ local: { path: root }, volumeMode: 'Block' })
  await assert.rejects(prepare([CLAIM]), why(/is not a block device/))
  claimed({ local: { path: root }, claimRef: { uid: 'other' } })
  await assert.rejects(prepare([CLAIM]), why(/is bound to another claim/))
  claimed({}, { status: { phase: 'Pending' }, spec: {} })
  await assert.rejects(prepare([CLAIM]), why(/non-bound phase \("Pending"\)/))
  claimed({ local: { path: root } })
  await assert.rejects(prepare([{ name: 'data', ephemeral: {} }]), why(/"web-data" not found/))
  await prepare([CLAIM])
  objects.clear()
  await prepare([CLAIM]) // What a claim is has been kept with the pod: the server may be away.
})

test('a group is given all files once, and with OnRootMismatch only when the root is wrong', { skip: process.getuid?.() === 0 ? false : 'needs root' }, async () => {
  const dir = join(root, 'grouped')
  mkdirSync(join(dir, 'sub'), { recursive: true })
  writeFileSync(join(dir, 'sub/file'), 'x', { mode: 0o600 })
  const seen = (path: string): unknown => [statSync(join(dir, path)).gid, statSync(join(dir, path)).mode & 0o7777]
  await setOwnership(dir, 77, undefined, join(root, 'mark1'))
  assert.deepEqual([seen(''), seen('sub'), seen('sub/file')], [[77, 0o2775], [77, 0o2775], [77, 0o660]])
  writeFileSync(join(dir, 'late'), 'x', { mode: 0o600 })
  await setOwnership(dir, 77, undefined, join(root, 'mark1'))
  await setOwnership(dir, 77, 'OnRootMismatch', join(root, 'mark2'))
  assert.deepEqual(seen('late'), [77, 0o600], 'not walked again; the directory passed its group on')
  await setOwnership(dir, 78, 'OnRootMismatch', join(root, 'mark3'))
  assert.deepEqual(seen('late'), [78, 0o660])
})

test('a pod that is removed leaves no directory', async () => {
  await volumes.remove('u1')
  assert.deepEqual(await volumes.uids(), [])
  await assert.rejects(volumes.remove('../etc'), /is no uid/)
})

test('trust bundles and pod certificates, which the server does not have, are refused with the reason; an optional bundle is an empty file', async () => {
  const projecting = (source: object): Promise<void> => prepare([{ name: 'p', projected: { sources: [source] } }] as Volume[])
  await projecting({ clusterTrustBundle: { name: 'ca', path: 'ca.pem', optional: true } })
  assert.equal(readFileSync(at('p', 'ca.pem'), 'utf8'), '')
  await assert.rejects(projecting({ clusterTrustBundle: { name: 'ca', path: 'ca.pem' } }), (e: Error) => /has no ClusterTrustBundles .*put the certificates into a ConfigMap/.test(String((e.cause as Error).message)))
  await assert.rejects(projecting({ podCertificate: { signerName: 'example.com/pods', keyType: 'ED25519', keyPath: 'key' } }), (e: Error) => /signer "example.com\/pods" cannot be asked/.test(String((e.cause as Error).message)))
})
