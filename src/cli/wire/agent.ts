/**
 * Composes a node. Local first: identity from disk, containerd, caches from the stash, pods and devices; the link and the
 * server come beside, never before. Stopping leaves containerd and every pod running.
 */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { BridgeNetwork, createAgent, kubeletSettings, NodeImages, openSealing, parseDeviceRule, startContainerd, type HostPort, type NodeNetwork } from '../../agent/mod.ts'
import { ALPN_API_H2, ALPN_LINK, PATHS } from '../../api/contract.ts'
import { systemClock } from '../../base/clock.ts'
import { hasCode, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { Metrics } from '../../base/metrics.ts'
import { Scope } from '../../base/scope.ts'
import { createCaches, createClient, createEventRecorder, createFetchLikeTransport, openFileStash } from '../../client/mod.ts'
import { createDeviceLayer, type DeviceLayer } from '../../devices/mod.ts'
import { startMirror } from '../../images/mod.ts'
import { createForwarder, openSegmentLog } from '../../telemetry/mod.ts'
import { createNodeSession, LinkProbe, proxyFor, RevokedError, runLink } from '../../tunnel/mod.ts'
import { pathsOf } from '../paths.ts'
import { wireLocalApi } from './local-api.ts'
import { lockDirectory } from './lock.ts'
import { keptFloor } from './kept-floor.ts'
import { ensureNodeIdentity, joinedName, saveNodeIdentity, type NodeIdentity } from './node-identity.ts'
import { NodeServers } from './node-servers.ts'
import { probePathMtu } from './path-mtu.ts'
import { podState, serveNodeStatus, type AgentStatus } from './node-status.ts'
import { NodeRegistries } from './registries.ts'
import { Renewal } from './renewal.ts'
import { beginWipe, isWiping, wipePods, wipeStore } from './revoked.ts'
import { wireUpgrade } from './upgrade.ts'

const log = logger('agent')
/** Results that wait for the server: a week of a violation a minute with its photo. */
const SPOOL_BYTES = 256 << 20

export interface AgentSettings {
  readonly dataDir: string
  readonly nodeName: string
  readonly server: string | undefined
  readonly token: (() => Promise<string>) | undefined
  readonly nodeLabels: Readonly<Record<string, string>>
  readonly mqttPort: number
  /** Port of the API that the node serves to its pods. */
  readonly localApiPort: number
  /** Kernel settings that pods may have beyond the safe ones. */
  readonly unsafeSysctls: readonly string[]
  /** Device nodes that pods may have; see {@link parseDeviceRule}. */
  readonly devices: readonly string[]
  /** Directory of static pods; undefined is the one under the data directory. */
  readonly manifestDirectory: string | undefined
  /** Settings of a kubelet, by name, as they were given. */
  readonly kubelet: Readonly<Record<string, string | undefined>>
  /** Where `registries.yaml` may be; the first that is there counts. */
  readonly registriesFiles: readonly string[]
  /** File on other media with the key that seals what the node keeps. */
  readonly sealKeyFile: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
  /** Time that a fetched version has to prove itself, s. */
  readonly upgradeTrialSeconds: number
}

/** What reaches logind: its bus where systemd runs, or the one that the environment names. */
function logindHere(bus: string | undefined): { readonly env: Readonly<Record<string, string>> } | undefined {
  if (bus !== undefined) return { env: { DBUS_SYSTEM_BUS_ADDRESS: bus } }
  return existsSync('/run/systemd/system') ? { env: {} } : undefined
}

/** Runs the node until the signal aborts. @throws AppError with the way out when it cannot start; RevokedError when it has wiped itself */
export async function runAgent(settings: AgentSettings, signal: AbortSignal): Promise<void> {
  const paths = pathsOf(settings.dataDir)
  try {
    await runNode(settings, signal)
  } catch (error) {
    if (!(error instanceof RevokedError)) throw error
    await wipeStore(paths)
    throw new RevokedError(`run node "${settings.nodeName}": it was revoked on its server, so its pods were ended and its local store was wiped: run \`skerry node approve ${settings.nodeName}\` there and join again with a token`)
  }
}

async function runNode(settings: AgentSettings, signal: AbortSignal): Promise<void> {
  const paths = pathsOf(settings.dataDir)
  const clock = systemClock
  const rules = settings.devices.map(parseDeviceRule)
  const kubelet = kubeletSettings(settings.kubelet)
  for (const note of kubelet.notes) log.warn(note)
  await using scope = new Scope('agent', signal)
  await mkdir(paths.run, { recursive: true, mode: 0o711 })
  scope.onClose(await lockDirectory(join(paths.data, 'agent/lock'), 'agent', join(paths.run, 'agent.lock')))
  await probePathMtu()
  const proxy = (server: string): string | undefined => proxyFor(server, settings.env['HTTPS_PROXY'] ?? settings.env['https_proxy'], settings.env['NO_PROXY'] ?? settings.env['no_proxy'])

  // A wipe that was cut short after the identity had gone: there is nothing left to run with.
  if (isWiping(paths.data) && (await joinedName(paths.data)) === undefined) await wipeStore(paths)
  const sealing = await openSealing({ directory: join(paths.data, 'agent'), keyFile: settings.sealKeyFile })
  const { seal } = sealing
  let identity = await ensureNodeIdentity({ ...settings, dataDir: paths.data, seal, proxy }, clock, scope.signal)
  const servers = new NodeServers(
    () => identity,
    async (told) => {
      identity = { ...identity, servers: told }
      await saveNodeIdentity(paths.data, identity, seal)
    },
  )
  const credentials = (): NodeIdentity => identity
  // Both connections take the same way: when one goes silent the other is looked at, so a lost line is noticed by use.
  const probe = new LinkProbe()
  const session = createNodeSession({ servers: () => servers.preferred(), credentials, alpn: ALPN_API_H2, clock, proxy, onSilent: () => probe.check() })
  scope.onClose(() => session[Symbol.asyncDispose]())
  let clockAheadMs = 0
  // What this node decides and stamps by itself; pods are timed by the runtime, whose times are the machine's.
  const floor = await keptFloor(join(paths.data, 'agent/clock'), clock)
  scope.onClose(() => floor.close())
  const client = createClient(
    createFetchLikeTransport(
      async (request) => {
        const answer = await session.request(request)
        const date = Date.parse(answer.headers['date'] ?? '')
        if (!Number.isNaN(date)) clockAheadMs = clock.now() - date
        floor.raise(date)
        return answer
      },
      { clock },
    ),
  )
  const stash = await openFileStash(join(paths.data, 'agent/stash'), { clock, seal: (plain) => seal.seal(plain), open: (sealed) => seal.open(sealed) })
  scope.onClose(() => stash[Symbol.asyncDispose]())
  const caches = createCaches(client, { clock, stash })

  let onMissing = (_image: string): void => {}
  const registries = new NodeRegistries(settings.registriesFiles, settings.env)
  const mirror = await startMirror({ upstream: (request) => session.request(request), port: 0, onMissing: (image) => onMissing(image), beside: (req, res) => registries.rewriter.handle(req, res) })
  scope.onClose(() => mirror[Symbol.asyncDispose]())
  const containerd = await startContainerd({ instance: paths.instance, dataDir: paths.data, runDir: paths.run, mirror: `http://127.0.0.1:${mirror.port}`, registries: registries.current, clock }, scope)
  scope.run('registries', (s) => registries.run((next) => containerd.setRegistries(next), clock, s))
  if (isWiping(paths.data)) {
    await wipePods(containerd)
    throw new RevokedError('a wipe is under way')
  }

  const images = new NodeImages({
    directory: join(paths.data, 'agent/images'),
    record: join(paths.data, 'agent/imported-images.json'),
    runtime: containerd.runtime,
    importArchive: (path, s) => containerd.importImage(path, s),
    clock,
  })
  await images.start(scope.signal)
  scope.run('images', (s) => images.run(s))

  const spool = await openSegmentLog({ directory: join(paths.data, 'agent/spool'), maxBytes: SPOOL_BYTES, durability: 'sync', seal }, { clock: floor.clock })
  scope.onClose(() => spool[Symbol.asyncDispose]())
  const forwarder = createForwarder({ spool, clock: floor.clock, request: (request) => session.request(request) })
  const recorder = createEventRecorder({ client, clock: floor.clock, component: 'skerry-devices', host: settings.nodeName })

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
    registriesFault: () => registries.fault,
    unsafeSysctls: settings.unsafeSysctls,
    kubelet,
    devices: rules,
    manifestDirectory: settings.manifestDirectory ?? join(paths.data, 'agent/manifests'),
    cgroupRoot: containerd.paths.cgroupRoot,
    imageDirectory: containerd.paths.root,
    pinnedImages: () => images.pinned(),
    logind: logindHere(settings.env['DBUS_SYSTEM_BUS_ADDRESS']),
    seal,
    sealing,
    metrics,
  })
  onMissing = (image) => agent.notOnServer(image)
  const onPower = (): void => void agent.shutDown()
  process.on('SIGPWR', onPower)
  scope.onClose(() => void process.off('SIGPWR', onPower))
  const local = wireLocalApi({ nodeName: settings.nodeName, dataDir: paths.data, seal, clock: floor.clock, identity: () => identity, servers: () => servers.preferred(), proxy, client, caches, agent, online: () => online, port: settings.localApiPort })
  scope.onClose(() => local.session[Symbol.asyncDispose]())
  // The bus listens on the bridge, so devices begin when the node knows its pod network: from disk at once, else from the server.
  const onNetwork = async (gateway: string, s: AbortSignal): Promise<void> => {
    const layer = createDeviceLayer({
      nodeName: settings.nodeName,
      client,
      caches,
      clock: floor.clock,
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
    await using both = new Scope('bus and local API', s)
    both.run('devices', (signal) => layer.run(signal))
    both.run('local API', (signal) => local.api.run(gateway, signal))
    await both.done()
  }
  // Another pod network, as when the Node was deleted and made anew: both begin again on its address.
  let placed: { readonly gateway: string; readonly over: AbortController; readonly ended: Promise<void> } | undefined
  network.onConfigured = (gateway) => {
    if (placed?.gateway === gateway) return
    const former = placed
    former?.over.abort()
    const over = new AbortController()
    const ended = Promise.withResolvers<void>()
    placed = { gateway, over, ended: ended.promise }
    scope.run('bus and local API', async (s) => {
      await former?.ended
      await onNetwork(gateway, AbortSignal.any([s, over.signal])).finally(() => ended.resolve())
    })
  }

  const upgrade = await wireUpgrade({ nodeName: settings.nodeName, client, caches, clock, session, online: () => online, env: settings.env, trialSeconds: settings.upgradeTrialSeconds }, scope)

  const status = (): AgentStatus => ({
    node: settings.nodeName,
    pid: process.pid,
    connected: online,
    servers: servers.all().flatMap((url) => [url, proxy(url) ?? []].flat()),
    pods: agent.podsNow().map(podState),
    devices: (devices?.devices() ?? []).map((d) => ({ name: d.key, state: d.state })),
  })
  scope.run('status', (s) => serveNodeStatus(paths, { status, images, shutDown: () => agent.shutDown() }, s))
  scope.run('caches', (s) => caches.run(s))
  scope.run('events', (s) => recorder.run(s))
  scope.run('pods', (s) => agent.run(s))
  scope.run('forwarder', (s) => forwarder.run(s))
  const renewal = new Renewal({
    identity: () => identity,
    server: () => servers.current,
    paths: paths.data,
    seal,
    clock: floor.clock,
    proxy,
    session,
    keep(next) {
      identity = next
      local.api.linkBack()
    },
    async cas(s) {
      if (!online) return undefined
      const { status, body } = await client.transport.request({ method: 'GET', path: PATHS.cacerts }, s)
      return status === 200 && typeof body === 'string' ? body : undefined
    },
  })
  scope.run('link', (s) =>
    runLink({
      servers: () => servers.all(),
      credentials,
      alpn: ALPN_LINK,
      handler: agent.handler,
      clock,
      proxy,
      probe,
      onServers: (told) => void servers.learn(told).catch((error: unknown) => log.warn('addresses of servers not kept', { why: messageOf(error) })),
      onHello: () => renewal.look(),
      signal: s,
      onState: (state) => {
        const was = online
        online = state.phase === 'connected'
        if (state.phase === 'connected') servers.linked(state.server)
        // Refused, though the clock says the certificate holds: it may have run out by the server's clock, or be revoked.
        if (state.phase === 'waiting' && hasCode(state.error, 'unauthorized')) renewal.now()
        if (online && !was) {
          caches.retryNow()
          forwarder.kick()
          agent.kick()
          devices?.kick()
          local.api.linkBack()
          upgrade?.()
        } else if (was && !online) {
          session.check()
          local.session.check()
        }
      },
    }),
  )
  scope.run('certificate', (s) => renewal.run(s))
  agent.ready.then(
    () => log.info('pods are served', { node: settings.nodeName, containerd: containerd.adopted ? 'adopted' : 'started' }),
    () => {}, // The scope tells why.
  )
  const failure: unknown = await ended(scope).then(
    () => undefined,
    (error: unknown) => error,
  )
  if (failure instanceof RevokedError) {
    log.error('this node was revoked: it ends its pods and wipes its local store', { node: settings.nodeName })
    await beginWipe(paths.data, failure.message)
    await wipePods(containerd)
  }
  // A failure is thrown by the scope as it closes, once.
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
