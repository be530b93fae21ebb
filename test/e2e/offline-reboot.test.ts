/**
 * Power loss on a node that cannot reach its server: everything but the disk is gone, and all pods come back from what the
 * node kept. When the link is back, the server sees the same pods.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { Pod } from '../../src/api/gen/types.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, leftovers, Site } from './site.ts'

const NODE = 'gw-1'
const PODS = 8
const FIRST_PORT = 7610

describe('a node that boots without its server', { skip: cannotRunContainers() }, () => {
  let site: Site
  const pods = async (): Promise<Pod[]> => (await site.get<{ items: Pod[] }>('pods')).items
  /** What each pod answers on its host port: the words from its ConfigMap, Secret, token and how often it has started. */
  const answer = async (i: number): Promise<string | undefined> => {
    const r = await site.on(NODE, 'curl', ['-s', '--max-time', '2', `http://${site.lab.host(NODE).address}:${FIRST_PORT + i}/state`])
    return r.code === 0 && r.out.startsWith('blue s3cret ey') ? r.out : undefined
  }
  const answers = (): Promise<(string | undefined)[]> => Promise.all(Array.from({ length: PODS }, (_, i) => answer(i)))
  const allServe = (timeoutMs: number): Promise<unknown> => eventually('all pods to serve', async () => (await answers()).every((a) => a !== undefined), timeoutMs, 100)

  before(async () => {
    site = await Site.create('reboot', [NODE])
    await site.startServer()
    const script = `trap 'exit 0' TERM; echo $(cat /config/colour) $(cat /secret/password) $(cat /var/run/secrets/kubernetes.io/serviceaccount/token) >/www/state; httpd -p 8092 -h /www; while :; do sleep 1 & wait $!; done`
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'keeper', script))
    await site.join(NODE)
    await site.apply(manifests())
    await site.kubectl('wait', '--for=condition=Available', 'deployment/one', 'deployment/two', '--timeout=60s')
    await site.kubectl('wait', '--for=condition=Ready', 'pods', '--all', '--timeout=60s')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('eight pods are Ready again from local state, and the server finds the same ones', async (t: TestContext) => {
    await allServe(60_000)
    const before = await pods()
    assert.equal(before.length, PODS)
    await site.lab.cut(NODE)
    await site.losePower(NODE)
    assert.deepEqual(leftovers(site.data(NODE), site.lab.host(NODE).netns), [], 'the power loss left nothing but the disk')
    assert.deepEqual(new Set(await answers()), new Set([undefined]))

    const start = performance.now()
    site.startAgent(NODE)
    await allServe(60_000)
    const ms = Math.round(performance.now() - start)
    t.diagnostic(`${PODS} pods serve ${ms} ms after the agent's start, with no server in reach`)
    assert.ok(ms < 30_000, `${ms} ms`)

    await site.lab.mend(NODE)
    await eventually('the server to know of the new containers', async () =>
      (await pods()).every((p) => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') && p.status.containerStatuses?.[0]?.containerID !== containerOf(before, p)),
    )
    const now = await pods()
    const uids = (list: Pod[]): string[] => list.map((p) => `${p.metadata?.name} ${p.metadata?.uid}`).sort()
    assert.deepEqual(uids(now), uids(before), 'the same pods, none replaced')
    for (const p of now) assert.equal(p.status?.containerStatuses?.[0]?.restartCount, 1, `${p.metadata?.name}: one restart, as after a kubelet's reboot`)
    await site.nodeReady(NODE)
    assert.match(await site.kubectl('get', 'deploy', 'two'), /two\s+1\/1/)
  })

  test('what was asked while it was away is done on return: a deletion, a changed ConfigMap', async () => {
    await site.lab.cut(NODE)
    await site.losePower(NODE)
    await site.kubectl('delete', 'pod', 'solo-0', '--wait=false')
    await site.kubectl('patch', 'configmap', 'settings', '-p', '{"data":{"colour":"red"}}')
    site.startAgent(NODE)
    await allServe(60_000)
    await site.lab.mend(NODE)
    await site.kubectl('wait', '--for=delete', 'pod/solo-0', '--timeout=40s')
    assert.equal(await answer(0), undefined)
    await eventually('the changed ConfigMap', async () => (await site.kubectl('exec', 'solo-1', '--', 'cat', '/config/colour')) === 'red')
    assert.notEqual(await answer(1), undefined)
  })
})

const containerOf = (list: Pod[], pod: Pod): string | undefined => list.find((p) => p.metadata?.uid === pod.metadata?.uid)?.status?.containerStatuses?.[0]?.containerID

function manifests(): string {
  const spec = (port: number | string, indent: string): string =>
    `
terminationGracePeriodSeconds: 2
volumes:
  - {name: config, configMap: {name: settings}}
  - {name: secret, secret: {secretName: login}}
  - {name: cache, emptyDir: {}}
containers:
  - name: main
    image: keeper
    ports: [{containerPort: 8092, hostPort: ${port}}]
    readinessProbe: {httpGet: {port: 8092, path: /state}, periodSeconds: 1}
    volumeMounts: [{name: config, mountPath: /config}, {name: secret, mountPath: /secret}, {name: cache, mountPath: /cache}]`.replaceAll('\n', `\n${indent}`)
  const solo = Array.from({ length: PODS - 2 }, (_, i) => `apiVersion: v1\nkind: Pod\nmetadata: {name: solo-${i}}\nspec:${spec(FIRST_PORT + i, '  ')}\n`)
  const two = [6, 7].map((i) => FIRST_PORT + i)
  return [
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: blue}\n',
    'apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: s3cret}\n',
    ...solo,
    ...two.map((port, i) => `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: ${i === 0 ? 'one' : 'two'}}\nspec:\n  selector: {matchLabels: {app: d${i}}}\n  template:\n    metadata: {labels: {app: d${i}}}\n    spec:${spec(port, '      ')}\n`),
  ].join('---\n')
}
