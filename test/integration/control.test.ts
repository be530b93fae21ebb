import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createTestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'
import { FakeClock } from '../../src/base/clock.ts'
import { certInfo, createKeyAndCsr } from '../../src/base/pki.ts'
import type { CertificateSigningRequest, ConfigMap, Deployment, Lease, Node, Pod } from '../../src/api/gen/types.ts'
import type { Client } from '../../src/client/mod.ts'
import { KINDS } from '../../src/api/kinds.ts'

const readiness = (o: Node | Pod): string | undefined => o.status?.conditions?.find((c) => c.type === 'Ready')?.status

test('a cut-off node turns Unknown and takes no new pods, keeps its own, and all of it clears on return', async () => {
  const clock = new FakeClock()
  await using cluster = await createTestCluster({ clock })
  const { admin } = cluster
  const node = cluster.addNode({ name: 'cam-1' })
  const get = (): Promise<Node> => admin.resource<Node>(KINDS.Node).get('cam-1')
  const pods = async (): Promise<Pod[]> => (await admin.resource<Pod>(KINDS.Pod).list({ namespace: 'default' })).items
  const wait = <T>(what: string, probe: () => Promise<T | false | undefined>): Promise<T> =>
    until(what, async () => {
      await clock.advance(20)
      return await probe()
    })
  const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'i' }] } }
  await admin.resource<Deployment>(KINDS.Deployment).create({ metadata: { name: 'app', namespace: 'default' }, spec: { replicas: 1, selector: { matchLabels: { app: 'a' } }, template } })
  await wait('a ready pod', async () => (await pods()).some((p) => readiness(p) === 'True'))
  const lease = await wait('its lease', () => admin.resource<Lease>(KINDS.Lease).get('cam-1', 'kube-node-lease').catch(() => undefined))
  assert.equal(lease.spec?.leaseDurationSeconds, 40)
  await clock.advance(60_000)
  assert.equal(readiness(await get()), 'True', 'a linked node stays ready though it sends nothing')
  const uid = (await pods())[0]?.metadata?.uid

  node.cut()
  await clock.advance(19_000)
  assert.equal(readiness(await get()), 'True')
  await clock.advance(22_000)
  await wait('Unknown', async () => readiness(await get()) === 'Unknown')
  await wait('the pod not ready', async () => (await pods()).some((p) => readiness(p) === 'False'))
  assert.deepEqual((await get()).spec?.taints?.map((t) => `${t.key}:${t.effect}`), ['node.kubernetes.io/unreachable:NoSchedule'])
  await clock.advance(600_000)
  assert.deepEqual((await pods()).map((p) => p.metadata?.uid), [uid], 'nothing is evicted or replaced')

  node.restore()
  await wait('ready again', async () => readiness(await get()) === 'True' && (await pods()).every((p) => readiness(p) === 'True'))
  await wait('no taint', async () => ((await get()).spec?.taints ?? []).length === 0)
})

test('a link that hangs on a dead line does not keep its node alive: 40 s after the last word it is Unknown', async () => {
  const clock = new FakeClock()
  await using cluster = await createTestCluster({ clock })
  cluster.addNode({ name: 'cam-1' })
  const get = (): Promise<Node> => cluster.admin.resource<Node>(KINDS.Node).get('cam-1')
  const wait = (what: string, status: string): Promise<unknown> =>
    until(what, async () => {
      await clock.advance(20)
      return readiness(await get()) === status
    })
  await wait('ready', 'True')
  await clock.advance(60_000)
  cluster.links.hang('cam-1')
  await clock.advance(41_000)
  await wait('Unknown, though the link still stands', 'Unknown')
  cluster.links.connect('cam-1')
  await wait('ready again', 'True')
})

test('a lone server renews a Lease every quarter of an hour, servers that judge by it every fifteen seconds at most', async () => {
  for (const [alone, atMost, atLeast] of [[true, 2, 1], [false, 64, 40]] as const) {
    const clock = new FakeClock()
    await using cluster = await createTestCluster({ clock, alone })
    cluster.addNode({ name: 'cam-1' })
    const version = async (): Promise<number> => Number((await cluster.admin.resource<Lease>(KINDS.Lease).get('cam-1', 'kube-node-lease')).metadata?.resourceVersion)
    await until('a lease', async () => {
      await clock.advance(20)
      return await version().catch(() => undefined)
    })
    let renewals = 0
    let last = await version()
    for (let minute = 0; minute < 16; minute++) {
      for (let i = 0; i < 4; i++) {
        await clock.advance(15_000)
        const now = await version()
        if (now !== last) renewals++
        last = now
      }
    }
    assert.ok(renewals <= atMost && renewals >= atLeast, `${renewals} renewals in 16 minutes`)
  }
})

test('the Leases of all nodes are renewed at the same moment', async () => {
  const clock = new FakeClock()
  await using cluster = await createTestCluster({ clock, alone: true })
  const leases = cluster.admin.resource<Lease>(KINDS.Lease)
  const renewed = async (name: string): Promise<number> => {
    const lease = await leases.get(name, 'kube-node-lease').catch(() => undefined)
    return lease ? Date.parse(lease.metadata?.managedFields?.at(-1)?.time ?? '') : 0
  }
  const first: number[] = []
  for (const name of ['a', 'b', 'c']) {
    cluster.addNode({ name })
    first.push(
      await until('its first', async () => {
        await clock.advance(20)
        return await renewed(name)
      }),
    )
    await clock.advance(90_000)
  }
  assert.equal(new Set(first).size, 3, 'the first as each comes')
  const later = await until('all renewed', async () => {
    await clock.advance(15_000)
    const times = await Promise.all(['a', 'b', 'c'].map(renewed))
    return times.every((t, i) => t > (first[i] ?? 0)) && times
  })
  assert.equal(new Set(later).size, 1, later.join(' '))
})

test('nodes get different pod networks', async () => {
  await using cluster = await createTestCluster()
  for (const name of ['a', 'b', 'c']) cluster.addNode({ name })
  const cidrs = await until('networks', async () => {
    const { items } = await cluster.admin.resource<Node>(KINDS.Node).list()
    const found = items.flatMap((n) => n.spec?.podCIDR ?? [])
    return found.length === 3 && found
  })
  assert.deepEqual(cidrs.toSorted(), ['10.42.0.0/24', '10.42.1.0/24', '10.42.2.0/24'])
})

test('a request for a node certificate by a bootstrap token is approved and signed, others are not', async () => {
  await using cluster = await createTestCluster()
  const joiner = cluster.clientOf({ name: 'system:bootstrap:abcdef', groups: ['system:bootstrappers', 'system:authenticated'] })
  const ask = async (name: string, client: Client, cn: string, o: string[]): Promise<void> => {
    const { csrPem } = await createKeyAndCsr({ cn, o })
    const spec = { request: Buffer.from(csrPem).toString('base64'), signerName: 'kubernetes.io/kube-apiserver-client-kubelet', usages: ['digital signature', 'client auth'] }
    await client.resource<CertificateSigningRequest>(KINDS.CertificateSigningRequest).create({ metadata: { name }, spec })
  }
  const get = (name: string): Promise<CertificateSigningRequest> => cluster.admin.resource<CertificateSigningRequest>(KINDS.CertificateSigningRequest).get(name)
  await ask('good', joiner, 'system:node:cam-9', ['system:nodes'])
  await ask('bad', joiner, 'system:node:cam-9', ['system:masters'])
  const certificate = await until('a certificate', async () => (await get('good')).status?.certificate)
  assert.match(JSON.stringify(certInfo(Buffer.from(certificate, 'base64').toString())), /system:node:cam-9/)
  assert.equal((await get('bad')).status?.conditions, undefined)
})

test('dependents go with their owner: at once in the background, before it in the foreground, not at all when orphaned', async () => {
  await using cluster = await createTestCluster()
  const configs = cluster.admin.resource<ConfigMap>(KINDS.ConfigMap)
  const make = async (name: string, owner?: ConfigMap): Promise<ConfigMap> => {
    const { uid = '', name: of = '' } = owner?.metadata ?? {}
    const ownerReferences = owner ? [{ apiVersion: 'v1', kind: 'ConfigMap', name: of, uid, blockOwnerDeletion: true }] : []
    return await configs.create({ metadata: { name, namespace: 'default', ownerReferences } })
  }
  const names = async (): Promise<string> => {
    const { items } = await configs.list({ namespace: 'default' })
    return items.map((c) => c.metadata?.name ?? '').filter((n) => !n.includes('kube-root')).toSorted().join()
  }
  for (const [policy, left] of [['Background', ''], ['Foreground', ''], ['Orphan', 'child,grandchild']] as const) {
    const owner = await make('owner')
    const child = await make('child', owner)
    await make('grandchild', child)
    await configs.delete('owner', 'default', { propagationPolicy: policy })
    await until(`${policy}: "${left}" left`, async () => (await names()) === left)
  }
  const { metadata } = await configs.get('child', 'default')
  assert.deepEqual(metadata?.ownerReferences ?? [], [])
})
