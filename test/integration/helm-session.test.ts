/** What helm 3 and 4 do with a chart made in the session: hooks, CRDs, lookups, tests, waits, rollbacks (`sessions/helm.txt`). */
import { join } from 'node:path'
import { test } from 'node:test'
import { setLogSink } from '../../src/base/log.ts'
import { createTestCluster } from '../kit/cluster.ts'
import { HELMS, noClients, playFile } from '../kit/session-run.ts'

const FILE = join(import.meta.dirname, 'sessions/helm.txt')

setLogSink(() => undefined)
test('helm sessions', { skip: noClients(Object.values(HELMS)), timeout: 240_000 }, async (t) => {
  await playFile(
    FILE,
    Object.keys(HELMS),
    async (_, version) => {
      const cluster = await createTestCluster()
      const kubeconfig = await cluster.listen()
      cluster.addNode({ name: 'a', broken: ['app:broken'], ending: ['test:1'] })
      return { kubeconfig, clients: { kubectl: 'kubectl', helm: HELMS[version] as string }, close: () => cluster[Symbol.asyncDispose]() }
    },
    (text) => t.diagnostic(text),
  )
})
