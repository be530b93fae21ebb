/**
 * Composes a server: identity, store, API, controllers, scheduler, hub, join, collector, registry, pages, install; then the
 * one port; then, unless told not to, this machine's own agent. Everything stops in reverse when the signal aborts.
 * Long because: it is the one list of what a server consists of, in the order in which the parts need each other.
 */
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import type { ConfigMap, Secret } from '../../api/gen/types.ts'
import { ALPN_API_H2, GROUP_MASTERS, nodeUser, PATHS, type UserInfo } from '../../api/contract.ts'
import { KINDS } from '../../api/kinds.ts'
import { createApiServer, createPodStreams, listen, loadDeviceSelectors, type Route, type ServiceAccountKey } from '../../apiserver/mod.ts'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { systemClock } from '../../base/clock.ts'
import { AppError, hasCode } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { Metrics } from '../../base/metrics.ts'
import { caHash, issue } from '../../base/pki.ts'
import { Scope } from '../../base/scope.ts'
import { createCaches, createClient, createEventRecorder, createInProcessTransport, formatKubeconfig, type Client } from '../../client/mod.ts'
import { createCollector, createPages } from '../../collector/mod.ts'
import { createControllers, createLinkControllers } from '../../controllers/mod.ts'
import { applyDeviceCrds, createDeviceController } from '../../devices/mod.ts'
import { openBlobStore, registryHandler } from '../../images/mod.ts'
import { createScheduler } from '../../scheduler/mod.ts'
import { createHub, createJoinServer, createRelay, formatToken, parseToken, relayTo, type RelayIn, type RelayOut } from '../../tunnel/mod.ts'
import { pathsOf } from '../paths.ts'
import type { StoreChoice } from '../store-url.ts'
import { createToken, NODE_RECORDS, nodeRecords, tokenStore } from '../tokens.ts'
import { SKERRY_VERSION } from '../version.ts'
import { readAdmissionConfig } from './admission-config.ts'
import { openAudit, type AuditSettings } from './audit.ts'
import { issueNode, loadServerIdentity, serverSans, type ServerIdentity } from './identity.ts'
import { keepIdentity } from './keep-identity.ts'
import { installRoutes } from './install.ts'
import { usageResources } from './usage.ts'
import { runLeading } from './leading.ts'
import { lockDirectory } from './lock.ts'
import { probePathMtu } from './path-mtu.ts'
import { NodeGate } from './node-gate.ts'
import { nodeServing } from './node-serving.ts'
import { imagesOfPeers } from './peer-images.ts'
import { createPeers, peerUrl, urlOf, type Peers } from './peers.ts'
import { keysInStore } from './secrets.ts'
import { giveUpReserve, keepReserve, takeReserve } from './reserve.ts'
import { openServerStore, sealed } from './server-store.ts'
import { shareIdentity } from './shared-identity.ts'
import { digestOf, rotateShared } from './shared-rotation.ts'
import { compactRoute } from './store-routes.ts'

const log = logger('server')

export interface ServerSettings {
  readonly dataDir: string
  readonly store: StoreChoice
  /** Holds the token that opens what the servers of one store share; needed by a further server's first start. */
  readonly clusterTokenFile: string | undefined
  readonly port: number
  readonly bindAddress: string
  readonly clusterCidr: string
  readonly serviceCidr: string
  readonly advertise: readonly string[]
  readonly writeKubeconfig: string | undefined
  /** Who signs service-account tokens, and where its keys are found; Kubernetes' own names by default. */
  readonly tokens?: Pick<ServiceAccountKey, 'issuer' | 'formerIssuers' | 'jwksUri'>
  /** A node silent for so long is cut off, and how often its line is asked follows, ms. */
  readonly nodeGraceMs?: number | undefined
  /** What is recorded of requests, and where. */
  readonly audit?: AuditSettings | undefined
  /** Kubernetes' file of admission configuration. */
  readonly admissionConfig?: string | undefined
}

/** What a node is told when it joins. */
export interface NodeConfig {
  readonly clusterCidr: string
  readonly serviceCidr: string
  readonly version: string
  /** Where all servers are, when there may be several. */
  readonly servers?: readonly string[]
}

export interface RunningServer {
  readonly port: number
  /** `https://host:port` for programs on this machine. */
  readonly url: string
  readonly caPem: string
  /** A client with the rights of the administrator, in process. */
  readonly client: Client
  /** A token for this machine's own agent. */
  ownToken(node: string): Promise<string>
  /** Aborts when a part of the server failed; `close` then throws why. */
  readonly failed: AbortSignal
  close(): Promise<void>
}

const as = (name: string): UserInfo => ({ name, groups: [GROUP_MASTERS, 'system:authenticated'] })

/** Starts everything; resolves when the server is ready. @throws AppError with the way out */
export async function startServer(settings: ServerSettings): Promise<RunningServer> {
  await probePathMtu()
  const paths = pathsOf(settings.dataDir)
  const clock = systemClock
  const scope = new Scope('server')
  try {
    const tight = await giveUpReserve(paths.data)
    scope.onClose(await lockDirectory(join(paths.data, 'server/lock'), 'server'))
    const bound = settings.bindAddress === '0.0.0.0' || settings.bindAddress === '::' ? undefined : settings.bindAddress
    const { store: opened, records: shared, upkeep } = await openServerStore(settings.store, paths.store, clock)
    scope.onClose(() => opened[Symbol.asyncDispose]())
    if (shared) await shareIdentity(paths.data, shared, settings.clusterTokenFile)
    const store = shared ? await sealed(opened, keysInStore(shared, paths.data), settings.store.encrypted ?? []) : opened
    const loadIdentity = (): Promise<ServerIdentity> => loadServerIdentity(paths.data, serverSans([...settings.advertise, ...(bound ? [bound] : [])]))
    let identity = await loadIdentity()
    const tokenKey = (): ServiceAccountKey => ({ ...identity.serviceAccount, ...settings.tokens })
    const metrics = new Metrics()

    let peers: Peers | undefined
    let port = settings.port
    /** What nodes are told: the servers of one store, else all addresses of this one, so that it may lose one of them. */
    const addresses = (): readonly string[] => peers?.all() ?? settings.advertise.map((host) => urlOf(host, port))
    const hub = createHub({ clock, detectMs: settings.nodeGraceMs, servers: addresses })
    scope.onClose(() => hub[Symbol.asyncDispose]())
    const relay = { hub, peers: () => peers?.others() ?? [], credentials: () => ({ caPem: identity.caBundle, ...identity.admin }), alpn: ALPN_API_H2, path: PATHS.relay, clock }
    const podStreams = createPodStreams({ dialer: shared ? createRelay(relay) : hub })
    const api = await createApiServer({
      store,
      clock,
      metrics,
      serviceAccountKey: tokenKey(),
      rootCaPem: () => identity.caBundle,
      serviceCidr: settings.serviceCidr,
      podStreams,
      ...(await openAudit(settings.audit, paths.data, scope, clock)),
      ...(await readAdmissionConfig(settings.admissionConfig)),
      provided: usageResources({ client: () => client, streams: podStreams, clock }),
    })
    scope.onClose(() => api.close())
    const clientOf = (user: UserInfo): Client => createClient(createInProcessTransport(api.handler, user))
    const client = clientOf(as('system:skerry'))

    await applyDeviceCrds(client)
    const caches = createCaches(clientOf(as('system:skerry-controllers')), { clock })
    if (shared) peers = createPeers(client, caches, clock)
    scope.run('caches', (signal) => caches.run(signal))
    const controllersClient = clientOf(as('system:skerry-controllers'))
    const makeControllers = (): ReturnType<typeof createControllers> =>
      createControllers({
        client: controllersClient,
        caches,
        clock,
        links: hub,
        clusterCidr: settings.clusterCidr,
        caPem: () => identity.caBundle,
        sign: (request) => issue({ ca: identity.ca, ...request }),
        alone: shared === undefined,
        nodeGraceMs: settings.nodeGraceMs,
      })
    // Made at once: bad settings are told at start, and a server that waits to lead has what it needs in its caches.
    let next: ReturnType<typeof createControllers> | undefined = makeControllers()
    const lead = async (term: AbortSignal): Promise<void> => {
      await using leading = new Scope('leading', term)
      const controllers = next ?? makeControllers()
      next = undefined
      leading.run('controllers', (signal) => controllers.run(signal))
      const scheduler = createScheduler({ client: clientOf(as('system:kube-scheduler')), caches, clock, deviceSelectors: loadDeviceSelectors })
      leading.run('scheduler', (signal) => scheduler.run(signal))
      const deviceClient = clientOf(as('system:skerry-devices'))
      const recorder = createEventRecorder({ client: deviceClient, clock, component: 'device-controller' })
      leading.run('device events', (signal) => recorder.run(signal))
      const deviceController = createDeviceController({ client: deviceClient, caches, clock, recorder })
      leading.run('devices', (signal) => deviceController.run(signal))
      await leading.done()
    }
    const follow = (signal: AbortSignal): Promise<void> => createLinkControllers({ client: controllersClient, caches, clock, links: hub, nodeGraceMs: settings.nodeGraceMs }).run(signal)
    scope.run('leading', (signal) => runLeading({ client: controllersClient, clock, shared: shared !== undefined, lead, follow }, signal))

    const collector = await createCollector({ directory: join(paths.data, 'server/collector'), client, clock })
    scope.onClose(() => collector[Symbol.asyncDispose]())
    const pages = createPages({ client })
    const images = await openBlobStore(paths.images)
    const registry = registryHandler(images, shared ? imagesOfPeers(relay) : undefined)
    const nodeConfig: NodeConfig = { clusterCidr: settings.clusterCidr, serviceCidr: settings.serviceCidr, version: SKERRY_VERSION }
    const gate = new NodeGate((node, why) => hub.disconnect(node, why))
    const recordSecrets = caches.cache<Secret>(KINDS.Secret, NODE_RECORDS)
    scope.onClose(gate.follow(recordSecrets))
    await recordSecrets.synced(scope.signal)
    const records = nodeRecords(client)
    const joinServer = createJoinServer({
      tokens: tokenStore(client),
      records: {
        ...records,
        // The machine that has just joined connects at once: it is known before its record's change has come round.
        put: (record, former) => records.put(record, former).then(() => gate.take(record)),
      },
      clock,
      caPem: () => identity.caBundle,
      sign: (node, csrPem) => issueNode(identity.ca, csrPem, node),
      nodeOf: (cn) => (cn.startsWith('system:node:') ? cn.slice('system:node:'.length) : undefined),
      config: () => (addresses().length > 0 ? { ...nodeConfig, servers: addresses() } : nodeConfig),
    })
    const routes: Route[] = [
      { prefix: PATHS.cacerts, auth: 'optional', handler: (req, res) => joinServer.cacerts(req, res) },
      { prefix: PATHS.join, auth: 'optional', handler: (req, res) => joinServer.join(req, res) },
      { prefix: PATHS.renew, auth: 'optional', handler: (req, res) => joinServer.renew(req, res) },
      { prefix: PATHS.compact, auth: 'required', handler: compactRoute(upkeep) },
      { prefix: PATHS.serving, auth: 'required', handler: nodeServing({ ca: () => identity.ca, client }) },
      { prefix: PATHS.collect, auth: 'required', handler: (req, res, context) => collector.handle(req, res, context) },
      { prefix: PATHS.pages, auth: 'optional', handler: (req, res, context) => pages(req, res, context) },
      { prefix: PATHS.registry, auth: 'required', handler: (req, res, context) => (mayPull(context.user) ? registry(req, res) : refuse(res, 'pull images from the server: only nodes may')) },
      { prefix: PATHS.relay, auth: 'required', handler: (req, res, { user, path }) => (user?.groups.includes(GROUP_MASTERS) ? relayTo(hub, decodeURIComponent(path.slice(PATHS.relay.length)), req as RelayIn, res as RelayOut) : refuse(res, 'pass on a stream to a node: only servers may')) },
      ...installRoutes(paths.data),
    ]
    const listener = await listen({
      port: settings.port,
      bindAddress: settings.bindAddress,
      key: identity.serving.keyPem,
      cert: identity.serving.certPem,
      ca: identity.caBundle,
      api,
      routes,
      refuseNode: (node, keyHash) => gate.refusal(node, keyHash),
      onLink(socket, node, keyHash) {
        gate.linked(node, keyHash)
        hub.accept(socket, node)
      },
    })
    scope.onClose(() => listener.close())
    port = listener.port
    if (peers) {
      const announced = peers
      await announced.identify(digestOf(identity))
      await announced.announce(peerUrl(settings.advertise, bound, listener.port))
      scope.onClose(() => announced.leave())
      scope.onClose(announced.onChange(() => hub.tellServers()))
      scope.run('peers', (signal) => announced.run(signal))
    }

    const url = urlOf(bound ?? settings.advertise[0] ?? '127.0.0.1', listener.port)
    const writeAccess = async (): Promise<void> => {
      const kubeconfig = formatKubeconfig({ server: url, caPem: identity.caBundle, certPem: identity.admin.certPem, keyPem: identity.admin.keyPem })
      await writeFileAtomic(paths.adminKubeconfig, kubeconfig)
      if (settings.writeKubeconfig !== undefined) await writeFileAtomic(settings.writeKubeconfig, kubeconfig)
      await ensureNodeToken(client, paths.nodeToken, identity.ca.certPem)
    }
    await writeAccess()
    const use = async (next: ServerIdentity): Promise<void> => {
      identity = next
      listener.setCertificate({ key: next.serving.keyPem, cert: next.serving.certPem, ca: next.caBundle })
      await api.setServiceAccountKey(tokenKey())
      await writeAccess()
      await publishRootCa(client, next.caBundle)
      await peers?.identify(digestOf(next))
      // Nodes look whether it is the CA that changed.
      hub.tellServers()
    }
    const together = shared && peers ? { sync: () => rotateShared({ dataDir: paths.data, records: shared, current: () => identity, others: peers.identities }), onNews: onEither(peers.onIdentity, (fn) => shared.onRecord(fn)) } : {}
    scope.run('identity', (signal) => keepIdentity({ dataDir: paths.data, clock, load: loadIdentity, current: () => identity, use, ...together }, signal))
    // Before anybody's write takes what the next start needs.
    if (tight) await takeReserve(paths.data)
    scope.run('reserve', (signal) => keepReserve(paths.data, clock, signal))
    log.info('ready', { url, kubeconfig: paths.adminKubeconfig, caHash: caHash(identity.ca.certPem).slice(0, 16) })

    return {
      port: listener.port,
      url,
      caPem: identity.caBundle,
      client,
      async ownToken(node) {
        const token = await createToken(client, { node, ttlSeconds: 600, description: "the server's own node" })
        return formatToken({ id: token.id, secret: token.secret, caHash: caHash(identity.ca.certPem) })
      },
      failed: scope.signal,
      close: () => scope.close(),
    }
  } catch (error) {
    await scope.close().catch(() => {}) // The first failure is the one to tell.
    const { code = '' } = error as NodeJS.ErrnoException
    if (!NO_ROOM.has(code)) throw error
    throw new AppError('full', `start server: the file system of "${paths.data}" takes no more (${code}): what is stored is whole; free disk space and start again`, { cause: error })
  }
}

/** A disk that refuses to be written. */
const NO_ROOM = new Set(['ENOSPC', 'EDQUOT', 'EROFS'])

/** Listens to both. */
function onEither(...sources: readonly ((fn: () => void) => () => void)[]): (fn: () => void) => () => void {
  return (fn) => {
    const stops = sources.map((on) => on(fn))
    return () => stops.forEach((stop) => stop())
  }
}

function mayPull(user: UserInfo | undefined): boolean {
  return user !== undefined && (user.groups.includes('system:nodes') || user.groups.includes(GROUP_MASTERS)) && user.name !== nodeUser('').name
}

function refuse(res: unknown, message: string): void {
  const out = res as ServerResponse<IncomingMessage>
  out.writeHead(403, { 'content-type': 'application/json' })
  out.end(JSON.stringify({ errors: [{ code: 'DENIED', message }] }))
}

/** A reusable token that never expires, in a file, for those used to K3s. A token revoked by hand is made anew only if its file is removed. */
async function ensureNodeToken(client: Client, path: string, caPem: string): Promise<void> {
  const hash = caHash(caPem)
  try {
    const known = parseToken((await readFile(path, 'utf8')).trim())
    // The CA is another: the token is good, but it must name whom to trust.
    if (known.caHash !== hash) await writeFileAtomic(path, `${formatToken({ id: known.id, secret: known.secret, caHash: hash })}\n`)
    return
  } catch (error) {
    // What somebody else put there is theirs.
    if (hasCode(error, 'invalid')) return
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const token = await createToken(client, { ttlSeconds: 0, description: 'node-token file of the server' })
  await writeFileAtomic(path, `${formatToken({ id: token.id, secret: token.secret, caHash: hash })}\n`)
}

/** Tells pods of all namespaces whom to trust from now on; their controller has the same text. */
async function publishRootCa(client: Client, caPem: string): Promise<void> {
  const maps = client.resource<ConfigMap>(KINDS.ConfigMap)
  for (const { metadata, data } of (await maps.list({ fieldSelector: 'metadata.name=kube-root-ca.crt' })).items) {
    if (data?.['ca.crt'] !== caPem) await maps.patch('kube-root-ca.crt', metadata?.namespace, { data: { 'ca.crt': caPem } }, 'merge')
  }
}
