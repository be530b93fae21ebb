import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WebSocket } from 'ws'
import { startTls } from '../../../test/kit/api-tls.ts'
import type { PodStreams } from '../ports.ts'

const NS = '/api/v1/namespaces/default'

test('a log comes over a WebSocket as bytes or base64, from a server that asks as it does for any log', async () => {
  const asked: string[] = []
  const over = Promise.withResolvers<void>()
  async function* lines(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('one\n')
    yield Buffer.from('zwei ä\n')
  }
  async function* endless(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    yield Buffer.from('tick\n')
    signal.addEventListener('abort', () => over.resolve(), { once: true })
    await over.promise
  }
  const podStreams = {
    log: async (target, signal) => {
      asked.push(target.query.toString())
      return { status: 200, headers: { 'content-type': 'text/plain' }, body: target.query.has('follow') ? endless(signal) : lines() }
    },
  } as Partial<PodStreams> as PodStreams
  await using server = await startTls({ podStreams })
  await server.harness.call('POST', `${NS}/serviceaccounts`, { metadata: { name: 'default' } })
  await server.harness.call('POST', `${NS}/pods`, { metadata: { name: 'web' }, spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'x' }] } })
  const [admin, eve] = [await server.client('admin', ['system:masters']), await server.client('eve')]
  const open = (path: string, protocols: string[] = [], who = admin): WebSocket => new WebSocket(`wss://127.0.0.1:${server.listener.port}${NS}/pods/${path}`, protocols, { ca: server.ca.certPem, cert: who.certPem, key: who.keyPem })
  const read = async (ws: WebSocket): Promise<{ messages: string[]; binary: boolean[] }> => {
    const [messages, binary]: [string[], boolean[]] = [[], []]
    ws.on('message', (data: Buffer, isBinary) => void (messages.push(data.toString()), binary.push(isBinary)))
    await new Promise((resolve, reject) => ws.once('close', resolve).once('error', reject))
    return { messages, binary }
  }
  assert.deepEqual(await read(open('web/log?container=c', ['binary.k8s.io'])), { messages: ['', 'one\n', 'zwei ä\n'], binary: [true, true, true] })
  assert.deepEqual(await read(open('web/log')), { messages: ['', 'one\n', 'zwei ä\n'], binary: [true, true, true] })
  const encoded = await read(open('web/log?tailLines=5', ['base64.binary.k8s.io']))
  assert.deepEqual([encoded.messages.map((m) => Buffer.from(m, 'base64').toString()), encoded.binary], [['', 'one\n', 'zwei ä\n'], [false, false, false]])
  assert.deepEqual(asked, ['container=c', '', 'tailLines=5'])
  const refused = (ws: WebSocket): Promise<string> => new Promise((resolve) => ws.on('error', (e) => resolve(e.message)))
  assert.match(await refused(open('none/log')), /404/)
  assert.match(await refused(open('web/log', ['v4.channel.k8s.io'])), /400/)
  assert.match(await refused(open('web/log', [], eve)), /403/)
  const followed = open('web/log?follow=true')
  const tick = new Promise((resolve) => followed.on('message', (data: Buffer) => data.length > 0 && resolve(data.toString())))
  assert.equal(await tick, 'tick\n')
  followed.close()
  await over.promise
})
