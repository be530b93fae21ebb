/**
 * What a pod spec says beyond its containers, asked with the real kubectl of a real node: volumes by claim, ephemeral volumes, static
 * pods, security, host names, ephemeral containers, and what a node ends or refuses by itself.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../src/api/gen/types.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, Site } from './site.ts'

const NODE = 'gw-1'
const FOREVER = `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`

describe('features of pods on a node', { skip: cannotRunContainers() }, () => {
  let site: Site
  const pod = (name: string): Promise<Pod> => site.get<Pod>('pod', name)
  const inside = async (name: string, ...command: string[]): Promise<string> => (await site.kubectl('exec', name, '--', ...command)).trim()
  const ready = (name: string): Promise<string> => site.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=40s')
  const failed = (name: string): Promise<Pod> => eventually(`${name} to fail`, async () => { const p = await pod(name); return p.status?.phase === 'Failed' && p }, 40_000)
  const storage = (): string => join(site.data(NODE), 'agent/storage')
  const manifests = (): string => join(site.data(NODE), 'agent/manifests')

  before(async () => {
    site = await Site.create('features', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'tools:v1', FOREVER))
    mkdirSync(join(site.data(NODE), 'agent/seccomp'), { recursive: true })
    writeFileSync(join(site.data(NODE), 'agent/seccomp/no-mkdir.json'), JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }] }))
    site.startAgent(NODE, '--token', (await site.skerry('token', 'create', '--node', NODE)).trim(), '--allowed-unsafe-sysctls', 'net.core.somaxc*')
    await site.nodeReady(NODE)
    mkdirSync(join(site.dir, 'disk'))
    await site.apply(objects(site.dir))
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('a claim of the default class becomes a directory of the node, writable by any user, and goes with the claim', async () => {
    await ready('keeper')
    const claim = await site.get<PersistentVolumeClaim>('pvc', 'data')
    const volume = await site.get<PersistentVolume>('pv', claim.spec?.volumeName ?? '')
    assert.match(await site.kubectl('get', 'pvc', 'data', '--no-headers'), /^data\s+Bound\s+pvc-[\w-]+\s+10Mi\s+RWO\s+local-path\s/)
    assert.match(await site.kubectl('get', 'storageclass', '--no-headers'), /^local-path \(default\)\s+rancher.io\/local-path\s+Delete\s+WaitForFirstConsumer\s+false/)
    const dir = volume.spec?.local?.path ?? ''
    assert.ok(dir.startsWith(`${storage()}/pvc-`))
    await inside('keeper', 'sh', '-c', 'echo kept >/data/file; echo sub >/sub/file')
    assert.deepEqual(readdirSync(dir).toSorted(), ['file', 'part-keeper'])
    assert.match((await site.try('exec', 'keeper', '--', 'sh', '-c', 'echo x >/sealed/file')).err, /Read-only file system/)
    assert.equal(await inside('keeper', 'stat', '-c', '%g %a', '/data/file'), '2000 644', 'files are of the pod’s group')
    await site.kubectl('delete', 'pod', 'keeper', '--wait=true')
    await site.apply(keeper('again'))
    await ready('again')
    assert.equal(await inside('again', 'cat', '/data/file'), 'kept')
    await site.kubectl('delete', 'pvc', 'data', '--wait=false')
    assert.match(await site.kubectl('get', 'pvc', 'data'), /Terminating/)
    await site.kubectl('delete', 'pod', 'again', '--wait=true')
    await site.kubectl('wait', '--for=delete', 'pvc/data', `pv/${volume.metadata?.name}`, '--timeout=60s')
    assert.ok(!existsSync(dir))
  })

  test('a volume made by hand is a directory of the node; a generic ephemeral volume goes with its pod', async () => {
    await ready('byhand')
    await inside('byhand', 'sh', '-c', 'echo here >/data/file; echo x >/scratch/file')
    assert.deepEqual(readdirSync(join(site.dir, 'disk')), ['file'])
    assert.equal(readdirSync(storage()).length, 1)
    await site.kubectl('delete', 'pod', 'byhand', '--wait=true')
    await site.kubectl('wait', '--for=delete', 'pvc/byhand-scratch', '--timeout=60s')
    await eventually('no directory', () => readdirSync(storage()).length === 0)
    assert.equal((await site.get<PersistentVolumeClaim>('pvc', 'manual')).status?.phase, 'Bound')
  })

  test('a static pod runs from its file, is shown, comes back when deleted, and goes with its file', async () => {
    const file = join(manifests(), 'web.yaml')
    writeFileSync(file, `{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: static}}, spec: {containers: [{name: main, image: "tools:v1", command: [sh, -c, "echo static; ${FOREVER}"]}]}}`)
    await eventually('the mirror', async () => (await site.kubectl('get', 'pods', '-l', 'app=static', '--no-headers')).includes(`web-${NODE}`), 60_000)
    await ready(`web-${NODE}`)
    const before = await pod(`web-${NODE}`)
    assert.equal(before.metadata?.ownerReferences?.[0]?.kind, 'Node')
    assert.equal(await site.kubectl('logs', `web-${NODE}`), 'static\n')
    assert.equal(await inside(`web-${NODE}`, 'hostname'), `web-${NODE}`)
    await site.kubectl('delete', 'pod', `web-${NODE}`, '--wait=false')
    const after = await eventually('the mirror again', async () => { const p = await pod(`web-${NODE}`); return p.metadata?.uid !== before.metadata?.uid && p.status?.containerStatuses?.[0]?.state?.running && p })
    assert.equal(after.status?.containerStatuses?.[0]?.containerID, before.status?.containerStatuses?.[0]?.containerID, 'the pod itself has run on')
    rmSync(file)
    await eventually('no mirror', async () => (await site.kubectl('get', 'pods', '-l', 'app=static', '--no-headers')).trim() === '', 60_000)
  })

  test('an image volume shows the files of an image, read-only, and leaves nothing behind', async () => {
    await ready('imaged')
    assert.equal(await inside('imaged', 'cat', '/files/www/index.html', '/page/index.html'), 'tools:v1\ntools:v1')
    assert.match((await site.try('exec', 'imaged', '--', 'touch', '/files/x')).err, /Read-only file system/)
    const views = async (): Promise<string[]> =>
      (await site.on(NODE, 'ctr', ['-a', join(pathsOf(site.data(NODE)).run, 'containerd.sock'), '-n', 'k8s.io', 'snapshots', '--snapshotter', 'overlayfs', 'list'])).out.split('\n').filter((l) => l.startsWith('skerry-volume-'))
    assert.equal((await views()).length, 1)
    assert.equal(await inside('imaged', 'id', '-g'), '3000', 'a group without a user')
    await site.kubectl('delete', 'pod', 'imaged', '--wait=true')
    assert.deepEqual(await views(), [])
    await eventually('the missing image to be told', async () => /unpulled\s+0\/1\s+(ErrImagePull|ImagePullBackOff|ErrImageNeverPull)/.test(await site.kubectl('get', 'pods')))
  })

  test('security contexts: profiles, capabilities, sysctls, shared processes, groups', async () => {
    await ready('secure')
    assert.match((await site.try('exec', 'secure', '-c', 'filtered', '--', 'mkdir', '/tmp/x')).err, /Operation not permitted/)
    assert.equal(await inside('secure', 'cat', '/proc/sys/net/ipv4/ip_unprivileged_port_start'), '80')
    assert.equal(await inside('secure', 'cat', '/proc/sys/net/core/somaxconn'), '777', 'a setting that this node allows')
    assert.match(await site.kubectl('exec', 'secure', '-c', 'main', '--', 'ps'), /pause/, 'one process namespace for all')
    assert.match(await inside('secure', 'cat', '/proc/self/status'), /CapBnd:\t0000000000000400\n/)
    assert.equal(await inside('secure', 'id', '-G'), '0 2000 3000')
    assert.equal(await inside('secure', 'hostname'), 'front')
  })

  test('sidecars start before the app and stop after it, the last first; with an app that ends they end too', async () => {
    const order = (): string => readFileSync(join(site.dir, 'order'), 'utf8')
    await site.apply(sidecars(site.dir))
    await ready('ordered')
    assert.equal(order(), 'start a\nstart b\nstart main\n')
    await site.kubectl('delete', 'pod', 'ordered', '--wait=true')
    assert.equal(order(), 'start a\nstart b\nstart main\nend main\nend b\nend a\n')
    await site.kubectl('wait', '--for=jsonpath={.status.phase}=Succeeded', 'pod/brief', '--timeout=30s')
    const { initContainerStatuses, containerStatuses } = (await pod('brief')).status ?? {}
    assert.deepEqual([initContainerStatuses?.[0]?.state?.terminated?.exitCode, containerStatuses?.[0]?.state?.terminated?.reason], [0, 'Completed'])
    assert.equal(await site.kubectl('logs', 'brief', '-c', 'main'), 'from=init\n', 'a variable out of a file that an init container wrote')
  })

  test('an ephemeral container is started by the node and sees the processes of its target', async () => {
    await ready('secure')
    await site.kubectl('debug', 'secure', '--image=tools:v1', '--container=look', '--target=main', '--', 'sh', '-c', 'ps; sleep 100')
    await eventually('the ephemeral container', async () => (await pod('secure')).status?.ephemeralContainerStatuses?.[0]?.state?.running !== undefined)
    assert.match(await eventually('its output', async () => (await site.kubectl('logs', 'secure', '-c', 'look')) || undefined), /PID/)
  })

  test('a node ends what is over its time or its disk, and refuses what it cannot keep', async () => {
    const late = await failed('late')
    assert.deepEqual([late.status?.reason, late.status?.message], ['DeadlineExceeded', 'Pod was active on the node longer than the specified deadline'])
    const fat = await failed('fat')
    assert.equal(fat.status?.message, 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". ')
    assert.equal(fat.status?.conditions?.find((c) => c.type === 'DisruptionTarget')?.reason, 'TerminationByKubelet')
    assert.equal((await failed('unsafe')).status?.reason, 'SysctlForbidden')
    assert.match(await site.kubectl('get', 'pods', 'fat', 'unsafe', '--no-headers'), /fat\s+0\/1\s+Error[^\n]*\nunsafe\s+0\/1\s+SysctlForbidden/)
    assert.match(await site.kubectl('describe', 'pod', 'userns'), /FailedCreatePodSandBox[^\n]*user namespaces are not supported by this node/)
    assert.match(await site.kubectl('describe', 'pod', 'micro'), /FailedCreatePodSandBox[^\n]*no runtime for "none-such" is configured/)
    assert.deepEqual((await pod('micro')).spec?.overhead, { memory: '8Mi' })
  })

  test('after a loss of power a pod comes back with its claim, its image volume and its files, and a static pod too, with the server away', async () => {
    // Alone: a shim that is being made as the power goes would leave its socket, which a real loss of power takes along.
    await site.kubectl('delete', 'pod', '--all', '--wait=true', '--grace-period=1')
    await site.apply(one('kept', `
volumes: [{name: data, persistentVolumeClaim: {claimName: manual}}, {name: files, image: {reference: "tools:v1", pullPolicy: IfNotPresent}}]`, 'volumeMounts: [{name: data, mountPath: /data}, {name: files, mountPath: /files}]', `cat /files/www/index.html >>/data/lives; ${FOREVER}`))
    await ready('kept')
    const lives = (): string => readFileSync(join(site.dir, 'disk/lives'), 'utf8')
    assert.equal(lives(), 'tools:v1\n')
    writeFileSync(join(manifests(), 'life.yaml'), `{apiVersion: v1, kind: Pod, metadata: {name: life}, spec: {containers: [{name: main, image: "tools:v1", imagePullPolicy: IfNotPresent, command: [sh, -c, "echo life >>/host/static; ${FOREVER}"], volumeMounts: [{name: host, mountPath: /host}]}], volumes: [{name: host, hostPath: {path: ${site.dir}/disk}}]}}`)
    const shown = (): string => (existsSync(join(site.dir, 'disk/static')) ? readFileSync(join(site.dir, 'disk/static'), 'utf8') : '')
    await eventually('the static pod', () => shown() === 'life\n')
    await site.lab.cut(NODE)
    await site.losePower(NODE)
    site.startAgent(NODE)
    await eventually('both again', () => lives() === 'tools:v1\ntools:v1\n' && shown() === 'life\nlife\n', 90_000)
    await site.lab.mend(NODE)
    await site.nodeReady(NODE)
    rmSync(join(manifests(), 'life.yaml'))
    await site.kubectl('delete', 'pod', 'kept', '--wait=true')
  })
})

function one(name: string, spec: string, container: string, script = FOREVER): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  terminationGracePeriodSeconds: 2
${indent(spec, 2)}
  containers:
  - name: main
    image: tools:v1
    command: [sh, -c, ${JSON.stringify(script)}]
${indent(container, 4)}
`
}

/** A script that writes down when it starts and when it is asked to end. */
const telling = (name: string): string => `echo start ${name} >>/host/order; touch /tmp/up; trap 'echo end ${name} >>/host/order; exit 0' TERM; while :; do sleep 1 & wait $!; done`

const indent = (text: string, by: number): string => text.trim().split('\n').map((l) => ' '.repeat(by) + l).join('\n')

function keeper(name: string): string {
  return one(name, `
securityContext: {runAsUser: 1000, runAsGroup: 1500, fsGroup: 2000}
volumes:
- {name: data, persistentVolumeClaim: {claimName: data}}
- {name: sealed, persistentVolumeClaim: {claimName: data, readOnly: true}}`, `
env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
volumeMounts:
- {name: data, mountPath: /data}
- {name: data, mountPath: /sub, subPathExpr: part-$(POD)}
- {name: sealed, mountPath: /sealed}`)
}

/** Pods whose containers write down when they start and end, and one whose app ends by itself. */
function sidecars(dir: string): string {
  return [
    one('ordered', `
volumes: [{name: host, hostPath: {path: ${dir}}}]
initContainers:
${['a', 'b'].map((n) => `- {name: ${n}, image: "tools:v1", restartPolicy: Always, command: [sh, -c, ${JSON.stringify(telling(n))}], startupProbe: {exec: {command: [test, -f, /tmp/up]}, periodSeconds: 1}, volumeMounts: [{name: host, mountPath: /host}]}`).join('\n')}`, 'volumeMounts: [{name: host, mountPath: /host}]', telling('main')).replace('Seconds: 2', 'Seconds: 20'),
    one('brief', `
restartPolicy: Never
initContainers: [{name: side, image: "tools:v1", restartPolicy: Always, command: [sh, -c, ${JSON.stringify(FOREVER)}]}, {name: write, image: "tools:v1", command: [sh, -c, "echo \\"FROM='init'\\" >/made/a.env"], volumeMounts: [{name: made, mountPath: /made}]}]
volumes: [{name: made, emptyDir: {}}]`, 'env: [{name: FROM, valueFrom: {fileKeyRef: {volumeName: made, path: a.env, key: FROM}}}]', 'echo from=$FROM; sleep 1'),
  ].join('---')
}

function objects(dir: string): string {
  return [
    `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Mi}}}
`,
    `
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  storageClassName: ""
  local: {path: ${dir}/disk}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [${NODE}]}]}]}}
`,
    `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: manual}
spec: {storageClassName: "", accessModes: [ReadWriteOnce], resources: {requests: {storage: 500Mi}}}
`,
    keeper('keeper'),
    one('byhand', `
volumes:
- {name: data, persistentVolumeClaim: {claimName: manual}}
- {name: scratch, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}`, 'volumeMounts: [{name: data, mountPath: /data}, {name: scratch, mountPath: /scratch}]'),
    one('secure', `
hostname: front
shareProcessNamespace: true
securityContext:
  supplementalGroups: [3000]
  fsGroup: 2000
  sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "80"}, {name: net.core.somaxconn, value: "777"}]`, `
securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}, seccompProfile: {type: RuntimeDefault}}`) + `
  - name: filtered
    image: tools:v1
    securityContext: {seccompProfile: {type: Localhost, localhostProfile: no-mkdir.json}}
`,
    one('imaged', 'securityContext: {runAsGroup: 3000}\nvolumes: [{name: files, image: {reference: "tools:v1"}}]', 'volumeMounts: [{name: files, mountPath: /files}, {name: files, mountPath: /page, subPath: www}]'),
    one('unpulled', 'volumes: [{name: files, image: {reference: "none-such:v1", pullPolicy: Never}}]', 'volumeMounts: [{name: files, mountPath: /files}]'),
    one('late', 'activeDeadlineSeconds: 3', 'env: []'),
    one('fat', 'volumes: [{name: scratch, emptyDir: {sizeLimit: 1Mi}}]', 'volumeMounts: [{name: scratch, mountPath: /scratch}]', `cat /bin/busybox /bin/busybox >/scratch/file; ${FOREVER}`),
    one('unsafe', 'securityContext: {sysctls: [{name: kernel.msgmax, value: "65536"}]}', 'env: []'),
    one('userns', 'hostUsers: false', 'env: []'),
    '\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: micro}\nhandler: none-such\noverhead: {podFixed: {memory: 8Mi}}\n',
    one('micro', 'runtimeClassName: micro', 'env: []'),
  ].join('---')
}
