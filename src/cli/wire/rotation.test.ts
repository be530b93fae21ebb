/** A whole server, without an agent, whose CA, certificates and token key are changed under running clients. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { caHash, createKey, issue } from '../../base/pki.ts'
import { setLogSink } from '../../base/log.ts'
import { createClient, createHttpTransport, parseKubeconfig } from '../../client/mod.ts'
import { KINDS } from '../../api/kinds.ts'
import { parseToken } from '../../tunnel/mod.ts'
import { until } from '../../../test/kit/until.ts'
import { dropLeaves, loadServerIdentity, retireFormer, rotateCa, rotateServiceAccountKey, serverSans } from './identity.ts'
import { startServer } from './server.ts'

test('CA, certificates and token key change under clients that go on working, until what was before is retired', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'se-rotation-'))
  const sink = setLogSink(() => undefined)
  const server = await startServer({ dataDir: dir, store: { kind: 'sqlite' }, clusterTokenFile: undefined, port: 0, bindAddress: '127.0.0.1', clusterCidr: '10.42.0.0/16', serviceCidr: '10.43.0.0/16', advertise: [], writeKubeconfig: undefined })
  try {
    const kubeconfig = (): string => readFileSync(join(dir, 'server/admin.kubeconfig'), 'utf8')
    const access = (): { ca?: string; cert?: string; key?: string } => {
      const { ca, cert, key } = parseKubeconfig(kubeconfig())
      return { ...(ca ? { ca } : {}), ...(cert ? { cert } : {}), ...(key ? { key } : {}) }
    }
    const before = access()
    const old = await loadServerIdentity(dir, serverSans())
    const key = await createKey()
    const byOldCa = { key: key.keyPem, cert: await issue({ ca: old.ca, publicKeyPem: key.publicKeyPem, cn: 'jane', o: ['system:masters'], usage: 'client', days: 1 }) }
    /** A new connection each time: as a client of the old kubeconfig, or of another. */
    const status = (credentials: { ca?: string | undefined; cert?: string | undefined; key?: string | undefined; token?: string }): Promise<number | string> =>
      new Promise((resolve) => {
        const { token, ...tls } = credentials
        const req = request(`${server.url}/api/v1/namespaces/default`, { ...tls, agent: false, headers: token ? { authorization: `Bearer ${token}` } : {} }, (res) => (res.resume(), resolve(res.statusCode ?? 0)))
        req.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
        req.end()
      })
    const served = (): Promise<string> =>
      new Promise((resolve, reject) => {
        const { hostname: host, port } = new URL(server.url)
        const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => (resolve(socket.getPeerX509Certificate()?.serialNumber ?? ''), socket.destroy())).on('error', reject)
      })
    // A client that keeps its connection, and its watch, through all of it.
    const transport = createHttpTransport({ server: server.url, ...before })
    const steady = createClient(transport)
    const stop = new AbortController()
    let [calls, failures] = [0, 0]
    const busy = (async () => {
      while (!stop.signal.aborted) {
        await steady.resource(KINDS.Namespace).get('default').catch(() => failures++)
        calls++
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })()
    await until('it is at work', () => calls > 3)
    assert.equal(await status(before), 200)

    // Serving and administrator's certificates anew.
    const first = await served()
    await dropLeaves(dir)
    await until('another certificate is served', async () => (await served()) !== first)
    await until('the kubeconfig has the new one', () => access().cert !== before.cert)
    for (const client of [before, access(), { ca: old.ca.certPem, ...byOldCa }]) assert.equal(await status(client), 200)

    // Another key for tokens.
    await server.client.resource(KINDS.ServiceAccount).create({ metadata: { name: 'robot', namespace: 'default' } })
    const token = async (): Promise<string> => {
      const answer = await server.client.transport.request({ method: 'POST', path: '/api/v1/namespaces/default/serviceaccounts/robot/token', headers: { 'content-type': 'application/json' }, body: { spec: {} } }, stop.signal)
      return (JSON.parse(String(answer.body)) as { status: { token: string } }).status.token
    }
    const kid = (t: string): string => (JSON.parse(Buffer.from(t.split('.')[0] ?? '', 'base64url').toString()) as { kid: string }).kid
    const early = await token()
    await rotateServiceAccountKey(dir)
    await until('tokens are signed with it', async () => kid(await token()) !== kid(early))
    const late = await token()
    for (const t of [early, late]) assert.equal(await status({ ca: before.ca, token: t }), 403, 'known, and without rights')

    // Another CA.
    const middle = await served()
    const next = await rotateCa(dir)
    await until('what is served is signed by it', async () => (await served()) !== middle)
    await until('the kubeconfig names it first', () => caHash(access().ca ?? '') === caHash(next.certPem))
    for (const [who, client] of Object.entries({ before, 'new kubeconfig': access(), 'only the new CA': { ...access(), ca: next.certPem }, 'certificate of the old CA': { ca: old.ca.certPem, ...byOldCa } })) {
      assert.equal(await status(client), 200, who)
    }
    await until('the node token pins it', () => parseToken(readFileSync(join(dir, 'server/node-token'), 'utf8').trim()).caHash === caHash(next.certPem))
    assert.match(await until('pods are told', async () => {
      const map = await server.client.resource(KINDS.ConfigMap).get('kube-root-ca.crt', 'default').catch(() => undefined)
      const text = (map as { data?: Record<string, string> } | undefined)?.data?.['ca.crt'] ?? ''
      return text.startsWith(next.certPem.trim()) && text
    }), /(BEGIN CERTIFICATE[\s\S]*){2}/)

    stop.abort()
    await busy
    transport.close()
    assert.equal(failures, 0, `of ${calls} calls`)

    // The end of what was before.
    assert.deepEqual(await retireFormer(dir), { cas: 1, keys: 1 })
    await until('the old CA no longer counts', async () => (await status({ ca: next.certPem, ...byOldCa })) === 401)
    assert.equal(await status({ ca: next.certPem, token: early }), 401)
    assert.equal(await status({ ca: next.certPem, token: late }), 403)
    assert.match(String(await status(before)), /UNABLE|SELF_SIGNED|CERT|401/)
    assert.equal(await status({ ...access(), ca: next.certPem }), 200)
  } finally {
    await server.close()
    setLogSink(sink)
    rmSync(dir, { recursive: true, force: true })
  }
})
