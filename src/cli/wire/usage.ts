/**
 * `metrics.k8s.io`: what nodes and pods use, for `kubectl top`. Asked from the nodes over their links when somebody asks;
 * answers are shared for {@link SHARED_MS}. A node that is not linked, or does not answer in {@link ANSWER_MS}, has no figures.
 */
import type { Node, Pod } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import type { KubeObject } from '../../api/meta.ts'
import { row } from '../../api/resource.ts'
import { parseFieldSelector } from '../../api/selectors.ts'
import { notFound } from '../../api/status.ts'
import type { PodStreams, ProvidedResource } from '../../apiserver/mod.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { bodyText, type Client } from '../../client/mod.ts'

const log = logger('server.usage')
const SHARED_MS = 10_000
const ANSWER_MS = 6_000
/** Nodes asked at one time. */
const PARALLEL = 16

interface Usage {
  readonly cpu: { readonly time: string; readonly usageNanoCores: number }
  readonly memory: { readonly workingSetBytes: number }
}

/** The part of a node's `/stats/summary` that is used here. */
export interface NodeSummary {
  readonly node: Usage
  readonly pods: readonly { readonly podRef: { readonly name: string; readonly namespace: string }; readonly containers: readonly (Usage & { readonly name: string })[]; readonly cpu: { readonly time: string } }[]
  readonly windowMs: number
}

const custom = { crd: '', storageVersion: 'v1beta1', schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } as const
const NODE_METRICS = { ...row('metrics.k8s.io/v1beta1', 'NodeMetrics', 'nodes', { cluster: true, served: 'virtual', verbs: ['get', 'list'] }), singular: '', custom }
const POD_METRICS = { ...row('metrics.k8s.io/v1beta1', 'PodMetrics', 'pods', { served: 'virtual', verbs: ['get', 'list'] }), singular: '', custom }

const amounts = (u: Usage): object => ({ cpu: `${u.cpu.usageNanoCores}n`, memory: `${Math.round(u.memory.workingSetBytes / 1024)}Ki` })
const windowText = (ms: number): string => `${(ms / 1000).toFixed(3)}s`

/** A node's figures as the API tells them; pure. */
export function nodeMetrics(node: Readonly<Node>, summary: NodeSummary): KubeObject {
  const { name = '', labels } = node.metadata ?? {}
  const time = summary.node.cpu.time
  return { kind: 'NodeMetrics', apiVersion: 'metrics.k8s.io/v1beta1', metadata: { name, creationTimestamp: time, ...(labels ? { labels } : {}) }, timestamp: time, window: windowText(summary.windowMs), usage: amounts(summary.node) } as KubeObject
}

/** A pod's figures as the API tells them; undefined when its node tells none. Pure. */
export function podMetrics(pod: Readonly<Pod>, summary: NodeSummary | undefined): KubeObject | undefined {
  const { name = '', namespace = '', labels } = pod.metadata ?? {}
  const found = summary?.pods.find((p) => p.podRef.name === name && p.podRef.namespace === namespace)
  if (!found || !summary) return undefined
  const time = found.cpu.time
  return {
    kind: 'PodMetrics',
    apiVersion: 'metrics.k8s.io/v1beta1',
    metadata: { name, namespace, creationTimestamp: time, ...(labels ? { labels } : {}) },
    timestamp: time,
    window: windowText(summary.windowMs),
    containers: found.containers.map((c) => ({ name: c.name, usage: amounts(c) })),
  } as KubeObject
}

export interface UsageOptions {
  /** Lists nodes and pods; given after the API server is made, as that is made of this too. */
  readonly client: () => Client
  readonly streams: Pick<PodStreams, 'nodePage'>
  readonly clock: Clock
}

/** The two resources, for `createApiServer`. */
export function usageResources(options: UsageOptions): ProvidedResource[] {
  const { client, clock } = options
  const shared = new Map<string, { at: number; summary: Promise<NodeSummary | undefined> }>()
  const summaryOf = (node: string): Promise<NodeSummary | undefined> => {
    const now = clock.monotonic()
    for (const [name, { at }] of shared) if (now - at > SHARED_MS) shared.delete(name)
    let entry = shared.get(node)
    if (!entry) shared.set(node, (entry = { at: now, summary: ask(options, node) }))
    return entry.summary
  }
  const summaries = async (nodes: readonly string[]): Promise<Map<string, NodeSummary | undefined>> => {
    const found = new Map<string, NodeSummary | undefined>()
    const queue = [...new Set(nodes)]
    const lane = async (): Promise<void> => {
      for (let n = queue.shift(); n !== undefined; n = queue.shift()) found.set(n, await summaryOf(n))
    }
    await Promise.all(Array.from({ length: PARALLEL }, lane))
    return found
  }
  const named = (selector: string | undefined): string | undefined => parseFieldSelector(selector ?? '').find((f) => f.equal && f.field === 'metadata.name')?.value
  return [
    {
      def: NODE_METRICS,
      async get(name) {
        const summary = await summaryOf(name)
        if (!summary) throw notFound(NODE_METRICS, name)
        return nodeMetrics(await client().resource<Node>(KINDS.Node).get(name), summary)
      },
      async list({ labelSelector, fieldSelector }) {
        const only = named(fieldSelector)
        const { items } = await client().resource<Node>(KINDS.Node).list(labelSelector === undefined ? {} : { labelSelector })
        const nodes = items.filter((n) => only === undefined || n.metadata?.name === only)
        const found = await summaries(nodes.map((n) => n.metadata?.name ?? ''))
        return nodes.flatMap((n) => {
          const summary = found.get(n.metadata?.name ?? '')
          return summary ? [nodeMetrics(n, summary)] : []
        })
      },
    },
    {
      def: POD_METRICS,
      async get(name, namespace) {
        const pod = await client().resource<Pod>(KINDS.Pod).get(name, namespace)
        const node = pod.spec?.nodeName
        const made = podMetrics(pod, node === undefined ? undefined : await summaryOf(node))
        if (!made) throw notFound(POD_METRICS, `${namespace}/${name}`)
        return made
      },
      async list({ namespace, labelSelector, fieldSelector }) {
        const query = { ...(namespace === undefined ? {} : { namespace }), ...(labelSelector === undefined ? {} : { labelSelector }), ...(fieldSelector === undefined ? {} : { fieldSelector }) }
        const bound = (await client().resource<Pod>(KINDS.Pod).list(query)).items.filter((p) => p.spec?.nodeName !== undefined)
        const found = await summaries(bound.map((p) => p.spec?.nodeName ?? ''))
        return bound.flatMap((p) => podMetrics(p, found.get(p.spec?.nodeName ?? '')) ?? [])
      },
    },
  ]
}

async function ask({ streams, clock }: UsageOptions, node: string): Promise<NodeSummary | undefined> {
  const stop = new AbortController()
  const timer = clock.timer('node usage', ANSWER_MS, () => stop.abort(new AppError('timeout', `ask node "${node}" for its figures: no answer within ${ANSWER_MS / 1000} s`)))
  try {
    const { body } = await streams.nodePage(node, '/stats/summary', stop.signal)
    const summary = JSON.parse(typeof body === 'string' ? body : await bodyText(body)) as Partial<NodeSummary>
    return summary.node && Array.isArray(summary.pods) ? (summary as NodeSummary) : undefined
  } catch (error) {
    log.debug('a node gives no figures', { node, why: messageOf(error) })
    return undefined
  } finally {
    timer.cancel()
  }
}
