/**
 * The node agent: composes its parts and runs them. Boot is local first: runtime, then pods from what the node last knew,
 * then whatever the server says. Stopping the agent leaves every container running; the next agent adopts them.
 * Long because: it is the one place where all parts meet.
 */
import { mkdir } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import type { Node, Pod, Service } from '../api/gen/types.ts'
import { ANN_LOCAL_PATH } from '../api/volumes.ts'
import type { KubeObject } from '../api/meta.ts'
import { hasCode, messageOf } from '../base/errors.ts'
import { Metrics } from '../base/metrics.ts'
import { Scope } from '../base/scope.ts'
import type { NodeHandler } from '../base/stream.ts'
import { createEventRecorder, type ResourceRef } from '../client/mod.ts'
import type { RuntimeFeatures } from '../cri/mod.ts'
import { PAUSE_IMAGE } from './containerd/pause.ts'
import { NodeDevices } from './dra/node-devices.ts'
import { ImageCollector } from './image-gc.ts'
import { Images } from './images.ts'
import { Objects } from './objects.ts'
import { Cgroups } from './node/cgroups.ts'
import { refusedUnder } from './node/eviction.ts'
import { Evictor } from './node/evictor.ts'
import { readAbilities, readFacts } from './node/facts.ts'
import { KnownImages } from './node/known-images.ts'
import { kubeletSettings } from './node/kubelet-settings.ts'
import { watchMemory } from './node/memory-watch.ts'
import { NodeObject } from './node/node.ts'
import { GoingDown, NODE_SHUTDOWN, SHUTTING_DOWN } from './node/shutdown.ts'
import type { PodContext } from './pods/context.ts'
import { hostDns } from './pods/dns.ts'
import { endMessage } from './pods/end-message.ts'
import { cannotGrow } from './pods/fit.ts'
import { Pods } from './pods/manager.ts'
import { containersOf, isTerminal, uidOf } from './pods/names.ts'
import { Places } from './pods/places.ts'
import { latest } from './pods/planner.ts'
import { admission, PREEMPTED } from './pods/preemption.ts'
import { Probes } from './pods/probes.ts'
import { amount } from './pods/quantities.ts'
import { serviceEnv } from './pods/service-env.ts'
import { StatusWriter } from './pods/status-writer.ts'
import { UserNamespaces } from './pods/user-namespaces.ts'
import { RuntimeView } from './pods/view.ts'
import type { AgentOptions, NodeFacts } from './ports.ts'
import { NODES, PODS, SERVICES } from './refs.ts'
import { lookAtMachine, resourceMetrics, Stats, type Running } from './stats/summary.ts'
import type { PodPlaces } from './stats/whole.ts'
import { StaticPods } from './static/static-pods.ts'
import { createHandler } from './streams/handler.ts'
import { runLogRotation } from './streams/log-rotation.ts'
import type { Fetch } from './volumes/claims.ts'
import { LocalPath, storageDirectory } from './volumes/local-path.ts'
import { systemMounter } from './volumes/mounter.ts'
import { Tokens } from './volumes/tokens.ts'
import { Volumes } from './volumes/volumes.ts'

/** How long a first start waits to hear of Services, ms. */
const SERVICES_WAIT_MS = 2_000
/** The kubelet's figure. */
const MAX_PODS = 110

const NO_PRESSURES = { memory: false, disk: false, pid: false }

export interface Agent {
  /** Works until the signal aborts. Pods keep running. */
  run(signal: AbortSignal): Promise<void>
  /** Answers the server over the link. */
  readonly handler: NodeHandler
  /** Resolves once the runtime has been listed and the pods of this node are known (from disk or the server). */
  readonly ready: Promise<void>
  /** The link is back: what waits to be sent is sent now. */
  kick(): void
  /** The machine goes down: all pods end, as `shutdown-grace-period` says. Resolves when they have. */
  shutDown(): Promise<void>
  /** The server has said that it has no image of this reference. */
  notOnServer(reference: string): void
  /** The pod behind an address of this node's pod network; tells local services who calls. */
  podAt(ip: string): { readonly namespace: string; readonly name: string } | undefined
  /** Whether a pod of this uid is known on this node. */
  knowsPod(uid: string): boolean
  /** A pod with its newest status, also one that could not be written to the API yet. */
  podNow(pod: Readonly<Pod>): Readonly<Pod>
  /** All pods of this node with their newest status. */
  podsNow(): readonly Readonly<Pod>[]
}

/** Makes a node agent; nothing happens before `run`. The caller runs the caches and the link. */
export function createAgent(options: AgentOptions): Agent {
  const { nodeName, client, caches, runtime, clock, dirs } = options
  const settings = options.kubelet ?? kubeletSettings()
  const events = options.events ?? createEventRecorder({ client, clock, component: 'kubelet', host: nodeName })
  const metrics = options.metrics ?? new Metrics()
  const logRoot = join(dirs.data, 'logs', 'pods')
  const pods = caches.cache<Pod>(PODS, { fieldSelector: `spec.nodeName=${nodeName}` })
  const nodes = caches.cache<Node>(NODES, { fieldSelector: `metadata.name=${nodeName}` })
  const fetch: Fetch = <T extends KubeObject>(ref: ResourceRef, namespace: string | undefined, name: string) =>
    client.resource<T>(ref).get(name, namespace).catch((error: unknown) => {
      if (hasCode(error, 'not-found')) return undefined
      throw error
    })
  const localPath = new LocalPath({ directory: storageDirectory(dirs.data), nodeName, client, caches, clock })
  const services = caches.cache<Service>(SERVICES)
  const volumes = new Volumes({ dataDir: dirs.data, runDir: dirs.run, mounter: options.mounter ?? systemMounter, clock, localPath, views: runtime.views, fetch })
  const written = new Places(volumes, logRoot)
  const tokens = new Tokens({ directory: join(dirs.data, 'tokens'), client, clock, seal: options.seal, onToken: options.onToken })
  const statuses = new StatusWriter({ client, clock, mirrorOf: (pod) => fromFiles?.mirrorOf(pod) })
  const cgroups = options.cgroupRoot === undefined ? undefined : new Cgroups(options.cgroupRoot)
  let manager: Pods | undefined
  const fromFiles =
    options.manifestDirectory === undefined
      ? undefined
      : new StaticPods({ directory: options.manifestDirectory, nodeName, client, clock, events, cache: pods, node: () => nodes.get(nodeName), onChange: (now, old) => manager?.fileChanged(now, old) })
  let runtimeMessage = ''
  let features: RuntimeFeatures | undefined
  /** The runtime has said what it can do. */
  let answered = false

  const view: RuntimeView = new RuntimeView({
    runtime,
    clock,
    onChange: (uids) => manager?.observed(uids),
    onHealth: () => node.kick(),
    endMessage: (container, uid) => {
      const s = view.pod(uid).sandboxes[0]
      return endMessage(container, volumes.podDir(uid), s ? written.logDir(s.namespace, s.name, uid) : '').catch(() => '')
    },
  })
  const runtimeVersion = async (): Promise<string> => {
    const s = await runtime.status()
    features = s.features
    answered = true
    runtimeMessage = s.ready ? '' : `container runtime not ready: ${s.message}`
    return `${s.name}://${s.version}`
  }
  let lastVersion = ''
  const machine =
    options.facts ??
    (() =>
      readFacts({
        nodeName,
        dataDir: dirs.data,
        maxPods: options.maxPods ?? MAX_PODS,
        reserved: options.reserved ?? {},
        imageDir: options.imageDirectory,
        thresholds: settings.eviction.thresholds,
        runtimeVersion: async () => (lastVersion = await runtimeVersion().catch(() => lastVersion || 'containerd://unknown')),
      }))
  const devices = new NodeDevices({
    nodeName,
    client,
    clock,
    fetch,
    rules: options.devices ?? [],
    dataDir: dirs.data,
    node: () => nodes.get(nodeName),
    isLive: (uid) => [...pods.list(), ...(fromFiles?.list() ?? [])].some((p) => p.metadata?.uid === uid && p.status?.phase !== 'Succeeded' && p.status?.phase !== 'Failed'),
  })
  const users = new UserNamespaces(dirs.data)
  const facts = async (): Promise<NodeFacts> => {
    const [{ signals, ...seen }, offered] = [await machine(), await devices.look()]
    if (!answered) await runtimeVersion().catch(() => undefined) // Away: asked again with the next look.
    const pressure = signals ? evictor.observe(signals) : seen.pressure
    relieve()
    return { ...seen, pressure, images: await known.look(), features, capacity: { ...seen.capacity, ...offered }, allocatable: { ...seen.allocatable, ...offered } }
  }
  const known = new KnownImages(runtime, clock)
  const node = new NodeObject({
    name: nodeName,
    client,
    cache: nodes,
    clock,
    events,
    network: options.network,
    labels: options.nodeLabels ?? {},
    annotations: { [ANN_LOCAL_PATH]: storageDirectory(dirs.data) },
    taints: options.nodeTaints ?? [],
    port: options.kubeletPort ?? 10250,
    facts,
    clockAheadMs: options.clockAheadMs ?? (() => 0),
    sealing: options.sealing,
    registriesFault: options.registriesFault,
    runtimeState: () => (goingDown.now ? { ok: false, message: SHUTTING_DOWN } : { ok: view.healthy && runtimeMessage === '', message: runtimeMessage || 'the container runtime does not answer' }),
    onChange: () => (manager?.nodeChanged(), devices.kick()),
  })

  const objects = new Objects({
    caches,
    sleep: (ms, signal) => clock.sleep(ms, signal),
    onChange: (kind, namespace, name) => manager?.objectChanged(kind, namespace, name),
  })
  const abilities = { ...readAbilities(), unsafeSysctls: options.unsafeSysctls ?? [] }
  const images = new Images({ runtime, clock, parallel: settings.parallelPulls, online: options.online ?? (() => true), onPulled: () => known.changed() })
  const addedEnv = (): Record<string, string> => {
    const api = options.localApi?.()
    return {
      ...(api ? { KUBERNETES_SERVICE_HOST: api.host, KUBERNETES_SERVICE_PORT: String(api.port), KUBERNETES_SERVICE_PORT_HTTPS: String(api.port) } : {}),
      ...options.podEnv?.(),
    }
  }
  const probes = new Probes({ clock })
  const context = (scope: Scope): PodContext => ({
    clock,
    scope,
    runtime,
    view,
    volumes,
    tokens,
    objects,
    images,
    devices,
    users,
    probes,
    statuses,
    events,
    cgroups,
    logDir: (...of) => written.logDir(...of),
    node: {
      hostIPs: () => node.hostIPs,
      capacity: () => node.facts?.capacity ?? {},
      allocatable: () => node.facts?.allocatable ?? {},
      networkReady: () => node.networkReady,
      inNetwork: (address) => node.inNetwork(address),
      hostDns: () => hostDns(),
      abilities: () => ({ ...abilities, runtime: features }),
      cannotGrow: (wanted) => cannotGrow(wanted, { allocatable: node.facts?.allocatable ?? {}, node: undefined, others: (manager?.occupying() ?? []).filter((p) => uidOf(p) !== uidOf(wanted)) }),
      turnAway: (pod) => {
        if (goingDown.now) return NODE_SHUTDOWN
        const pressed = refusedUnder(node.facts?.pressure ?? NO_PRESSURES, pod)
        if (pressed !== undefined) return { reason: 'Evicted', message: `Pod was rejected: ${pressed}`, refused: true }
        const found = admission(pod, { allocatable: node.facts?.allocatable ?? {}, node: nodes.get(nodeName), others: manager?.occupying() ?? [] }, manager?.leaving() ?? new Set())
        if (!found || 'reason' in found) return found
        for (const p of found) manager?.end(uidOf(p), PREEMPTED)
        return 'room-soon'
      },
      seccompDirs: [join(dirs.data, 'seccomp'), '/var/lib/kubelet/seccomp'],
      serviceEnv: async (pod) => {
        // Known from disk at boot; on a first start the pod waits for them no longer than for its configuration.
        if (!services.isSynced) await Promise.race([services.synced(scope.signal), clock.sleep(SERVICES_WAIT_MS, scope.signal)]).catch(() => undefined)
        return serviceEnv(pod, services.list())
      },
      clusterDns: () => options.clusterDns?.(),
      addedEnv,
    },
  })

  const runningNow = (): Running[] =>
      (manager?.list() ?? []).flatMap((p) => {
        const { namespace = '', name = '', uid = '' } = p.metadata ?? {}
        return view.pod(uid).containers.filter((c) => c.state === 'running').map((c) => ({ id: c.id, name: c.name, image: c.image, startedAtMs: c.startedAtMs, pod: { namespace, name, uid } }))
      })
  const stats = new Stats({ nodeName, clock, look: () => lookAtMachine(dirs.data, clock, () => runtime.containers.stats()), running: runningNow })
  const collector =
    options.imageDirectory === undefined
      ? undefined
      : new ImageCollector({
          runtime,
          clock,
          directory: options.imageDirectory,
          policy: settings.images,
          // What ended pods named nobody needs.
          named: () => [...pods.list(), ...(fromFiles?.list() ?? [])].filter((p) => !isTerminal(statuses.now(p))).flatMap((p) => [...containersOf(p).map((c) => c.spec.image ?? ''), ...(p.spec?.volumes ?? []).map((v) => v.image?.reference ?? '')]),
          onRemoved: () => known.changed(),
          pinned: () => [PAUSE_IMAGE, ...(options.pinnedImages?.() ?? [])],
          say: (reason, message) => sayOfNode(reason, message),
        })
  const sayOfNode = (reason: string, message: string): void => events.event({ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName }, 'Warning', reason, message)
  const evictor = new Evictor({
    settings: settings.eviction,
    clock,
    runtime,
    view,
    running: () => manager?.occupying() ?? [],
    end: (uid, verdict) => manager?.end(uid, verdict) === true,
    gone: (uid) => stopped(uid),
    reclaim: async () => {
      for (const pod of manager?.list() ?? []) {
        const observed = view.pod(uidOf(pod))
        const over = isTerminal(statuses.now(pod))
        for (const c of observed.containers) if (c.state === 'exited' && (over || latest(observed, c.name)?.id !== c.id)) await runtime.containers.remove(c.id)
      }
      await view.refresh()
      await collector?.look(true)
    },
    signals: async () => (await machine()).signals ?? {},
    written: (pod) => written.own(pod),
    processes: async (pod) => (await cgroups?.processes(pod)) ?? 0,
    say: sayOfNode,
  })
  const places = async (uid: string): Promise<PodPlaces | undefined> => {
    const pod = manager?.list().find((p) => uidOf(p) === uid)
    return pod && written.all(pod, pod.spec?.hostNetwork ? undefined : await cgroups?.anyProcess(pod))
  }
  /** What a look at the node demands is done beside, one thing at a time. */
  let relieve = (): void => {}
  const stopped = (uid: string): boolean => !view.pod(uid).containers.some((c) => c.state === 'running')
  const goingDown = new GoingDown({
    clock,
    ...settings.shutdown,
    running: () => manager?.occupying() ?? [],
    end: (uid, verdict) => manager?.end(uid, verdict) === true,
    gone: stopped,
    untold: () => statuses.pending,
    onChange: () => node.kick(),
  })
  const logs = (): { containerId: string; path: string }[] =>
    (manager?.list() ?? []).flatMap((p) =>
      view.pod(uidOf(p)).containers.filter((c) => c.state === 'running').map((c) => ({ containerId: c.id, path: join(written.logsOf(p), c.name, `${c.attempt}.log`) })),
    )
  let setReady: () => void = () => {}
  const ready = new Promise<void>((resolve) => (setReady = resolve))
  const running = metrics.gauge('kubelet_running_pods', 'Pods this node works on.')
  const containers = metrics.gauge('kubelet_running_containers', 'Containers of this node by state.')
  metrics.gauge('kubelet_node_name', "The node's name. The count is always 1.").set(1, { node: nodeName })
  const containerStates = (): Record<string, number> => {
    const states: Record<string, number> = { created: 0, running: 0, exited: 0, unknown: 0 }
    for (const uid of view.uids()) for (const c of view.pod(uid).containers) states[c.state] = (states[c.state] ?? 0) + 1
    return states
  }
  const pending = metrics.gauge('skerry_agent_pending_status_writes', 'Pod statuses waiting to be written to the API.')
  return {
    ready,
    handler: createHandler({
      runtime,
      view,
      clock,
      find: (namespace, name) => manager?.find(namespace, name),
      known: ready,
      logDir: (...of) => written.logDir(...of),
      hostIPs: () => node.hostIPs,
      metrics: () => {
        running.set(manager?.count ?? 0)
        for (const [state, n] of Object.entries(containerStates())) containers.set(n, { container_state: state })
        pending.set(statuses.pending)
        return metrics.text()
      },
      pages: {
        pods: () => (manager?.list() ?? []).map((p) => statuses.now(p)),
        running: runningNow,
        probes: () => probes.counts(),
        settings: () => ({ ...settings.configz, maxPods: options.maxPods ?? MAX_PODS, staticPodPath: options.manifestDirectory, allowedUnsafeSysctls: options.unsafeSysctls }),
      },
      usage: async (page) => {
        const summary = await stats.summary()
        if (page === 'resource') return resourceMetrics(summary)
        const { cadvisorPage, wholeSummary } = await import('./stats/whole.ts')
        const { cpu, memory } = node.facts?.capacity ?? {}
        return page === 'summary' ? JSON.stringify(await wholeSummary(summary, places)) : await cadvisorPage(summary, runningNow(), { cores: amount(cpu), memory: amount(memory) }, places, cgroups)
      },
    }),
    kick() {
      statuses.kick()
      node.kick()
      devices.kick()
      tokens.linkBack()
      manager?.linkBack()
      fromFiles?.kick()
    },
    shutDown: () => goingDown.begin(),
    notOnServer: (reference) => images.notOnServer(reference),
    podAt(ip) {
      for (const uid of view.uids()) {
        const sandbox = view.pod(uid).sandboxes.find((s) => s.state === 'ready' && view.ips(s.id).includes(ip))
        if (sandbox) return { namespace: sandbox.namespace, name: sandbox.name }
      }
      return undefined
    },
    knowsPod: (uid) => pods.list().some((p) => p.metadata?.uid === uid),
    podNow: (pod) => statuses.now(pod),
    podsNow: () => pods.list().map((p) => statuses.now(p)),
    async run(signal) {
      const scope = new Scope('agent', signal)
      try {
        for (const dir of [logRoot, dirs.run]) await mkdir(dir, { recursive: true, mode: 0o755 })
        await cgroups?.ensureTree().catch((error: unknown) => {
          events.event({ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName }, 'Warning', 'CgroupSetupFailed', messageOf(error))
        })
        await localPath.start(scope)
        await devices.start()
        await node.look()
        const made = new Pods({ context: context(scope), cache: pods, network: options.network, logRoot, fromFiles })
        manager = made
        goingDown.attach(scope)
        if (options.logind && settings.shutdown.graceMs > 0) {
          const { followLogind } = await import('./node/logind.ts')
          scope.run('logind', (s) => followLogind({ clock, graceMs: settings.shutdown.graceMs, down: () => goingDown.begin(), up: () => goingDown.cancel(), say: sayOfNode, ...options.logind }, s))
        }
        let relieving = false
        relieve = () => {
          if (relieving) return
          relieving = true
          scope.run('eviction', (s) => evictor.act(s).finally(() => (relieving = false)))
        }
        const passed = (): void => void node.look().then(() => node.kick(), () => undefined) // Not read: the next look says why.
        if (!options.facts) scope.run('memory', (s) => watchMemory({ clock, thresholds: settings.eviction.thresholds, capacity: totalmem, onPassed: passed }, s))
        scope.run('view', (s) => view.run(s))
        scope.run('status', (s) => statuses.run(s))
        if (!options.events) scope.run('events', (s) => events.run(s))
        scope.run('node', (s) => node.run(s))
        scope.run('devices', (s) => devices.run(s))
        scope.run('pods', (s) => made.run(s))
        if (fromFiles) scope.run('static pods', (s) => fromFiles.run(s))
        if (collector) {
          scope.run('images', async (s) => {
            // Before the pods are known nobody could say what they name.
            await pods.synced(s)
            await collector.run(s)
          })
        }
        scope.run('logs', (s) => runLogRotation({ clock, logs, reopen: (id) => runtime.containers.reopenLog(id), maxBytes: settings.logMaxBytes, maxFiles: settings.logMaxFiles }, s))
        void Promise.all([pods.synced(scope.signal), view.firstList]).then(setReady, () => undefined) // stopped before it was ready
        await scope.done()
      } finally {
        await scope.close()
      }
    },
  }
}
