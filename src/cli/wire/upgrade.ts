/** The upgrade of an installed agent; nothing for a checkout, or a node that is part of its server. */
import type { Node } from '../../api/gen/types.ts'
import { Program, Upgrader } from '../../agent/mod.ts'
import type { Clock } from '../../base/clock.ts'
import { idOf } from '../../base/release.ts'
import { createEventRecorder, type Caches, type Client } from '../../client/mod.ts'
import type { Scope } from '../../base/scope.ts'
import type { NodeSession } from '../../tunnel/mod.ts'
import { SKERRY_VERSION } from '../version.ts'
import { installRoot } from './install.ts'

export interface UpgradeParts {
  readonly nodeName: string
  readonly client: Client
  readonly caches: Caches
  readonly clock: Clock
  readonly session: NodeSession
  readonly online: () => boolean
  readonly env: Readonly<Record<string, string | undefined>>
  readonly trialSeconds: number
}

const NODES = { group: '', version: 'v1', resource: 'nodes', kind: 'Node', namespaced: false } as const

/** Begins it; how to say that the link is back. */
export async function wireUpgrade(parts: UpgradeParts, scope: Scope): Promise<(() => void) | undefined> {
  const { nodeName, client, caches, clock, session } = parts
  const root = installRoot()
  const [program, id] = await Promise.all([Program.of(root), idOf(root)])
  if (!program || id === undefined) return undefined
  const nodes = caches.cache<Node>(NODES, { fieldSelector: `metadata.name=${nodeName}` })
  const events = createEventRecorder({ client, clock, component: 'skerry-upgrade', host: nodeName })
  const upgrader = new Upgrader({
    nodeName,
    program,
    own: { version: SKERRY_VERSION, arch: process.arch, id },
    node: () => nodes.get(nodeName),
    client,
    events,
    clock,
    online: parts.online,
    get: (path, signal) => session.request({ method: 'GET', path, signal }),
    // As a service manager ends it: in order, pods run on.
    restart: () => void process.kill(process.pid, 'SIGTERM'),
    restartedBy: parts.env['SKERRY_RESTARTED_BY'],
    trialSeconds: parts.trialSeconds,
  })
  scope.onClose(nodes.onChange(() => upgrader.nodeChanged(nodes.get(nodeName))))
  scope.run('upgrade events', (s) => events.run(s))
  scope.run('upgrade', (s) => upgrader.run(s))
  return () => upgrader.kick()
}
