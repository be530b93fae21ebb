/** Two whole servers on one real etcd change CA and token key under clients and nodes of both: no call fails. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ALPN_LINK, PATHS } from '../../src/api/contract.ts'
import { KINDS } from '../../src/api/kinds.ts'
import { clusterTokenPath } from '../../src/cli/wire/cluster-token.ts'
import { requestRotation } from '../../src/cli/wire/shared-rotation.ts'
import { startServer, type RunningServer } from '../../src/cli/wire/server.ts'
import { parseStore } from '../../src/cli/store-url.ts'
import { systemClock } from '../../src/base/clock.ts'
import { setLogSink } from '../../src/base/log.ts'
import { caHash } from '../../src/base/pki.ts'
import { Scope } from '../../src/base/scope.ts'
import { parseKubeconfig } from '../../src/client/mod.ts'
import { joinCluster, parseToken, renewCertificate, runLink } from '../../src/tunnel/mod.ts'
import { Etcd, noEtcd } from '../kit/etcd.ts'
import { until } from '../kit/until.ts'

const ETCD_PORT = 7880
const LONG_MS = 60_000

test('CA and token key change under clients and nodes of both servers', { skip: noEtcd, timeout: 240_000 }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-shared-rotation-'))
  const sink = setLogSink(() => undefined)
  const etcd = await Etcd.start(ETCD_PORT)
  const servers: RunningServer[] = []
  const data = (i: number): string => join(dir, `server-${i}`)
  await using scope = new Scope('test')
  try {
    const start = async (i: number): Promise<RunningServer> => {
      const clusterTokenFile = i === 0 ? undefined : clusterTokenPath(data(0))
      return (servers[i] = await startServer({ dataDir: data(i), store: parseStore(etcd.url()), clusterTokenFile, port: 0, bindAddress: '127.0.0.1', clusterCidr: '10.42.0.0/16', serviceCidr: '10.43.0.0/16', advertise: [], writeKubeconfig: undefined }))
    }
    const [one, two] = [await start(0), await start(1)]
    const access = (i: number): { ca: string; cert: string; key: string } => {
      const { ca = '', cert = '', key = '' } = parseKubeconfig(readFileSync(join(data(i), 'server/admin.kubeconfig'), 'utf8'))
      return { ca: String(ca), cert: String(cert), key: String(key) }
    }
    const head = (i: number): string => caHash(readFileSync(join(data(i), 'server/tls/ca.crt'), 'utf8'))
    const status = (server: RunningServer, { token, ...tls }: { ca: string; cert?: string; key?: string; token?: string }): Promise<number | string> =>
      new Promise((resolve) => {
        const req = request(`${server.url}/api/v1/namespaces/default`, { ...tls, agent: false, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } }, (res) => (res.resume(), resolve(res.statusCode ?? 0)))
        req.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
        req.end()
      })
    const tokenOf = async (server: RunningServer): Promise<string> => {
      const answer = await server.client.transport.request({ method: 'POST', path: '/api/v1/namespaces/default/serviceaccounts/robot/token', headers: { 'content-type': 'application/json' }, body: { spec: {} } }, scope.signal)
      return (JSON.parse(String(answer.body)) as { status: { token: string } }).status.token
    }
    const kid = (t: string): string => (JSON.parse(Buffer.from(t.split('.')[0] ?? '', 'base64url').toString()) as { kid: string }).kid
    await one.client.resource(KINDS.ServiceAccount).create({ metadata: { name: 'robot', namespace: 'default' } })
    const first = access(0)
    const early = await tokenOf(one)

    // Nodes linked to either, which keep what they have.
    const nodes = await Promise.all([one, two].map(async (server, i) => {
      const joined = await joinCluster({ server: server.url, paths: PATHS, clock: systemClock, token: parseToken(await server.ownToken(`n${i}`)), node: `n${i}`, machineId: `m${i}` })
      const states: string[] = []
      void runLink({ servers: () => [server.url], credentials: () => joined, alpn: ALPN_LINK, clock: systemClock, signal: scope.signal, handler: async (_request, respond) => void respond(200).end(), onState: (state) => void states.push(state.phase) }).catch(() => undefined) // Ends with the scope.
      await until('the node is linked', () => states.includes('connected'), LONG_MS)
      return { joined, states }
    }))

    // What one server gives out is shown to the other at once, by clients of the former kubeconfig and of the newest, on new connections.
    let calls = 0
    const failures: string[] = []
    const busy = new AbortController()
    const work = (async () => {
      for (let i = 0; !busy.signal.aborted; i++) {
        const [here, there, at] = i % 2 === 0 ? [one, two, 0] : [two, one, 1]
        const token = await tokenOf(here)
        const newest = access(at)
        const said = await Promise.all([status(there, { ca: first.ca, token }), status(there, first), status(there, newest), status(there, { ca: newest.ca, token: early })])
        calls += said.length
        if (said.join() !== '403,200,200,403') failures.push(said.join())
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    })()
    await until('they are at work', () => calls > 8, LONG_MS)
    const before = head(0)
    await requestRotation(data(0), 'rotate-ca')
    await requestRotation(data(1), 'rotate-service-account-key')
    await until('both servers sign by one other CA', () => head(0) !== before && head(1) === head(0), LONG_MS)
    for (const server of [one, two]) await until('tokens are signed with another key', async () => kid(await tokenOf(server)) !== kid(early), LONG_MS)
    for (const i of [0, 1]) await until('kubeconfigs name the new CA first', () => caHash(access(i).ca) === head(0), LONG_MS)
    const reached = calls
    await until('they go on for a while', () => calls > reached + 8, LONG_MS)
    busy.abort()
    await work
    assert.deepEqual(failures, [], `of ${calls} calls`)
    for (const { states } of nodes) assert.deepEqual(states.filter((s) => s !== 'connecting'), ['connected'], 'links of nodes were not touched')

    // A node renews at the other server, and a new one joins there by a token of this one.
    const renewed = await renewCertificate({ server: two.url, paths: PATHS, clock: systemClock, credentials: nodes[0]?.joined as never })
    assert.equal(caHash(renewed.caPem), head(0))
    const late = await joinCluster({ server: two.url, paths: PATHS, clock: systemClock, token: parseToken(await one.ownToken('late')), node: 'late', machineId: 'late' })
    assert.equal(await status(one, { ca: late.caPem, cert: late.certPem, key: late.keyPem }), 403)

    await requestRotation(data(1), 'retire')
    for (const server of [one, two]) await until('the former key counts no more', async () => (await status(server, { ca: access(0).ca, token: early })) === 401, LONG_MS)
    for (const server of [one, two]) {
      assert.equal(await status(server, access(0)), 200)
      assert.match(String(await status(server, first)), /UNABLE|SELF_SIGNED|CERT|401/)
      assert.equal(await status(server, { ca: renewed.caPem, cert: renewed.certPem, key: renewed.keyPem }), 403, 'who renewed goes on')
    }
  } finally {
    for (const server of servers) await server.close()
    await etcd.stop()
    setLogSink(sink)
    rmSync(dir, { recursive: true, force: true })
  }
})
