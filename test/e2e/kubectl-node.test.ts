/**
 * Real clients and containers on a real node: kubectl's exec, cp, logs, attach, port-forward, debug, proxy, top and drain as
 * a session (`sessions/node.txt`), and the same streams with the JavaScript client.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import * as k8s from '@kubernetes/client-node'
import { cannotRunContainers } from '../kit/containerd.ts'
import { noClients, playFile } from '../kit/session-run.ts'
import { busyboxArchive, eventually, Site } from './site.ts'

const NODE = 'gw-1'
const FOREVER = `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`
const namespace = 'default'
/** The newest and the oldest; the one between speaks the same protocols. */
const versions = process.env['SKERRY_SESSION_VERSIONS']?.split(',') ?? ['1.35', '1.31']

describe('clients and a real node', { skip: cannotRunContainers() || noClients() }, () => {
  let site: Site
  const config = new k8s.KubeConfig()

  before(async () => {
    site = await Site.create('kubectl', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'tools:v1', FOREVER))
    await site.join(NODE)
    config.loadFromFile(String(site.env()['KUBECONFIG']))
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('kubectl, command by command', { timeout: 400_000 }, async (t) => {
    await playFile(
      join(import.meta.dirname, 'sessions/node.txt'),
      versions,
      async () => ({ kubeconfig: readFileSync(String(site.env()['KUBECONFIG']), 'utf8'), close: () => site.kubectl('delete', 'pods,services,deployments', '--all', '--wait', '--timeout=40s').then(() => undefined) }),
      (line) => t.diagnostic(line),
    )
  })

  test('the JavaScript client: exec with status, stdin, logs, copies, port-forward, attach, metrics', { timeout: 120_000 }, async () => {
    const core = config.makeApiClient(k8s.CoreV1Api)
    const container = 'c'
    await core.createNamespacedPod({ namespace, body: { metadata: { name: 'js' }, spec: { containers: [{ name: container, image: 'tools:v1', command: ['sh', '-c', 'echo hello; httpd -p 8080 -h /www; while :; do sleep 1; done'] }] } } })
    await site.kubectl('wait', '--for=condition=Ready', 'pod/js', '--timeout=40s')

    const run = async (command: string[], stdin: Readable | null = null): Promise<{ out: string; err: string; status: k8s.V1Status }> => {
      const [out, err] = [new PassThrough(), new PassThrough()]
      const status = await new Promise<k8s.V1Status>((resolve, reject) => void new k8s.Exec(config).exec(namespace, 'js', container, command, out, err, stdin, false, resolve).catch((e: { message?: string }) => reject(new Error(`exec: ${e.message ?? 'failed'}`))))
      out.end()
      err.end()
      return { out: await text(out), err: await text(err), status }
    }
    const ran = await run(['sh', '-c', 'echo out; echo err >&2; exit 4'])
    assert.deepEqual([ran.out, ran.err, ran.status.status, ran.status.details?.causes?.[0]?.message], ['out\n', 'err\n', 'Failure', '4'])
    assert.equal((await run(['sh', '-c', 'read x; echo got $x'], Readable.from(['12345\n']))).out, 'got 12345\n')

    const log = new PassThrough()
    const ended = text(log)
    await new k8s.Log(config).log(namespace, 'js', container, log, { tailLines: 1 })
    assert.equal(await ended, 'hello\n')

    // Its copies go on behind the call.
    const there = join(site.dir, 'there')
    mkdirSync(there, { recursive: true })
    writeFileSync(join(there, 'file'), 'over there')
    const cp = new k8s.Cp(config)
    await run(['mkdir', '-p', '/tmp/copies'])
    await cp.cpToPod(namespace, 'js', container, there, '/tmp/copies')
    await eventually('the file in the pod', async () => (await run(['cat', '/tmp/copies/file'])).out === 'over there')
    const back = join(site.dir, 'back')
    await cp.cpFromPod(namespace, 'js', container, 'copies', back, '/tmp')
    await eventually('the file back', () => existsSync(join(back, 'copies/file')) && readFileSync(join(back, 'copies/file'), 'utf8') === 'over there')

    const forward = new k8s.PortForward(config)
    const local = createServer((socket) => void forward.portForward(namespace, 'js', [8080], socket, null, socket))
    await new Promise<void>((resolve) => local.listen(0, '127.0.0.1', resolve))
    const socket = createConnection((local.address() as { port: number }).port, '127.0.0.1')
    socket.write('GET / HTTP/1.0\r\n\r\n')
    let page = ''
    socket.on('data', (bytes: Buffer) => (page += bytes.toString()))
    await eventually('the page', () => /200 OK[^]*tools:v1/.test(page))
    socket.destroy()
    local.close()

    const metrics = new k8s.Metrics(config)
    // What a node last told is shared for some seconds.
    await eventually('its figures', async () => (await metrics.getPodMetrics(namespace)).items.some((p) => p.metadata.name === 'js' && p.containers[0]?.name === container))
    assert.equal((await metrics.getNodeMetrics()).items[0]?.metadata.name, NODE)
    const [top] = await k8s.topNodes(core)
    assert.ok(Number(top?.CPU.Capacity) > 0)
    await core.deleteNamespacedPod({ name: 'js', namespace, gracePeriodSeconds: 0 })
  })
})
