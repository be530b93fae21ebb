/** What kubectl 1.31, 1.33 and 1.35 print, command by command, against what they print on a Kubernetes cluster (`sessions/*.txt`). */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setLogSink } from '../../src/base/log.ts'
import { createTestCluster } from '../kit/cluster.ts'
import { KUBECTLS, noClients, playFile, type Prepare } from '../kit/session-run.ts'

const FOLDER = join(import.meta.dirname, 'sessions')
const chosen = process.env['SKERRY_SESSION_FILES']?.split(',')
const versions = process.env['SKERRY_SESSION_VERSIONS']?.split(',') ?? Object.keys(KUBECTLS)

setLogSink(() => undefined)
describe('kubectl sessions', { concurrency: 3, skip: noClients() }, () => {
  for (const file of readdirSync(FOLDER).filter((f) => f.endsWith('.txt') && f !== 'helm.txt' && (chosen?.includes(f.slice(0, -4)) ?? true))) {
    // Written anew, a file needs what all clients print; else each client is a test of its own.
    const runs = process.env['SKERRY_SESSION'] === 'write' ? [versions] : versions.map((v) => [v])
    for (const clients of runs) {
      test(`${file}, kubectl ${clients.join(', ')}`, { timeout: 240_000 }, async (t) => {
        const prepare: Prepare = async (session) => {
          const cluster = await createTestCluster()
          const kubeconfig = await cluster.listen()
          for (const name of session.settings['nodes'] ?? []) cluster.addNode({ name })
          return { kubeconfig, close: () => cluster[Symbol.asyncDispose]() }
        }
        await playFile(join(FOLDER, file), clients, prepare, (text) => t.diagnostic(text))
      })
    }
  }
})
