/** What a workload's written policy does while its node is cut off, and which copy stays on its return; real agents, fake time. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createTestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'
import { FakeClock } from '../../src/base/clock.ts'
import type { ConfigMap, Deployment, Event, Pod } from '../../src/api/gen/types.ts'
import { KINDS } from '../../src/api/kinds.ts'
import { ON_DISCONNECT } from '../../src/api/on-disconnect.ts'

const gate = (policy: string | undefined): Deployment => ({
  metadata: { name: 'gate', namespace: 'default' },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: 'gate' } },
    template: {
      metadata: { labels: { app: 'gate' }, ...(policy !== undefined && { annotations: { [ON_DISCONNECT]: policy } }) },
      spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'gate', image: 'app:v1' }] },
    },
  },
})

for (const [policy, during, after] of [
  [undefined, 1, 'original'],
  ['keep', 1, 'original'],
  ['replace-after=5m', 2, 'original'],
  ['replace-after=5m,keep=replacement', 2, 'replacement'],
  ['replace-after=never', 1, 'original'],
] as const) {
  test(`a pod with the policy ${policy ?? '(none)'}: ${during} while its node is away, the ${after} afterwards`, { timeout: 60_000 }, async () => {
    const clock = new FakeClock()
    await using cluster = await createTestCluster({ clock })
    const agents = await Promise.all(['gw-1', 'gw-2'].map((name) => cluster.addAgent({ name, images: { 'app:v1': {} } })))
    const pods = async (): Promise<Pod[]> => (await cluster.admin.resource<Pod>(KINDS.Pod).list({ namespace: 'default' })).items
    const isReady = (p: Pod): boolean => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true
    const wait = (what: string, check: () => Promise<boolean>): Promise<unknown> =>
      until(what, async () => {
        await clock.advance(500)
        return await check()
      }, 20_000)
    const running = async (): Promise<number> => (await Promise.all(agents.map((a) => a.runtime.containers.list()))).flat().filter((c) => c.state === 'running').length

    await cluster.admin.resource<Deployment>(KINDS.Deployment).create(gate(policy))
    await wait('the pod Ready', async () => (await pods()).some(isReady))
    const [original] = await pods()
    const home = agents.findIndex((_, i) => original?.spec?.nodeName === `gw-${i + 1}`)
    agents[home]?.cut()
    await clock.advance(45_000)
    await wait('the pod not Ready', async () => !(await pods()).some(isReady))
    for (let s = 0; s < 240; s += 20) await clock.advance(20_000)
    assert.equal((await pods()).length, 1, 'nobody takes its place before the time')
    for (let s = 0; s < 120; s += 20) await clock.advance(20_000)
    await wait(`${during} running`, async () => (await running()) === during && (await pods()).length === during && (during === 1 || (await pods()).some(isReady)))

    agents[home]?.restore()
    await wait('one Ready pod again', async () => {
      const list = await pods()
      return list.length === 1 && list.every(isReady)
    })
    const [left] = await pods()
    assert.equal(left?.metadata?.uid === original?.metadata?.uid, after === 'original')
    await wait('one container', async () => (await running()) === 1)
    if (policy === 'replace-after=never') {
      const events = await cluster.admin.resource<Event>(KINDS.Event).list({ namespace: 'default' })
      assert.match(events.items.find((e) => e.reason === 'InvalidOnDisconnect')?.message ?? '', /is "replace-after=never", expected "keep" or/)
    }
  })
}

test('a pod of an owner that knows no stand-ins is deleted after the time, when it says that the other one is to stay', { timeout: 60_000 }, async () => {
  const clock = new FakeClock()
  await using cluster = await createTestCluster({ clock })
  const agent = await cluster.addAgent({ name: 'gw-1', images: { 'app:v1': {} } })
  const owner = await cluster.admin.resource<ConfigMap>(KINDS.ConfigMap).create({ metadata: { name: 'owner', namespace: 'default' } })
  const api = cluster.admin.resource<Pod>(KINDS.Pod)
  for (const [name, policy] of [['goes', 'replace-after=5m,keep=replacement'], ['stays', 'replace-after=5m']] as const) {
    await api.create({
      metadata: { name, namespace: 'default', annotations: { [ON_DISCONNECT]: policy }, ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: owner.metadata?.uid ?? '', controller: true }] },
      spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'c', image: 'app:v1' }] },
    })
  }
  const names = async (): Promise<string[]> => (await api.list({ namespace: 'default' })).items.map((p) => p.metadata?.name ?? '')
  const running = async (): Promise<number> => (await agent.runtime.containers.list()).filter((c) => c.state === 'running').length
  const wait = (what: string, check: () => Promise<boolean>): Promise<unknown> =>
    until(what, async () => {
      await clock.advance(500)
      return await check()
    }, 20_000)
  await wait('both running', async () => (await running()) === 2)
  agent.cut()
  for (let s = 0; s < 280; s += 20) await clock.advance(20_000)
  assert.deepEqual(await names(), ['goes', 'stays'])
  for (let s = 0; s < 120; s += 20) await clock.advance(20_000)
  await wait('one deleted', async () => (await names()).join() === 'stays')
  assert.equal(await running(), 2, 'its node does not know')
  agent.restore()
  await wait('one container', async () => (await running()) === 1)
  const events = await cluster.admin.resource<Event>(KINDS.Event).list({ namespace: 'default' })
  assert.deepEqual(events.items.filter((e) => e.reason === 'DeletedWhileCutOff').map((e) => e.involvedObject.name), ['goes'])
})
