/** Gives the node-local API its way to the server: a connection of its own that does not show the node's certificate. */
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { createLocalApi, type Agent, type RunningLocalApi, type Seal, type TokenKeys } from '../../agent/mod.ts'
import { ALPN_API_H2, PATHS } from '../../api/contract.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { callJson, type Caches, type Client, type ResourceRef } from '../../client/mod.ts'
import { createNodeSession, dialTls, type NodeSession } from '../../tunnel/mod.ts'
import type { NodeIdentity } from './node-identity.ts'

export interface LocalApiWiring {
  readonly nodeName: string
  readonly dataDir: string
  readonly seal: Seal
  readonly clock: Clock
  readonly identity: () => NodeIdentity
  /** Addresses of servers, the one to try first at the front. */
  readonly servers: () => readonly string[]
  readonly proxy: (server: string) => string | undefined
  readonly client: Client
  readonly caches: Pick<Caches, 'held'>
  readonly agent: Agent
  readonly online: () => boolean
  readonly port: number
}

/** The local API of this node and the session it forwards over; the caller ends the session. */
export function wireLocalApi(w: LocalApiWiring): { readonly api: RunningLocalApi; readonly session: NodeSession } {
  const credentials = (): { caPem: string } => ({ caPem: w.identity().caPem })
  const session = createNodeSession({ servers: w.servers, credentials, alpn: ALPN_API_H2, clock: w.clock, proxy: w.proxy })
  const api = createLocalApi({
    nodeName: w.nodeName,
    clock: w.clock,
    directory: join(w.dataDir, 'agent/local-api'),
    seal: w.seal,
    agent: w.agent,
    known: () => w.caches.held(),
    online: w.online,
    forward: (request) => session.request(request),
    async dial(): Promise<Duplex> {
      if (!w.online()) throw new AppError('unavailable', 'the link to the server is down')
      const server = w.servers()[0] ?? w.identity().server
      return await dialTls({ server, alpn: 'http/1.1', credentials: credentials(), proxy: w.proxy(server), connectTimeoutMs: 5_000, clock: w.clock })
    },
    sign: async (request) => {
      const { certPem, tokens } = await callJson<{ certPem?: unknown; tokens?: Partial<TokenKeys> }>(w.client.transport, { method: 'POST', path: PATHS.serving, body: request })
      if (typeof certPem !== 'string' || typeof tokens?.issuer !== 'string' || !Array.isArray(tokens.keys)) {
        throw new AppError('unsupported', "ask for the local API's certificate: the server's answer holds none; is it older than this node")
      }
      return { certPem, tokens: { issuer: tokens.issuer, keys: tokens.keys } }
    },
    caPem: () => w.identity().caPem,
    port: w.port,
    table,
  })
  return { api, session }
}

/** Loaded by the first kubectl that asks, as kinds and their columns are many. */
async function table(ref: ResourceRef, objects: readonly KubeObject[], include: string | null): Promise<object | undefined> {
  const [{ findResource }, { tableOf }] = await Promise.all([import('../../api/kinds.ts'), import('../../api/table.ts')])
  const def = findResource(ref.group, ref.version, ref.resource)
  if (!def) return undefined
  const includeObject = include === 'None' || include === 'Object' ? include : 'Metadata'
  return tableOf(def, objects, { now: Date.now(), includeObject })
}
