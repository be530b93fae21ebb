/**
 * `skerry server` alone is a cluster of one machine; and two of them on one machine, apart by data directory, port and
 * addresses, do not meet.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Node, Pod } from '../../src/api/gen/types.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, killall, KUBECTL, leftovers, ran, Site, SKERRY } from './site.ts'

interface Instance {
  readonly name: string
  readonly port: number
  readonly cidr: string
  readonly services: string
  readonly hostPort: number
}
const A: Instance = { name: 'a', port: 7620, cidr: '10.50', services: '10.60', hostPort: 7622 }
const B: Instance = { name: 'b', port: 7621, cidr: '10.51', services: '10.61', hostPort: 7623 }

describe('two servers with their own agents on one machine', { skip: cannotRunContainers() }, () => {
  let site: Site
  const run = async (server: Instance, program: string, args: readonly string[], input?: string): Promise<string> => {
    const r = await ran(program, args, { env: site.env(server.name), ...(input === undefined ? {} : { input }) })
    if (r.code !== 0) throw new Error(`${server.name}: ${args.join(' ')}: ${r.err || r.out}`)
    return r.out
  }
  const kubectl = (server: Instance, ...args: string[]): Promise<string> => run(server, KUBECTL, args)
  const get = async <T>(server: Instance, ...args: string[]): Promise<T> => JSON.parse(await kubectl(server, 'get', ...args, '-o', 'json')) as T
  const start = (i: Instance): void => {
    const flags = ['--port', String(i.port), '--bind-address', site.lab.server.address, '--cluster-cidr', `${i.cidr}.0.0/16`, '--service-cidr', `${i.services}.0.0/16`, '--mqtt-port', String(i.port + 10), '--node-name', `machine-${i.name}`]
    site.start(i.name, site.lab.server, SKERRY, ['server', '--data-dir', site.data(i.name), ...flags])
  }
  const page = async (i: Instance): Promise<string> => (await site.on('server', 'curl', ['-s', '--max-time', '2', `http://${site.lab.server.address}:${i.hostPort}/`])).out

  before(async () => {
    site = await Site.create('two', [])
    for (const i of [A, B]) start(i)
    for (const i of [A, B]) {
      await eventually(`${i.name} ready`, async () => site.alive(i.name) && (await kubectl(i, 'get', '--raw', '/readyz')) === 'ok', 40_000)
      await run(i, SKERRY, ['image', 'import', await busyboxArchive(site.dir, `web-${i.name}:v1`, `trap 'exit 0' TERM; httpd -p 8092 -h /www; while :; do sleep 1 & wait $!; done`)])
      await run(i, KUBECTL, ['apply', '-f', '-'], manifest(i))
    }
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('each is a cluster of one node that runs its own pod', async () => {
    for (const i of [A, B]) {
      await kubectl(i, 'wait', '--for=condition=Ready', 'pod/web', '--timeout=60s')
      const { items: nodes } = await get<{ items: Node[] }>(i, 'nodes')
      assert.deepEqual(nodes.map((n) => n.metadata?.name), [`machine-${i.name}`])
      const { items: pods } = await get<{ items: Pod[] }>(i, 'pods', '-A')
      assert.equal(pods.length, 1)
      assert.ok(pods[0]?.status?.podIP?.startsWith(`${i.cidr}.`), pods[0]?.status?.podIP)
      assert.equal(await page(i), `web-${i.name}:v1\n`)
      assert.equal((await get<{ spec: { clusterIP: string } }>(i, 'service', 'kubernetes')).spec.clusterIP, `${i.services}.0.1`)
    }
  })

  test('neither accepts the other\'s administrator', async () => {
    const kubeconfig = site.env('b')['KUBECONFIG'] as string
    const r = await ran(KUBECTL, ['get', 'nodes', '--kubeconfig', kubeconfig, '--server', `https://${site.lab.server.address}:${A.port}`], { env: site.env('a') })
    assert.notEqual(r.code, 0)
    assert.match(r.err, /certificate|x509/)
  })

  test('a second start on one data directory is refused and names who has it', async () => {
    const r = await site.on('server', SKERRY, ['server', '--data-dir', site.data('a'), '--port', '7629', '--bind-address', site.lab.server.address])
    assert.notEqual(r.code, 0)
    assert.match(r.err, /process \d+/)
  })

  test('the end of one with killall.sh is nothing to the other; it comes back from its directory', async () => {
    const before = await get<Pod>(B, 'pod', 'web')
    await site.kill('a')
    const ended = await killall(site.data('a'), site.lab.server.netns)
    assert.equal(ended.code, 0, ended.err)
    assert.deepEqual(leftovers(site.data('a')), [])
    assert.equal(await page(A), '')
    assert.equal(await page(B), 'web-b:v1\n')
    const after = await get<Pod>(B, 'pod', 'web')
    assert.equal(after.status?.containerStatuses?.[0]?.containerID, before.status?.containerStatuses?.[0]?.containerID)
    start(A)
    await eventually('a serves again', async () => (await page(A)) === 'web-a:v1\n', 40_000)
  })
})

const manifest = (i: Instance): string => `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 2
  containers: [{name: main, image: 'web-${i.name}:v1', ports: [{containerPort: 8092, hostPort: ${i.hostPort}}]}]
`
