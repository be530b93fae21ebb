import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { Pod } from '../../api/gen/types.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode, type TestNode } from '../testing.ts'
import { staticPod } from './manifest.ts'

setLogSink(() => {})

const manifest = (name: string, image = 'app'): string => `apiVersion: v1\nkind: Pod\nmetadata: {name: ${name}}\nspec: {containers: [{name: main, image: ${image}, imagePullPolicy: IfNotPresent}]}\n`
const node = { name: 'n1', seen: '2026-01-01T00:00:00Z' }

test('a manifest becomes a pod of this node, with defaults, or is refused by what is wrong in it', () => {
  const pod = staticPod(manifest('web'), '/m/web.yaml', node)
  assert.deepEqual([pod.metadata?.name, pod.metadata?.namespace, pod.spec?.nodeName, pod.spec?.restartPolicy], ['web-n1', 'default', 'n1', 'Always'])
  assert.match(pod.metadata?.uid ?? '', /^[0-9a-f]{32}$/)
  assert.equal(pod.metadata?.annotations?.['kubernetes.io/config.source'], 'file')
  assert.notEqual(staticPod(manifest('web', 'other'), '/m/web.yaml', node).metadata?.uid, pod.metadata?.uid, 'another content is another pod')
  const refused = (text: string, why: RegExp): void => assert.throws(() => staticPod(text, '/m/x.yaml', node), why)
  refused('kind: [', /^AppError: read static pod \/m\/x.yaml: /)
  refused('kind: Service', /it is a Service, not a Pod/)
  refused(manifest('Bad_Name'), /metadata.name/)
  refused(`${manifest('web').trimEnd().slice(0, -1)}, serviceAccountName: robot}`, /may not reference service accounts/)
  refused(`${manifest('web').trimEnd().slice(0, -1)}, volumes: [{name: c, configMap: {name: x}}]}`, /volume "c" comes from the API/)
})

async function withManifests(fn: (n: TestNode, put: (file: string, text: string | undefined) => void) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-static-'))
  const put = (file: string, text: string | undefined): void => (text === undefined ? rmSync(join(directory, file)) : writeFileSync(join(directory, file), text))
  put('web.yaml', manifest('web'))
  try {
    await using n = await testNode({ app: {}, other: {} }, { manifestDirectory: directory })
    await fn(n, put)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
const mirror = (n: TestNode, name = 'web-n1'): Pod | undefined => n.api.objects.get(`pods/default/${name}`) as Pod | undefined
const running = (n: TestNode, name?: string): boolean => mirror(n, name)?.status?.phase === 'Running'

test('a static pod runs, its mirror shows it, and a deleted mirror comes back without a restart', async () => {
  await withManifests(async (n) => {
    await n.until('the mirror to run', () => running(n))
    const made = mirror(n)
    assert.equal(made?.metadata?.annotations?.['kubernetes.io/config.mirror'], made?.metadata?.annotations?.['kubernetes.io/config.hash'])
    assert.match(made?.status?.podIP ?? '', /^10\./)
    n.api.remove('pods', 'default', 'web-n1')
    await n.pass(2000)
    await n.until('the mirror again', () => running(n))
    assert.equal(n.runtime.calls.filter((c) => c.startsWith('containers.start')).length, 1)
  })
})

test('a changed file replaces the pod, a removed one ends it, a broken one is told', async () => {
  await withManifests(async (n, put) => {
    await n.until('running', () => running(n))
    const uid = mirror(n)?.metadata?.annotations?.['kubernetes.io/config.hash']
    put('web.yaml', manifest('web', 'other'))
    await n.pass(61_000)
    await n.until('the new one', () => running(n) && mirror(n)?.metadata?.annotations?.['kubernetes.io/config.hash'] !== uid && mirror(n)?.status?.containerStatuses?.[0]?.image === 'other')
    for (const halfWritten of ['', 'kind: [']) {
      put('web.yaml', halfWritten)
      await n.pass(61_000)
      assert.equal(running(n), true, 'what is half written ends nothing')
    }
    assert.equal(n.runtime.calls.filter((c) => c.startsWith('sandboxes.remove')).length, 1)
    put('bad.yaml', 'kind: Pod')
    await n.pass(61_000)
    await n.until('the Event', () => n.said.some((e) => e.startsWith('Warning FailedStaticPod n1: ') && e.includes('bad.yaml')))
    put('web.yaml', undefined)
    await n.pass(61_000)
    await n.until('no mirror', () => mirror(n) === undefined)
    await n.until('no container', () => n.runtime.calls.filter((c) => c.startsWith('sandboxes.remove')).length === 2)
  })
})

test('without a server a static pod runs all the same, and is shown when the server comes', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-static-'))
  writeFileSync(join(directory, 'web.yaml'), manifest('web'))
  try {
    await using n = await testNode({ app: {} }, { manifestDirectory: directory })
    n.api.away = true
    await n.until('started', () => n.runtime.calls.some((c) => c.startsWith('containers.start')))
    assert.equal(mirror(n), undefined)
    n.api.away = false
    n.agent.kick()
    await n.pass(11_000)
    await n.until('the mirror', () => running(n))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
