/** Device nodes in containers of a real containerd: claimed, as extended resources, and there again after a loss of power without the server. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Pod, ResourceResourceClaim } from '../../src/api/gen/types.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, Site } from './site.ts'

const NODE = 'gw-1'
const FOREVER = `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`
/** Device nodes of our own, under names that no container has by itself: /dev/zero and two of /dev/null. */
const NAME = `skerry-test-${process.pid}`
const NODES: readonly (readonly [string, string])[] = [['zero', '5'], ['null0', '3'], ['null1', '3']]

function cannotMakeDevices(): string | false {
  try {
    for (const [name, minor] of NODES) execFileSync('mknod', ['-m', '666', `/dev/${NAME}-${name}`, 'c', '1', minor], { stdio: 'pipe' })
    return false
  } catch {
    return 'device nodes cannot be made here'
  }
}
const removeDevices = (): void => NODES.forEach(([name]) => rmSync(`/dev/${NAME}-${name}`, { force: true }))

describe('devices of a node', { skip: cannotRunContainers() || cannotMakeDevices() }, () => {
  let site: Site
  const inside = async (...command: string[]): Promise<string> => (await site.kubectl('exec', ...command)).trim()
  const running = (...names: string[]): Promise<string> => site.kubectl('wait', '--for=condition=Ready', ...names.map((n) => `pod/${n}`), '--timeout=60s')

  before(async () => {
    site = await Site.create('devices', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'tools:v1', FOREVER))
    site.startAgent(NODE, '--token', (await site.skerry('token', 'create', '--node', NODE)).trim(), ...rules)
    await site.nodeReady(NODE)
  })
  after(async () => {
    removeDevices()
    assert.deepEqual(await site?.close(), [])
  })
  const rules = ['--device', `/dev/${NAME}-zero`, '--device', `example.com/null=/dev/${NAME}-null*`]

  test('a claimed device is in the container that claims it, under the name the claim asks for, and in no other', async () => {
    mkdirSync(join(site.dir, 'host'))
    await site.apply(manifest(join(site.dir, 'host')))
    await running('reader', 'one', 'two')
    assert.equal(await inside('reader', '-c', 'reader', '--', 'sh', '-c', `head -c 3 /dev/eye | od -An -tx1; echo $SKERRY_DEVICES_EYE`), '00 00 00\n/dev/eye')
    assert.match((await site.try('exec', 'reader', '-c', 'other', '--', 'ls', '/dev/eye')).err, /No such file/)
    const { resourceClaimName: name = '' } = (await site.get<Pod>('pod', 'reader')).status?.resourceClaimStatuses?.[0] ?? {}
    assert.match(await site.kubectl('get', 'resourceclaim', name, '--no-headers'), /allocated,reserved/)
    assert.deepEqual((await site.get<ResourceResourceClaim>('resourceclaim', name)).status?.allocation?.devices?.results?.map((r) => [r.driver, r.pool, r.device]), [['dev.skerry.io', NODE, `${NAME}-zero`]])
  })

  test('pods that ask for an extended resource get one each, and a third waits', async () => {
    const mine = await Promise.all(['one', 'two'].map((p) => inside(p, '--', 'sh', '-c', 'echo $SKERRY_DEVICES_EXAMPLE_COM_NULL; test -c $SKERRY_DEVICES_EXAMPLE_COM_NULL')))
    assert.deepEqual(mine.toSorted(), [`/dev/${NAME}-null0`, `/dev/${NAME}-null1`])
    await site.apply(asking('three'))
    await eventually('the third to wait', async () => /Insufficient example.com\/null/.test(await site.kubectl('describe', 'pod', 'three')))
    assert.match(await site.kubectl('describe', 'node', NODE), /example.com\/null\s+2\s+2/)
  })

  test('after a loss of power without the server each pod has its device again; a pod that goes frees what it had', async () => {
    const seen = (): string => readFileSync(join(site.dir, 'host/seen'), 'utf8')
    assert.equal(seen(), ' 00 00 00\n')
    const had = await inside('one', '--', 'sh', '-c', 'echo $SKERRY_DEVICES_EXAMPLE_COM_NULL')
    await site.lab.cut(NODE)
    await site.losePower(NODE)
    site.startAgent(NODE, ...rules)
    // Each start of the reader reads its device and leaves a line on the node.
    await eventually('the reader to have read again, cut off', () => seen() === ' 00 00 00\n 00 00 00\n', 90_000)
    await site.lab.mend(NODE)
    await site.nodeReady(NODE)
    await eventually('the pods to have come back', async () => {
      const { items } = await site.get<{ items: Pod[] }>('pods')
      return items.filter((p) => p.status?.containerStatuses?.every((c) => (c.restartCount ?? 0) > 0 && c.ready)).length === 3
    }, 90_000)
    assert.equal(await inside('reader', '-c', 'reader', '--', 'sh', '-c', 'head -c 3 /dev/eye | od -An -tx1'), '00 00 00')
    assert.equal(await inside('one', '--', 'sh', '-c', 'echo $SKERRY_DEVICES_EXAMPLE_COM_NULL'), had)
    await site.kubectl('delete', 'pod', 'one', '--grace-period=1')
    await running('three')
    assert.equal(await inside('three', '--', 'sh', '-c', 'echo $SKERRY_DEVICES_EXAMPLE_COM_NULL'), had)
    await site.kubectl('delete', 'pod', 'reader', '--grace-period=1')
    await eventually('the claim to be gone', async () => (await site.kubectl('get', 'resourceclaims', '--no-headers')).trim() === '')
  })
})

const container = (name: string, more = '', first = ''): string => `{name: ${name}, image: "tools:v1", command: [sh, -c, "${first}${FOREVER}"]${more}}`
const asking = (name: string): string => `{apiVersion: v1, kind: Pod, metadata: {name: ${name}}, spec: {containers: [${container(name, ', resources: {limits: {example.com/null: 1}}')}]}}\n`
const manifest = (host: string): string => `
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: node-devices}
spec: {selectors: [{cel: {expression: 'device.driver == "dev.skerry.io"'}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: eye}
spec:
  spec:
    devices:
      requests: [{name: eye, exactly: {deviceClassName: node-devices, selectors: [{cel: {expression: 'device.attributes["dev.skerry.io"].minor == 5'}}]}}]
      config: [{opaque: {driver: dev.skerry.io, parameters: {path: /dev/eye, permissions: r}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  resourceClaims: [{name: eye, resourceClaimTemplateName: eye}]
  volumes: [{name: host, hostPath: {path: ${host}}}]
  containers: [${container('reader', ', resources: {claims: [{name: eye}]}, volumeMounts: [{name: host, mountPath: /host}]', 'head -c 3 /dev/eye | od -An -tx1 >>/host/seen; ')}, ${container('other')}]
---
${asking('one')}---
${asking('two')}`
