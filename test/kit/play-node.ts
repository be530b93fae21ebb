/**
 * Plays a node for tests of everything above the agent: registers, reports its pods running and ready, confirms their end.
 * While cut off it says nothing, as a real one cannot. Tests of the node itself use the real agent.
 */
import type { Node, Pod } from '../../src/api/gen/types.ts'
import { KINDS } from '../../src/api/kinds.ts'
import { nodeUser, type ApiHandler } from '../../src/api/contract.ts'
import { createCaches, createClient, createInProcessTransport, splitKey, type Transport } from '../../src/client/mod.ts'
import type { Clock } from '../../src/base/clock.ts'
import { AppError, isAbort } from '../../src/base/errors.ts'
import { createController, kubeTime, watchObjects } from '../../src/control/mod.ts'
import type { TestLinks } from './links.ts'

export interface PlayNodeOptions {
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
  readonly allocatable?: Readonly<Record<string, string>>
  /** Images whose pods never become ready. */
  readonly broken?: readonly string[]
  /** Images whose pods end well at once. */
  readonly ending?: readonly string[]
}

export class PlayNode {
  readonly name: string
  readonly #options: PlayNodeOptions
  readonly #links: TestLinks
  readonly #clock: Clock
  readonly #transport: Transport
  #away = false

  constructor(options: PlayNodeOptions, handler: ApiHandler, links: TestLinks, clock: Clock) {
    this.name = options.name
    this.#options = options
    this.#links = links
    this.#clock = clock
    const inner = createInProcessTransport(handler, nodeUser(options.name))
    this.#transport = {
      request: async (request, signal) => {
        if (this.#away) throw new AppError('unavailable', `${request.method} ${request.path}: the node is cut off`)
        return await inner.request(request, signal)
      },
    }
  }

  /** Takes the link away; the node's pods go on, but nothing is reported or heard. */
  cut(): void {
    this.#away = true
    this.#links.cut(this.name)
  }

  restore(): void {
    this.#away = false
    this.#links.connect(this.name)
  }

  async run(signal: AbortSignal): Promise<void> {
    const client = createClient(this.#transport)
    const now = (): string => kubeTime(this.#clock.now())
    const nodes = client.resource<Node>(KINDS.Node)
    const { labels = {}, allocatable = { cpu: '4', memory: '8Gi', pods: '110' } } = this.#options
    const conditions = [{ type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'test node', lastTransitionTime: now() }]
    const metadata = { name: this.name, labels: { 'kubernetes.io/hostname': this.name, ...labels } }
    await nodes.create({ metadata, spec: {} })
    const nodeInfo = { kubeletVersion: 'v1.35.0', osImage: 'Test', kernelVersion: '6.0', containerRuntimeVersion: 'test://1', operatingSystem: 'linux', architecture: 'amd64' }
    const addresses = [{ type: 'InternalIP', address: '10.0.0.1' }, { type: 'Hostname', address: this.name }]
    await nodes.patch(this.name, undefined, { status: { conditions, allocatable, capacity: allocatable, nodeInfo, addresses } }, 'merge', { subresource: 'status' })
    this.#links.connect(this.name)

    const caches = createCaches(client, { clock: this.#clock, schedule: { firstMs: 10, factor: 1, maxMs: 10, jitter: 0 } })
    const pods = caches.cache<Pod>(KINDS.Pod, { fieldSelector: `spec.nodeName=${this.name}` })
    const api = client.resource<Pod>(KINDS.Pod)
    const reconcile = async (key: string): Promise<{ requeueAfterMs: number } | void> => {
      if (this.#away) return { requeueAfterMs: 500 }
      const { namespace, name } = splitKey(key)
      const pod = pods.get(name, namespace)
      if (!pod) return
      if (pod.metadata?.deletionTimestamp !== undefined) {
        return await api.delete(name, namespace, { gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid ?? '' } })
      }
      const image = pod.spec?.containers[0]?.image ?? ''
      const up = this.#options.broken?.includes(image) === true ? 'False' : 'True'
      if (pod.status?.phase === 'Running' && pod.status.conditions?.some((c) => c.type === 'Ready' && c.status === up)) return
      const ended = this.#options.ending?.includes(image) === true
      if (ended && pod.status?.phase === 'Succeeded') return
      const types = ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled']
      const ready = types.map((type) => ({ type, status: type.endsWith('Ready') ? up : 'True', lastTransitionTime: now() }))
      const state = ended ? { terminated: { exitCode: 0, reason: 'Completed', startedAt: now(), finishedAt: now() } } : { running: { startedAt: now() } }
      const containerStatuses = pod.spec?.containers.map((c) => ({ name: c.name, image: c.image ?? '', imageID: `test:${c.image}`, containerID: `test://${c.name}`, ready: !ended && up === 'True', started: !ended, restartCount: 0, state }))
      const status = { phase: ended ? 'Succeeded' : 'Running', startTime: now(), podIP: '10.42.0.9', podIPs: [{ ip: '10.42.0.9' }], hostIP: '10.0.0.1', conditions: ready, containerStatuses }
      await api.patch(name, namespace, { status }, 'strategic', { subresource: 'status' })
    }
    const schedule = { firstMs: 10, factor: 1, maxMs: 10, jitter: 0 }
    const kubelet = createController({ name: `node ${this.name}`, clock: this.#clock, sources: [watchObjects(pods)], caches: [pods], reconcile, schedule })
    try {
      await Promise.all([caches.run(signal), kubelet.run(signal)])
    } catch (error) {
      if (!isAbort(error)) throw error
    }
  }
}
