/**
 * Pages of a kubelet that people and tools ask a node for by its proxy: `/pods`, `/runningpods`, `/configz`, `/metrics/probes`. Made when
 * asked for, in the kubelet's forms; pure.
 */
import type { Pod } from '../../api/gen/types.ts'
import type { ProbeCount } from '../pods/probes.ts'
import type { Running } from '../stats/summary.ts'

export interface PageSources {
  /** Pods of this node with their newest status. */
  readonly pods: () => readonly Readonly<Pod>[]
  readonly running: () => readonly Running[]
  readonly probes: () => readonly ProbeCount[]
  /** The settings in force, as a KubeletConfiguration has them. */
  readonly settings: () => Readonly<Record<string, unknown>>
}

export interface Page {
  readonly contentType: string
  readonly body: string
}

const json = (value: object): Page => ({ contentType: 'application/json', body: JSON.stringify(value) })
const podList = (items: readonly object[]): Page => json({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items })

const PAGES: Readonly<Record<string, (from: PageSources) => Page>> = {
  '/pods': ({ pods }) => podList(pods()),
  '/runningpods': ({ running }) => podList(runningPods(running())),
  '/configz': ({ settings }) => json({ kubeletconfig: { ...settings(), kind: 'KubeletConfiguration', apiVersion: 'kubelet.config.k8s.io/v1beta1' } }),
  '/metrics/probes': ({ probes }) => ({ contentType: 'text/plain; version=0.0.4', body: probeText(probes()) }),
}

/** The page at a path; undefined when there is none. */
export function kubeletPage(path: string, from: PageSources): Page | undefined {
  return PAGES[path.replace(/(?<=.)\/$/, '')]?.(from)
}

/** What the runtime runs, by pod. */
function runningPods(running: readonly Running[]): object[] {
  const pods = new Map<string, { metadata: object; spec: { containers: object[] }; status: object }>()
  for (const { pod: { namespace, name, uid }, name: container, image } of running) {
    const pod = pods.get(uid) ?? { metadata: { name, namespace, uid, creationTimestamp: null }, spec: { containers: [] }, status: {} }
    pod.spec.containers.push({ name: container, image, resources: {} })
    pods.set(uid, pod)
  }
  return [...pods.values()]
}

const quoted = (text: string): string => JSON.stringify(text)

function probeText(counts: readonly ProbeCount[]): string {
  const lines = counts.flatMap(({ container, pod, kind, results }) =>
    Object.entries(results).map(([result, n]) => {
      const labels = { container, namespace: pod.namespace, pod: pod.name, pod_uid: pod.uid, probe_type: `${kind[0]?.toUpperCase()}${kind.slice(1)}`, result }
      return `prober_probe_total{${Object.entries(labels).map(([k, v]) => `${k}=${quoted(v)}`).join(',')}} ${n}`
    }),
  )
  return ['# HELP prober_probe_total Cumulative number of a liveness, readiness or startup probe for a container by result.', '# TYPE prober_probe_total counter', ...lines, ''].join('\n')
}
