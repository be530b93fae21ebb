/** The drills of a real node: eight pods and a device come back from its disk, timed by `skerry agent drill` itself. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import type { Pod } from '../../src/api/gen/types.ts'
import type { DrillResult } from '../../src/cli/drill/drill.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, SKERRY, Site } from './site.ts'

const NODE = 'dr-1'
const PODS = 8
const noClock = !existsSync(`/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/faketime/libfaketimeMT.so.1`) && 'needs libfaketime: apt-get install -y faketime'

describe('skerry agent drill', { skip: cannotRunContainers() }, () => {
  let site: Site
  const pods = async (): Promise<Pod[]> => (await site.get<{ items: Pod[] }>('pods')).items
  const uids = async (): Promise<string[]> => (await pods()).map((p) => p.metadata?.uid ?? '').sort()
  const drill = async (...args: string[]): Promise<{ code: number; result: DrillResult; err: string }> => {
    const r = await site.on(NODE, SKERRY, ['agent', 'drill', ...args, '--output', 'json', '--timeout', '60', '--data-dir', site.data(NODE)])
    return { code: r.code, err: r.err, result: r.out === '' ? ({} as DrillResult) : (JSON.parse(r.out) as DrillResult) }
  }

  before(async () => {
    site = await Site.create('drill', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'keeper', `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`))
    await site.join(NODE)
    await site.apply(MANIFESTS)
    await site.kubectl('wait', '--for=condition=Available', 'deployment/keeper', '--timeout=60s')
    await eventually('device online', async () => (await site.kubectl('get', 'device', 'meter', '-o', 'jsonpath={.status.state}')) === 'online')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('does nothing without --yes, and names drills it does not know', async () => {
    const before = await uids()
    for (const [args, words] of [[['power-loss'], /ends all pods of this node .* --yes/], [['earthquake', '--yes'], /"earthquake" is not one of offline-reboot, power-loss, clock/]] as const) {
      const r = await drill(...args)
      assert.notEqual(r.code, 0)
      assert.match(r.err, words)
    }
    assert.deepEqual(await uids(), before)
  })

  for (const name of ['offline-reboot', 'power-loss', 'clock']) {
    test(`${name} with ${PODS} pods and a device`, { skip: name === 'clock' && noClock }, async (t) => {
      const before = await uids()
      const { code, result, err } = await drill(name, '--yes')
      assert.equal(code, 0, `${err}${JSON.stringify(result, undefined, 1)}`)
      assert.deepEqual({ ok: result.ok, pods: result.pods, devices: result.devices, missing: result.missing }, { ok: true, pods: { expected: PODS, back: PODS }, devices: { expected: 1, back: 1 }, missing: [] })
      for (const { what, ms } of result.steps) t.diagnostic(`${name}: ${ms} ms ${what}`)
      assert.equal(result.steps.some((s) => s.what === 'connected to the server again'), name === 'offline-reboot')
      // The node is as before: connected, with the same pods, each started once more, and no rule of the drill left.
      await eventually('the node Ready', () => site.kubectl('wait', '--for=condition=Ready', `node/${NODE}`, '--timeout=30s'), 60_000)
      assert.deepEqual(await uids(), before)
      await eventually('all pods Ready by the server', async () => (await pods()).every((p) => p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')))
      assert.doesNotMatch((await site.on(NODE, 'nft', ['list', 'tables'])).out, /skerry_drill/)
    })
  }
})

const MANIFESTS = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: keeper}
spec:
  replicas: ${PODS}
  selector: {matchLabels: {app: keeper}}
  template:
    metadata: {labels: {app: keeper}}
    spec:
      terminationGracePeriodSeconds: 2
      containers: [{name: main, image: keeper}]
---
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: meter}
spec:
  protocol: simulator
  properties: [{name: level, type: INT, accessMode: ReadWrite, minimum: "0", maximum: "9"}]
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: meter}
spec:
  deviceModelRef: {name: meter}
  nodeName: ${NODE}
  protocol: {protocolName: simulator}
  properties: [{name: level}]
`
