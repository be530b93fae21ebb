import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KINDS } from '../../api/kinds.ts'
import { FakeClock, systemClock } from '../../base/clock.ts'
import { Scope } from '../../base/scope.ts'
import { createCaches, createClient, createInProcessTransport } from '../../client/mod.ts'
import { ADMIN, startHarness } from '../../../test/kit/api-harness.ts'
import { until } from '../../../test/kit/until.ts'
import { createPeers, peerUrl, type Peers } from './peers.ts'

test('servers of one store find each other, and one that died is forgotten by all, whatever its clock said', { timeout: 20_000 }, async () => {
  await using h = await startHarness()
  await using scope = new Scope('test')
  const client = createClient(createInProcessTransport(h.api.handler, ADMIN))
  await client.resource(KINDS.Namespace).create({ metadata: { name: 'kube-system' } }).catch(() => undefined) // The server may have made it.
  const server = async (url: string, clock: FakeClock): Promise<{ peers: Peers; life: Scope }> => {
    const life = new Scope(url, scope.signal)
    const caches = createCaches(client, { clock: systemClock })
    const peers = createPeers(client, caches, clock)
    life.run('caches', (signal) => caches.run(signal))
    await peers.announce(url)
    life.run('peers', (signal) => peers.run(signal))
    return { peers, life }
  }
  const [here, ahead] = [new FakeClock(), new FakeClock(Date.UTC(2040, 0, 1))]
  const one = await server('https://one:6443', here)
  const two = await server('https://two:7443', ahead)
  let changes = 0
  one.peers.onChange(() => changes++)
  await until('both know both', () => one.peers.others().length === 1 && two.peers.others().length === 1)
  assert.deepEqual([one.peers.all(), two.peers.all()], [['https://one:6443', 'https://two:7443'], ['https://two:7443', 'https://one:6443']])
  const leases = client.resource(KINDS.Lease)
  const renewals = async (name: RegExp): Promise<string | undefined> => (await leases.list({ namespace: 'kube-system' })).items.find((l) => name.test(l.metadata?.name ?? ''))?.metadata?.resourceVersion
  // Both renew for a while: nobody is forgotten.
  for (let i = 0; i < 8; i++) {
    const before = [await renewals(/6443/), await renewals(/7443/)]
    await Promise.all([here.advance(34_000), ahead.advance(34_000)])
    await until('both renew', async () => (await renewals(/6443/)) !== before[0] && (await renewals(/7443/)) !== before[1])
    await until('both saw it', () => one.peers.others().length === 1 && two.peers.others().length === 1)
  }
  await two.life.close()
  await here.advance(140_000)
  await until('the dead one is no more', async () => (await renewals(/7443/)) === undefined)
  await until('and is not known', () => one.peers.all().length === 1 && changes > 0)
  assert.ok(await renewals(/6443/), 'the living one is')
  await one.peers.leave()
  assert.equal(await renewals(/6443/), undefined)
  await one.life.close()
})

test('a server is reached by what it was told, what it listens on, or the first address of its machine', () => {
  const interfaces = { lo: [{ address: '127.0.0.1', internal: true, family: 'IPv4' }], eth0: [{ address: '10.0.0.7', internal: false, family: 'IPv4' }] } as unknown as NonNullable<Parameters<typeof peerUrl>[3]>
  assert.equal(peerUrl(['edge.example.com'], '10.0.0.9', 6443, interfaces), 'https://edge.example.com:6443')
  assert.equal(peerUrl([], '10.0.0.9', 6443, interfaces), 'https://10.0.0.9:6443')
  assert.equal(peerUrl([], undefined, 7443, interfaces), 'https://10.0.0.7:7443')
  assert.equal(peerUrl(['fd00::1'], undefined, 6443, interfaces), 'https://[fd00::1]:6443')
})
