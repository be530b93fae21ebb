import { test } from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createTestCluster } from '../kit/cluster.ts'
import { until } from '../kit/until.ts'
import type { ConfigMap, Deployment } from '../../src/api/gen/types.ts'
import { KINDS } from '../../src/api/kinds.ts'
import { createCaches, createClient, createHttpTransport, parseKubeconfig } from '../../src/client/mod.ts'

const KUBECTL = join(import.meta.dirname, '../../dist/clients/kubectl')
const skip = existsSync(KUBECTL) ? false : 'no kubectl in dist/clients: run bin/node tools/unpack-clients.ts'

test('the HTTP transport with a client certificate calls, watches and caches like the in-process one', async () => {
  await using cluster = await createTestCluster({ control: false })
  const transport = createHttpTransport(parseKubeconfig(await cluster.listen()))
  const client = createClient(transport)
  const caches = createCaches(client)
  const cache = caches.cache<ConfigMap>(KINDS.ConfigMap, { namespace: 'default' })
  const stop = new AbortController()
  const running = caches.run(stop.signal)
  try {
    await cache.synced(AbortSignal.timeout(5_000))
    await client.resource<ConfigMap>(KINDS.ConfigMap).create({ metadata: { name: 'over-tls', namespace: 'default' }, data: { a: 'b' } })
    await until('the event', () => cache.get('over-tls', 'default'))
    await cluster.admin.resource(KINDS.ConfigMap).delete('over-tls', 'default')
    await until('its end', () => cache.get('over-tls', 'default') === undefined)
  } finally {
    stop.abort()
    await running
    transport.close()
  }
})

test('kubectl rolls out, waits, shows history, undoes, scales and deletes', { skip }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-kubectl-'))
  try {
    await using cluster = await createTestCluster()
    const config = join(directory, 'config')
    await writeFile(config, await cluster.listen(), { mode: 0o600 })
    const env = { KUBECONFIG: config, HOME: directory, PATH: process.env['PATH'] ?? '' }
    const kubectl = async (...args: string[]): Promise<string> => {
      const { stdout } = await promisify(execFile)(KUBECTL, args, { env, timeout: 15_000 })
      return stdout
    }
    for (const name of ['a', 'b']) cluster.addNode({ name })
    await kubectl('create', 'deployment', 'web', '--image=app:v1', '--replicas=2')
    assert.match(await kubectl('rollout', 'status', 'deployment/web', '--timeout=10s'), /successfully rolled out/)
    await kubectl('set', 'image', 'deployment/web', 'app=app:v2')
    await kubectl('annotate', 'deployment/web', 'kubernetes.io/change-cause=second')
    assert.match(await kubectl('rollout', 'status', 'deployment/web', '--timeout=10s'), /successfully rolled out/)
    assert.match(await kubectl('rollout', 'history', 'deployment/web'), /1 +<none>\n2 +second/)
    await kubectl('rollout', 'undo', 'deployment/web')
    assert.match(await kubectl('rollout', 'status', 'deployment/web', '--timeout=10s'), /successfully rolled out/)
    const d = await cluster.admin.resource<Deployment>(KINDS.Deployment).get('web', 'default')
    assert.equal(d.spec?.template.spec?.containers[0]?.image, 'app:v1')
    assert.equal(d.metadata?.annotations?.['deployment.kubernetes.io/revision'], '3')
    await kubectl('scale', 'deployment/web', '--replicas=5')
    await kubectl('wait', '--for=jsonpath={.status.availableReplicas}=5', 'deployment/web', '--timeout=10s')
    await kubectl('delete', 'deployment', 'web', '--cascade=foreground', '--timeout=10s')
    await until('no pods', async () => (await cluster.admin.resource(KINDS.Pod).list({ namespace: 'default' })).items.length === 0)
  } finally {
    await rm(directory, { recursive: true })
  }
})
