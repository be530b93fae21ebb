/**
 * The whole way of a stream: real kubectl -> TLS port -> authentication -> API server -> hub -> reversed HTTP/2 over the
 * node's own outbound connection -> node. And the ordinary direction beside it. The node's end is `test/kit/pod-node.ts`.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ALPN_API_H2, ALPN_LINK } from '../../src/api/contract.ts'
import { createApiServer, createPodStreams, listen } from '../../src/apiserver/mod.ts'
import { systemClock } from '../../src/base/clock.ts'
import { setLogSink } from '../../src/base/log.ts'
import { createCa, createKey, createKeyAndCsr, issue } from '../../src/base/pki.ts'
import { createMemoryStore } from '../../src/store/mod.ts'
import { createHub, createNodeSession, runLink } from '../../src/tunnel/mod.ts'
import { commandNode } from '../kit/pod-node.ts'
import { until } from '../kit/until.ts'

const KUBECTL = join(import.meta.dirname, '../../dist/clients/kubectl')

test('kubectl reaches a pod on a node that nobody can dial', { skip: existsSync(KUBECTL) ? false : 'no kubectl in dist/clients', timeout: 60_000 }, async () => {
  const former = setLogSink(() => undefined)
  const dir = mkdtempSync(join(tmpdir(), 'streams-'))
  const ca = await createCa({ cn: 'root', years: 1 })
  const key = await createKey()
  const cert = await issue({ ca, publicKeyPem: key.publicKeyPem, cn: 'server', sans: { ip: ['127.0.0.1'] }, usage: 'server', days: 1 })
  const person = async (cn: string, o: string[]): Promise<{ certPem: string; keyPem: string; caPem: string }> => {
    const { keyPem, csrPem } = await createKeyAndCsr({ cn })
    return { keyPem, caPem: ca.certPem, certPem: await issue({ ca, csrPem, cn, o, usage: 'client', days: 1 }) }
  }
  const sa = await createKey()
  await using store = createMemoryStore({ clock: systemClock })
  await using hub = createHub({ clock: systemClock })
  const api = await createApiServer({
    store,
    clock: systemClock,
    serviceAccountKey: { privateKeyPem: sa.keyPem, publicKeyPem: sa.publicKeyPem },
    serviceCidr: '10.43.0.0/16',
    podStreams: createPodStreams({ dialer: hub }),
  })
  const port = await listen({ port: 0, bindAddress: '127.0.0.1', key: key.keyPem, cert, ca: ca.certPem, api, onLink: (s, n) => hub.accept(s, n) })
  const url = `https://127.0.0.1:${port.port}`
  const node = await person('system:node:n1', ['system:nodes'])
  const stop = new AbortController()
  const link = runLink({ servers: () => [url], credentials: () => node, alpn: ALPN_LINK, handler: commandNode, clock: systemClock, signal: stop.signal })
  await using session = createNodeSession({ servers: () => [url], credentials: () => node, alpn: ALPN_API_H2, clock: systemClock })
  try {
    const admin = await person('admin', ['system:masters'])
    for (const [name, text] of [['ca', ca.certPem], ['crt', admin.certPem], ['key', admin.keyPem]] as const) writeFileSync(join(dir, name), text)
    const flags = [`--server=${url}`, `--certificate-authority=${join(dir, 'ca')}`, `--client-certificate=${join(dir, 'crt')}`, `--client-key=${join(dir, 'key')}`]
    const kubectl = (args: string[], stdin = '', env: Record<string, string> = {}): Promise<{ code: number; out: string; err: string }> =>
      new Promise((resolve) => {
        const child = execFile(KUBECTL, [...flags, ...args], { env: { ...process.env, HOME: dir, ...env }, timeout: 20_000 }, (error, out, err) => resolve({ code: error ? Number(error.code ?? -1) : 0, out, err }))
        child.stdin?.end(stdin)
      })

    const me = await session.request({ method: 'GET', path: '/version' })
    assert.equal(me.status, 200)
    for await (const _ of me.body);
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web' }, spec: { nodeName: 'n1', serviceAccountName: 'default', containers: [{ name: 'main', image: 'i' }] } }
    await kubectl(['create', 'serviceaccount', 'default'])
    const made = await kubectl(['create', '-f', '-'], JSON.stringify(pod))
    assert.equal(made.code, 0, made.err)
    await until('the link', () => hub.links().length === 1)

    const forbidden = await session.request({ method: 'POST', path: '/api/v1/namespaces/default/pods/web/exec?command=true&stdout=true' })
    assert.ok(forbidden.status >= 400)
    for await (const _ of forbidden.body);
    assert.equal((await kubectl(['logs', 'web', '--tail=2'])).out, 'log of main tailLines=2\n')
    for (const KUBECTL_REMOTE_COMMAND_WEBSOCKETS of ['true', 'false']) {
      const ran = await kubectl(['exec', '-i', 'web', '--', 'sh', '-c', 'tr a-z A-Z; exit 5'], 'hello', { KUBECTL_REMOTE_COMMAND_WEBSOCKETS })
      assert.deepEqual([ran.code, ran.out], [5, 'HELLO'], ran.err)
    }
    assert.match((await kubectl(['exec', 'web', '-c', 'other', '--', 'true'])).err, /container other is not valid for pod web/)
    stop.abort()
    await link
    await until('the loss', () => hub.links().length === 0)
    assert.match((await kubectl(['exec', 'web', '--', 'true'])).err, /node 'n1': it is not connected; its agent must run/)
    assert.match((await kubectl(['logs', 'web'])).err, /node 'n1': it is not connected/)
  } finally {
    stop.abort()
    await link
    await port.close()
    await api.close()
    rmSync(dir, { recursive: true })
    setLogSink(former)
  }
})
