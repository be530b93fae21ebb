/**
 * The Kubernetes API as a pod sees it: the node's own address, the account's own rights, the real kubectl in the pod. With the
 * server in reach, cut off from it, after a boot without it, and when it is back.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { join } from 'node:path'
import { buildImage, type ImageFile } from '../../src/images/mod.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { eventually, KUBECTL, Site, type Ran } from './site.ts'

const NODE = 'gw-1'

describe('the API inside a pod', { skip: cannotRunContainers() }, () => {
  let site: Site
  /** A command in the pod, by the node's own runtime: works cut off too. */
  const inPod = async (...command: string[]): Promise<Ran> => {
    const ctr = (...args: string[]): Promise<Ran> => site.on(NODE, 'ctr', ['--address', socket(), '-n', 'k8s.io', ...args])
    const running = new Set((await ctr('tasks', 'ls')).out.split('\n').filter((l) => /RUNNING/.test(l)).map((l) => l.split(/\s+/)[0]))
    const list = (await ctr('containers', 'ls')).out
    const id = list.split('\n').filter((l) => /operator/.test(l)).map((l) => l.split(/\s+/)[0]).find((c) => running.has(c))
    assert.ok(id, list)
    return ctr('tasks', 'exec', '--exec-id', `t${process.hrtime.bigint()}`, id, ...command)
  }
  const socket = (): string => join(pathsOf(site.data(NODE)).run, 'containerd.sock')
  const kubectl = (...args: string[]): Promise<Ran> => inPod('/bin/kubectl', ...args)

  before(async () => {
    site = await Site.create('local-api', [NODE])
    await site.startServer()
    const image = join(site.dir, 'operator.tar')
    const tools = ['sh', 'cat', 'sleep', 'env', 'wget']
    const files: ImageFile[] = [
      { path: 'bin/busybox', from: { copy: '/bin/busybox' }, mode: 0o755 },
      { path: 'bin/kubectl', from: { copy: KUBECTL }, mode: 0o755 },
      ...tools.map((t): ImageFile => ({ path: `bin/${t}`, from: { link: 'busybox' } })),
      { path: 'tmp/.keep', from: { bytes: '' } },
    ]
    await buildImage({ name: 'operator', layers: [files], entrypoint: ['/bin/sh', '-c', "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"] }, image)
    await site.skerry('image', 'import', image)
    await site.join(NODE)
    await site.apply(MANIFEST)
    await site.kubectl('wait', '--for=condition=Ready', 'pod/operator', '--timeout=60s')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('online: the node\'s own address, the cluster\'s CA, the account\'s rights', async () => {
    assert.match((await inPod('/bin/env')).out + (await inPod('/bin/sh', '-c', 'cat /proc/1/environ')).out, /KUBERNETES_SERVICE_HOST=10\.42\.\d+\.1/)
    const pods = await kubectl('get', 'pods')
    assert.match(pods.out, /operator\s+1\/1\s+Running/, pods.err)
    assert.match((await kubectl('get', 'secret', 'hidden')).err, /forbidden: User "system:serviceaccount:default:operator"/)
    assert.equal((await kubectl('create', 'configmap', 'made', '--from-literal=by=pod')).code, 0)
    assert.match(await site.kubectl('get', 'configmap', 'made', '-o', 'jsonpath={.data.by}'), /pod/)
    // Read once, in the form in which client libraries read: that is known cut off.
    assert.match((await kubectl('get', 'endpointslices', '-o', 'jsonpath={.items[*].endpoints[*].addresses[*]}')).out, /10\.9\.9\.9/)
    // Seen as kubectl prints it only: known as that.
    assert.match((await kubectl('get', 'serviceaccounts')).out, /operator\s+0\s+\d+s/)
    assert.match((await kubectl('exec', 'operator', '--', 'cat', '/etc/hostname')).out, /operator/, 'a stream through the node')
  })

  const cutOff = async (): Promise<void> => {
    const pods = await eventually('the node to know that it is cut off', async () => {
      const r = await kubectl('get', 'pods')
      return /the server is away/.test(r.err) && r
    }, 60_000, 500)
    assert.match(pods.out, /NAME\s+READY\s+STATUS[\s\S]*operator\s+1\/1\s+Running/)
    assert.equal((await kubectl('get', 'configmap', 'settings', '-o', 'jsonpath={.data.colour}')).out, 'blue')
    const slices = await kubectl('get', 'endpointslices')
    assert.match(slices.out, /backend-1\s+IPv4\s+80\s+10\.9\.9\.9/, slices.err)
    assert.match(slices.err, /the server is away: this is what it said at 20/)
    assert.equal((await kubectl('get', 'endpointslice', 'backend-1', '-o', 'jsonpath={.endpoints[0].addresses[0]}')).out, '10.9.9.9')
    const accounts = await kubectl('get', 'serviceaccounts')
    assert.match(accounts.out, /NAME.*\n(.*\n)*operator\s+0\s+\d+s/, accounts.err)
    assert.match(accounts.err, /the server is away: this is what it said at 20/)
    const refused = await kubectl('get', 'secret', 'hidden')
    assert.match(refused.err, /forbidden/, 'rights hold without the server')
    const write = await kubectl('create', 'configmap', 'other', '--validate=false', '--from-literal=a=b')
    assert.notEqual(write.code, 0)
    assert.match(write.err, /cut off from the server|the server was not reached/)
    assert.match((await kubectl('get', 'configmap', 'nowhere')).err, /does not know this itself/, 'what is not known is not denied')
  }

  test('cut off: what the node knows is read, rights hold, writes are refused with the reason', async () => {
    await site.lab.cut(NODE)
    await cutOff()
  })

  test('after a boot without the server too', async () => {
    await site.losePower(NODE)
    site.startAgent(NODE)
    await eventually('the pod to run', async () => (await inPod('/bin/cat', '/etc/hostname')).code === 0, 60_000)
    await cutOff()
  })

  test('a watch that began cut off is told to list again when the server is back', async () => {
    const watching = kubectl('get', 'pods', '--watch')
    const watchingSlices = kubectl('get', 'endpointslices', '--watch')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    await site.lab.mend(NODE)
    await eventually('the whole truth', async () => {
      const r = await kubectl('get', 'configmaps', 'made')
      return r.code === 0 && !/the server is away/.test(r.err)
    }, 60_000)
    const watched = await watching
    assert.match(watched.out, /operator/, watched.err)
    assert.match((await watchingSlices).out, /backend-1/)
    assert.equal((await kubectl('create', 'configmap', 'again', '--from-literal=a=b')).code, 0)
  })
})

const MANIFEST = `apiVersion: v1
kind: ServiceAccount
metadata: {name: operator}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: x}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator}
rules:
- {apiGroups: [""], resources: [pods, serviceaccounts], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch, create]}
- {apiGroups: [""], resources: [pods/exec], verbs: [get, create]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: backend-1, labels: {kubernetes.io/service-name: backend}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.9.9.9]}]
---
apiVersion: v1
kind: Pod
metadata: {name: operator}
spec:
  serviceAccountName: operator
  terminationGracePeriodSeconds: 2
  containers:
  - name: operator
    image: operator
    env: [{name: HOME, value: /tmp}]
    envFrom: [{secretRef: {name: hidden}}, {configMapRef: {name: settings}}]
`
