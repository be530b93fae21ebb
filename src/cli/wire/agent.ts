/**
 * Composes a node. Local first: identity from disk, containerd, caches from the stash, pods and devices; the link and the
 * server come beside, never before. Stopping leaves containerd and every pod running.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { BridgeNetwork, createAgent, startContainerd, type HostPort, type NodeNetwork } from '../../agent/mod.ts'
import { ALPN_API_H2, ALPN_LINK, PATHS } from '../../api/contract.ts'
import { systemClock, type Clock } from '../../base/clock.ts'
import { isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { Metrics } from '../../base/metrics.ts'
import { certInfo, renewAt } from '../../base/pki.ts'
import { Scope } from '../../base/scope.ts'
import { createCaches, createClient, createEventRecorder, createFetchLikeTransport, openFileStash } from '../../client/mod.ts'
import { createDeviceLayer, type DeviceLayer } from '../../devices/mod.ts'
import { startMirror } from '../../images/mod.ts'
import { createForwarder, openSegmentLog } from '../../telemetry/mod.ts'
import { createNodeSession, LinkProbe, proxyFor, renewCertificate, runLink, type NodeSession } from '../../tunnel/mod.ts'
import { pathsOf } from '../paths.ts'
import { wireLocalApi } from './local-api.ts'
import { lockDirectory } from './lock.ts'
import { ensureNodeIdentity, saveNodeIdentity, type NodeIdentity } from './node-identity.ts'

const log = logger('agent')
/** Results that wait for the server: a week of a violation a minute with its photo. */
const SPOOL_BYTES = 256 << 20
const RENEW_CHECK_MS = 3_600_000

export interface AgentSettings {
  readonly dataDir: string
  readonly nodeName: string
  readonly server: string | undefined
  readonly token: (() => Promise<string>) | undefined
  readonly nodeLabels: Readonly<Record<string, string>>
  readonly mqttPort: number
  /** Port of the API that the node serves to its pods. */
  readonly localApiPort: number
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Runs the node until the signal aborts. @throws AppError with the way out when it cannot start */
export async function runAgent(settings: AgentSettings, signal: AbortSignal): Promise<void> {
  const paths = pathsOf(settings.dataDir)
  const clock = systemClock
  await using scope = new Scope('agent', signal)
  scope.onClose(await lockDirectory(join(paths.data, 'agent/lock'), 'agent'))
  await mkdir(paths.run, { recursive: true, mode: 0o711 })
  const proxy = (server: string): string | undefined => proxyFor(server, settings.env['HTTPS_PROXY'] ?? settings.env['https_proxy'], settings.env['NO_PROXY'] ?? settings.env['no_proxy'])

  let identity = await ensureNodeIdentity({ ...settings, dataDir: paths.data, proxy }, clock, scope.signal)
  const servers = (): string[] => [identity.server]
  const credentials = (): NodeIdentity => identity
  // Both connections take the same way: when one goes silent the other is looked at, so a lost line is noticed by use.
  const probe = new LinkProbe()
  const session = createNodeSession({ servers, credentials, alpn: ALPN_API_H2, clock, proxy, onSilent: () => probe.check() })
  scope.onClose(() => session[Symbol.asyncDispose]())
  let clockAheadMs = 0
  const client = createClient(
    createFetchLikeTransport(
      async (request) => {
        const answer = await session.request(request)
        const date = Date.parse(answer.headers['date'] ?? '')
        if (!Number.isNaN(date)) clockAheadMs = clock.now() - date
        return answer
      },
      { clock },
    ),
  )
  const stash = await openFileStash(join(paths.data, 'agent/stash'), { clock })
  scope.onClose(() => stash[Symbol.asyncDispose]())
  const caches = createCaches(client, { clock, stash })

  let onMissing = (_image: string): void => {}
  const mirror = await startMirror({ upstream: (request) => session.request(request), port: 0, onMissing: (image) => onMissing(image) })
  scope.onClose(() => mirror[Symbol.asyncDispose]())
  const containerd = await startContainerd({ instance: paths.instance, dataDir: paths.data, runDir: paths.run, mirror: `http://127.0.0.1:${mirror.port}`, clock }, scope)

  const spool = await openSegmentLog({ directory: join(paths.data, 'agent/spool'), maxBytes: SPOOL_BYTES, durability: 'sync' })
  scope.onClose(() => spool[Symbol.asyncDispose]())
  const forwarder = createForwarder({ spool, clock, request: (request) => session.request(request) })
  const recorder = createEventRecorder({ client, clock, component: 'skerry-devices', host: settings.nodeName })

  const network = new AnnouncedNetwork(new BridgeNetwork(containerd.paths))
  let online = false
  let devices: DeviceLayer | undefined
  const metrics = new Metrics()
  const agent = createAgent({
    nodeName: settings.nodeName,
    client,
    caches,
    runtime: containerd.runtime,
    dirs: { data: join(paths.data, 'agent'), run: paths.run },
    clock,
    network,
    nodeLabels: settings.nodeLabels,
    podEnv: () => ({ ...devices?.env() }),
    localApi: () => (network.gateway === undefined ? undefined : { host: network.gateway, port: settings.localApiPort }),
    onToken: (token) => local.api.learn(token),
    online: () => online,
    clockAheadMs: () => clockAheadMs,
    cgroupRoot: containerd.paths.cgroupRoot,
    metrics,
  })
  onMissing = (image) => agent.notOnServer(image)
  const local = wireLocalApi({ nodeName: settings.nodeName, dataDir: paths.data, clock, identity: () => identity, proxy, client, caches, agent, online: () => online, port: settings.localApiPort })
  scope.onClose(() => local.session[Symbol.asyncDispose]())
  // The bus listens on the bridge, so devices begin when the node knows its pod network: from disk at once, else from the server.
  network.onConfigured = (gateway) => {
    if (devices) return
    const layer = createDeviceLayer({
      nodeName: settings.nodeName,
      client,
      caches,
      clock,
      dirs: { data: join(paths.data, 'agent'), run: paths.run },
      listen: { host: gateway },
      identify: (ip) => {
        const pod = agent.podAt(ip)
        return pod && { namespace: pod.namespace, pod: pod.name }
      },
      recorder,
      spool,
      mqtt: { port: settings.mqttPort },
      metrics,
    })
    devices = layer
    scope.run('devices', (s) => layer.run(s))
    scope.run('local API', (s) => local.api.run(gateway, s))
  }

  scope.run('caches', (s) => caches.run(s))
  scope.run('events', (s) => recorder.run(s))
  scope.run('pods', (s) => agent.run(s))
  scope.run('forwarder', (s) => forwarder.run(s))
  scope.run('link', (s) =>
    runLink({
      servers,
      credentials,
      alpn: ALPN_LINK,
      handler: agent.handler,
      clock,
      proxy,
      probe,
      signal: s,
      onState: (state) => {
        const was = online
        online = state.phase === 'connected'
        if (online && !was) {
          caches.retryNow()
          forwarder.kick()
          agent.kick()
          devices?.kick()
          local.api.linkBack()
        } else if (was && !online) {
          session.check()
          local.session.check()
        }
      },
    }),
  )
  scope.run('certificate', (s) => renewing(() => identity, { paths: paths.data, clock, proxy, session, keep: (next) => (identity = next) }, s))
  agent.ready.then(
    () => log.info('pods are served', { node: settings.nodeName, containerd: containerd.adopted ? 'adopted' : 'started' }),
    () => {}, // The scope tells why.
  )
  await ended(scope)
}

/** Resolves on the signal, rejects with the first failure of the background work. */
function ended(scope: Scope): Promise<void> {
  return new Promise((resolve, reject) => {
    scope.onFailure(reject)
    if (scope.signal.aborted) resolve()
    else scope.signal.addEventListener('abort', () => queueMicrotask(resolve), { once: true })
  })
}

/** The pod network, which says when it has its address. */
class AnnouncedNetwork implements NodeNetwork {
  readonly #network: BridgeNetwork
  onConfigured: ((gateway: string) => void) | undefined

  constructor(network: BridgeNetwork) {
    this.#network = network
  }

  async configure(podCIDR: string): Promise<void> {
    await this.#network.configure(podCIDR)
    if (this.#network.gateway !== undefined) this.onConfigured?.(this.#network.gateway)
  }

  get gateway(): string | undefined {
    return this.#network.gateway
  }

  setHostPorts(ports: readonly HostPort[]): Promise<void> {
    return this.#network.setHostPorts(ports)
  }
}

interface Renewal {
  readonly paths: string
  readonly clock: Clock
  readonly proxy: (server: string) => string | undefined
  readonly session: NodeSession
  keep(next: NodeIdentity): void
}

/** Renews the node's certificate in time, by proof of its key; a failure is told and tried again, nothing stops for it. */
async function renewing(identity: () => NodeIdentity, renewal: Renewal, signal: AbortSignal): Promise<void> {
  for (;;) {
    const now = identity()
    if (renewal.clock.now() >= renewAt(certInfo(now.certPem))) {
      try {
        const next = await renewCertificate({ server: now.server, paths: PATHS, clock: renewal.clock, credentials: now, signal, proxy: renewal.proxy(now.server) })
        const saved = { ...now, certPem: next.certPem, keyPem: next.keyPem, caPem: next.caPem }
        await saveNodeIdentity(renewal.paths, saved)
        renewal.keep(saved)
        renewal.session.reset('the certificate was renewed')
        log.info('certificate renewed', { until: new Date(certInfo(next.certPem).notAfter).toISOString() })
      } catch (error) {
        if (isAbort(error)) throw error
        log.warn('certificate not renewed, trying again in an hour', { why: messageOf(error) })
      }
    }
    await renewal.clock.sleep(RENEW_CHECK_MS, signal)
  }
}
