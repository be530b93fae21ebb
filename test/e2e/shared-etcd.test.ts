/** Two real servers on one real etcd over TLS, as a user runs them: one cluster, whichever server is asked and whichever dies. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { ALPN_LINK, PATHS } from '../../src/api/contract.ts'
import { systemClock } from '../../src/base/clock.ts'
import { joinCluster, parseToken, runLink } from '../../src/tunnel/mod.ts'
import { Etcd, noEtcd } from '../kit/etcd.ts'
import { KUBECTL, run, Site, SKERRY, type Ran, type Running } from '../kit/processes.ts'
import { until } from '../kit/until.ts'
import { busyboxArchive } from './site.ts'

const PORTS = { etcd: 7870, one: 7872, two: 7873 }
const skip = noEtcd || (existsSync(KUBECTL) ? false : 'kubectl is missing: script/bootstrap --tests')

describe('two servers on one etcd', { skip }, () => {
  let etcd: Etcd
  let site: Site
  const servers = new Map<string, Running>()
  const data = (name: string): string => join(site.dir, name)
  const kubectl = (name: string, ...args: string[]): Promise<Ran> => run(KUBECTL, args, { env: { ...process.env, KUBECONFIG: join(data(name), 'server/admin.kubeconfig') } })
  const start = async (name: 'one' | 'two', ...flags: string[]): Promise<void> => {
    const server = site.start(name, ['server', '--no-agent', '--bind-address', '127.0.0.1', '--port', String(PORTS[name]), '--data-dir', data(name), '--store', etcd.url(), ...flags])
    servers.set(name, server)
    await server.says(/ ready /)
  }
  const ok = (ran: Ran): string => {
    assert.equal(ran.code, 0, ran.err)
    return ran.out
  }
  const holder = async (name: string): Promise<string> => ok(await kubectl(name, 'get', 'lease', '-n', 'kube-system', 'skerry-server', '-o', 'jsonpath={.spec.holderIdentity}'))

  before(async () => {
    etcd = await Etcd.start(PORTS.etcd, { tls: true })
    site = await Site.create({ name: 'et-shared', port: PORTS.one })
    await start('one')
  })
  after(async () => {
    await site?.close()
    await etcd?.stop()
  })

  it('lets a second server in with the cluster token only', async () => {
    const refused = await run(SKERRY, ['server', '--no-agent', '--bind-address', '127.0.0.1', '--port', String(PORTS.two), '--data-dir', data('two'), '--store', etcd.url()])
    assert.equal(refused.code, 1)
    assert.match(refused.err, /cluster token is missing: copy server\/cluster-token .* --cluster-token-file/)
    await start('two', '--cluster-token-file', join(data('one'), 'server/cluster-token'))
  })

  it('shows on one server at once what the other has acknowledged', async () => {
    for (let i = 0; i < 5; i++) {
      const [here, there] = i % 2 ? ['one', 'two'] : ['two', 'one']
      ok(await kubectl(here as string, 'create', 'configmap', `cm-${i}`, `--from-literal=n=${i}`))
      assert.match(ok(await kubectl(there as string, 'get', 'configmaps')), new RegExp(`cm-${i}`))
      ok(await kubectl(there as string, 'delete', 'configmap', `cm-${i}`))
      assert.doesNotMatch(ok(await kubectl(here as string, 'get', 'configmaps')), new RegExp(`cm-${i}`))
    }
    // A credential of one server is good on the other.
    const token = ok(await kubectl('one', 'create', 'token', 'default')).trim()
    const who = await run(KUBECTL, ['auth', 'whoami', '--server', `https://127.0.0.1:${PORTS.two}`, '--certificate-authority', join(data('two'), 'server/tls/ca.crt'), '--token', token, '-o', 'jsonpath={.status.userInfo.username}'], { env: { ...process.env, KUBECONFIG: '/dev/null' } })
    assert.equal(ok(who), 'system:serviceaccount:default:default')
  })

  it('gives a node port to one Service, whichever server is asked', async () => {
    const asked = await Promise.all(['one', 'two', 'one', 'two'].map((name, i) => kubectl(name, 'create', 'service', 'nodeport', `np-${i}`, '--tcp=80', '--node-port=30080')))
    assert.equal(asked.filter((a) => a.code === 0).length, 1)
    for (const { err } of asked.filter((a) => a.code !== 0)) assert.match(err, /spec\.ports\[0\]\.nodePort: Invalid value: 30080: provided port is already allocated/)
    assert.match(ok(await kubectl('two', 'get', 'ipaddresses')), /10\.43\.0\.1 +services\/default\/kubernetes/)
  })

  it('gives nodes of one server the images that another has', async () => {
    const archive = await busyboxArchive(site.dir, 'shared:1', 'true')
    ok(await run(SKERRY, ['image', 'import', archive, '--data-dir', data('two')]))
    const pull = (name: string, what: string): Promise<Ran> => kubectl(name, 'get', '--raw', `/v2/library/shared/${what}`)
    const manifest = ok(await pull('one', 'manifests/1'))
    assert.equal(manifest, ok(await pull('two', 'manifests/1')))
    const { digest } = (JSON.parse(manifest) as { manifests?: { digest: string }[]; config?: { digest: string } }).config ?? { digest: '' }
    const config = ok(await pull('one', `blobs/${digest}`))
    assert.equal(`sha256:${createHash('sha256').update(config).digest('hex')}`, digest)
    assert.match((await pull('one', 'manifests/none')).err, /not found|404|NotFound/i)
  })

  it('passes logs and exec of a node on to the server that has its link', { timeout: 60_000 }, async () => {
    const token = ok(await run(SKERRY, ['token', 'create', '--node', 'edge', '--data-dir', data('two')])).trim()
    const server = `https://127.0.0.1:${PORTS.two}`
    const joined = await joinCluster({ server, paths: PATHS, clock: systemClock, token: parseToken(token), node: 'edge', machineId: 'et-edge' })
    const stop = new AbortController()
    const asked: string[] = []
    const link = runLink({
      servers: () => [server],
      credentials: () => joined,
      alpn: ALPN_LINK,
      clock: systemClock,
      signal: stop.signal,
      handler: async (request, respond) => {
        asked.push(request.path)
        respond(200).end('a line from the edge\n')
      },
    })
    try {
      const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'edge' } }
      const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'far' }, spec: { nodeName: 'edge', containers: [{ name: 'main', image: 'x' }] } }
      for (const object of [node, pod]) ok(await run(KUBECTL, ['create', '-f', '-'], { env: { ...process.env, KUBECONFIG: join(data('one'), 'server/admin.kubeconfig') }, input: JSON.stringify(object) }))
      await until('the node is linked to the second server', async () => (await kubectl('two', 'logs', 'far')).code === 0)
      assert.equal(ok(await kubectl('one', 'logs', 'far')), 'a line from the edge\n')
      assert.ok(asked.length >= 2 && asked.every((path) => path.startsWith('/containerLogs/default/far/main')), asked.join())
    } finally {
      stop.abort()
      await link
    }
    const { err } = await kubectl('one', 'logs', 'far')
    assert.match(err, /edge.* is connected to no server that answers/s)
    ok(await kubectl('one', 'delete', 'pod', 'far', '--grace-period=0', '--force'))
  })

  it('runs controllers on one server, and on the other when that one is killed, as the links of nodes do', { timeout: 90_000 }, async () => {
    const first = await holder('two')
    // A node that was given the address of the first server only.
    const address = (name: 'one' | 'two'): string => `https://127.0.0.1:${PORTS[name]}`
    const token = ok(await run(SKERRY, ['token', 'create', '--node', 'rover', '--data-dir', data('one')])).trim()
    const joined = await joinCluster({ server: address('one'), paths: PATHS, clock: systemClock, token: parseToken(token), node: 'rover', machineId: 'et-rover' })
    assert.deepEqual([...(joined.config as { servers: string[] }).servers].sort(), [address('one'), address('two')], 'told when it joined')
    const stop = new AbortController()
    const at: string[] = []
    let known: readonly string[] = [address('one')]
    const link = runLink({
      servers: () => known,
      credentials: () => joined,
      alpn: ALPN_LINK,
      clock: systemClock,
      signal: stop.signal,
      handler: async (_request, respond) => void respond(200).end(),
      onServers: (servers) => (known = servers),
      onState: (state) => state.phase === 'connected' && at.push(state.server),
    })
    await until('the node is linked to its server', () => at.length === 1 && known.length === 2)
    assert.match(first, /./)
    ok(await kubectl('two', 'create', 'deployment', 'web', '--image=web', '--replicas=2'))
    await until('two pods', async () => ok(await kubectl('two', 'get', 'pods', '-l', 'app=web', '-o', 'name')).split('\n').filter(Boolean).length === 2)
    await servers.get('one')?.end('SIGKILL')
    await until('the node is linked to the other', () => at.at(-1) === address('two'), 60_000)
    await until('the other leads', async () => (await holder('two')) !== first, 40_000)
    ok(await kubectl('two', 'scale', 'deployment', 'web', '--replicas=3'))
    await until('three pods', async () => ok(await kubectl('two', 'get', 'pods', '-l', 'app=web', '-o', 'name')).split('\n').filter(Boolean).length === 3)
    // The one that comes back follows, with what it has on disk.
    await start('one')
    assert.equal(await holder('one'), await holder('two'))
    stop.abort()
    await link
  })

  it('changes the cluster token under running servers, and lets in afterwards who has the new one', { timeout: 90_000 }, async () => {
    const token = (name: string): string => readFileSync(join(data(name), 'server/cluster-token'), 'utf8')
    const former = token('two')
    const two = servers.get('two')
    const told = two?.says(/the cluster token was changed: this server goes on with the keys it has/)
    const changed = ok(await run(SKERRY, ['store', 'rotate-cluster-token', '--store', etcd.url(), '--data-dir', data('one')]))
    assert.match(changed, /new cluster token is in .*one\/server\/cluster-token; copy it to server\/cluster-token of the other servers/)
    assert.ok(token('one') !== former && token('two') === former)
    await told
    for (const name of ['one', 'two']) ok(await kubectl(name, 'create', 'token', 'default'))
    assert.equal(await two?.end(), 0)
    const refused = await run(SKERRY, ['server', '--no-agent', '--bind-address', '127.0.0.1', '--port', String(PORTS.two), '--data-dir', data('two'), '--store', etcd.url()])
    assert.equal(refused.code, 1)
    assert.match(refused.err, /cluster token does not open it.* was changed .*: copy server\/cluster-token .* --cluster-token-file/)
    await start('two', '--cluster-token-file', join(data('one'), 'server/cluster-token'))
    assert.equal(token('two'), token('one'))
    // The one at which it was changed starts again with what it has.
    assert.equal(await servers.get('one')?.end(), 0)
    await start('one')
    ok(await kubectl('one', 'get', 'configmaps'))
  })

  it('lives through an etcd that is away: calls fail with the reason, nothing ends, and all goes on', { timeout: 90_000 }, async () => {
    await etcd.down('SIGKILL')
    const refused = await kubectl('one', 'create', 'configmap', 'while-away')
    assert.equal(refused.code, 1)
    assert.match(refused.err, /etcd at 127\.0\.0\.1:/)
    // Longer than a leader may go without renewing.
    await new Promise((resolve) => setTimeout(resolve, 12_000))
    await etcd.up()
    await until('writes', async () => (await kubectl('one', 'create', 'configmap', 'after')).code === 0, 60_000)
    ok(await kubectl('two', 'get', 'configmap', 'after'))
    ok(await kubectl('two', 'scale', 'deployment', 'web', '--replicas=1'))
    await until('controllers work again', async () => ok(await kubectl('one', 'get', 'pods', '-l', 'app=web', '-o', 'name')).split('\n').filter(Boolean).length === 1, 40_000)
    for (const server of servers.values()) assert.ok(server.runs)
  })
})
