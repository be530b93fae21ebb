/**
 * What is allowed but surely not meant, or no longer does anything: texts for `Warning` headers, in Kubernetes' words. They are
 * given for objects that may still be refused, so nothing here takes a field for granted.
 */
import type {
  Container, ContainerPort, CronJob, Deployment, Job, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod, PodSpec, PodTemplateSpec, Service, ServiceAccount, Volume,
} from '../gen/types.ts'
import type { ObjectMeta } from '../meta.ts'
import { dnsLabelErrors } from '../names.ts'
import { ON_DISCONNECT, onDisconnectWarning, replacingOf, type Replacing } from '../on-disconnect.ts'
import { tryParseQuantity } from '../quantity.ts'
import { allContainers } from './security.ts'

/** Labels that nodes should no longer be chosen by. */
const OLD_LABELS: Readonly<Record<string, string>> = {
  'beta.kubernetes.io/arch': 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  'beta.kubernetes.io/os': 'deprecated since v1.14; use "kubernetes.io/os" instead',
  'failure-domain.beta.kubernetes.io/region': 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  'failure-domain.beta.kubernetes.io/zone': 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
  'beta.kubernetes.io/instance-type': 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
const OLD_ANNOTATIONS: Readonly<Record<string, string>> = {
  'scheduler.alpha.kubernetes.io/critical-pod': 'non-functional in v1.16+; use the "priorityClassName" field instead',
  'security.alpha.kubernetes.io/sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
  'security.alpha.kubernetes.io/unsafe-sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
}
const OLD_VOLUMES: readonly (readonly [key: keyof Volume, told: string, text: string])[] = [
  ['photonPersistentDisk', 'photonPersistentDisk', 'deprecated in v1.11, non-functional in v1.16+'],
  ['gitRepo', 'gitRepo', 'deprecated in v1.11, and disabled by default in v1.33+'],
  ['scaleIO', 'scaleIO', 'deprecated in v1.16, non-functional in v1.22+'],
  ['flocker', 'flocker', 'deprecated in v1.22, non-functional in v1.25+'],
  ['storageos', 'storageOS', 'deprecated in v1.22, non-functional in v1.25+'],
  ['quobyte', 'quobyte', 'deprecated in v1.22, non-functional in v1.25+'],
  ['glusterfs', 'glusterfs', 'deprecated in v1.25, non-functional in v1.26+'],
  ['cephfs', 'cephfs', 'deprecated in v1.28, non-functional in v1.31+'],
  ['rbd', 'rbd', 'deprecated in v1.28, non-functional in v1.31+'],
]
const NO_SELECTOR = 'a null labelSelector results in matching no pod'

/** A pod, when it is created or its content changes. */
export const podWarnings = (pod: Pod, old?: Pod): string[] => [...(old ? [] : nameWarning(pod.metadata, "the Pod's hostname")), ...ofSpec('', pod.spec, pod.metadata, replacingOf(pod.metadata?.ownerReferences))]

/** A name that cannot be a host's; told once, on creation. */
function nameWarning(meta: ObjectMeta | undefined, use = 'Pod names and hostnames'): string[] {
  const wrong = dnsLabelErrors(meta?.name ?? '')
  return wrong.length === 0 ? [] : [`metadata.name: this is used in ${use}, which can result in surprising behavior; a DNS label is recommended: [${wrong.join(' ')}]`]
}

/** The template of a workload, at `spec.template` unless told. */
export const templateWarnings = (o: { readonly spec?: { readonly template?: PodTemplateSpec } }): string[] => ofTemplate('spec.template', o.spec?.template, 'once gone')
/** Of what has a pod on each node. */
export const nodeTemplateWarnings = (o: { readonly spec?: { readonly template?: PodTemplateSpec } }): string[] => ofTemplate('spec.template', o.spec?.template, 'never')
/** The same of what pods are named after. */
export const namedTemplateWarnings = (o: Deployment, old?: Deployment): string[] => [
  ...(old ? [] : nameWarning(o.metadata)),
  ...(o.metadata?.annotations?.[ON_DISCONNECT] === undefined || o.spec?.template?.metadata?.annotations?.[ON_DISCONNECT] !== undefined
    ? []
    : [`metadata.annotations[${ON_DISCONNECT}]: has no effect here; it belongs to the pods, in spec.template.metadata.annotations`]),
  ...ofTemplate('spec.template', o.spec?.template, 'beside'),
]
export const podTemplateWarnings = (o: { readonly template?: PodTemplateSpec }): string[] => ofTemplate('template', o.template, 'beside')

function ofTemplate(path: string, template: PodTemplateSpec | undefined, how: Replacing): string[] {
  return ofSpec(`${path}.`, template?.spec, template?.metadata, how)
}

/** Everything of one pod spec; `prefix` is empty or ends with a dot, `how` as in `onDisconnectWarning`. */
function ofSpec(prefix: string, spec: PodSpec | undefined, meta: ObjectMeta | undefined, how: Replacing): string[] {
  if (!spec) return []
  const path = `${prefix}spec`
  const all = allContainers(spec, path)
  const policy = onDisconnectWarning(meta?.annotations?.[ON_DISCONNECT], how)
  return [
    ...placement(path, spec),
    ...(policy === undefined ? [] : [`${prefix}metadata.annotations[${ON_DISCONNECT}]: ${policy}`]),
    ...Object.keys(meta?.annotations ?? {}).flatMap((k) => (OLD_ANNOTATIONS[k] === undefined ? [] : [`${prefix}metadata.annotations[${k}]: ${OLD_ANNOTATIONS[k]}`])),
    ...(spec.volumes ?? []).flatMap((v, i) =>
      OLD_VOLUMES.flatMap(([key, told, text]) => (v[key] === undefined ? [] : [`${path}.volumes[${i}].${told}: ${text}`])),
    ),
    ...twice(spec.hostAliases ?? [], (h) => h.ip).map(([i, ip]) => `${path}.hostAliases[${i}].ip: duplicate ip ${JSON.stringify(ip)}`),
    ...twice(spec.imagePullSecrets ?? [], (s) => s.name ?? '').map(([i, name]) => `${path}.imagePullSecrets[${i}].name: duplicate name ${JSON.stringify(name)}`),
    ...(spec.imagePullSecrets ?? []).flatMap((s, i) => (s.name ? [] : [`${path}.imagePullSecrets[${i}].name: invalid empty name ""`])),
    ...fractions(`${path}.overhead`, spec.overhead),
    ...all.flatMap(([c, at]) => [...fractions(`${at}.resources.limits`, c.resources?.limits), ...fractions(`${at}.resources.requests`, c.resources?.requests), ...hidden(at, c)]),
    ...portClashes(all),
    ...((spec.terminationGracePeriodSeconds ?? 0) < 0
      ? [`${path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`]
      : []),
  ]
}

function placement(path: string, spec: PodSpec): string[] {
  const node = spec.affinity?.nodeAffinity
  const terms: [NodeSelectorTerm, string][] = [
    ...(node?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? []).map((t, i): [NodeSelectorTerm, string] => [
      t, `${path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[${i}]`,
    ]),
    ...(node?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((t, i): [NodeSelectorTerm, string] => [
      t.preference ?? {}, `${path}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[${i}].preference`,
    ]),
  ]
  return [
    ...Object.keys(spec.nodeSelector ?? {}).flatMap((k) => (OLD_LABELS[k] === undefined ? [] : [`${path}.nodeSelector[${k}]: ${OLD_LABELS[k]}`])),
    ...terms.flatMap(([t, at]) =>
      (t.matchExpressions ?? []).flatMap((r, i) => (OLD_LABELS[r.key] === undefined ? [] : [`${at}.matchExpressions[${i}].key: ${r.key} is ${OLD_LABELS[r.key]}`])),
    ),
    ...(spec.topologySpreadConstraints ?? []).flatMap((c, i) => {
      const at = `${path}.topologySpreadConstraints[${i}]`
      return [
        ...(OLD_LABELS[c.topologyKey] === undefined ? [] : [`${at}.topologyKey: ${c.topologyKey} is ${OLD_LABELS[c.topologyKey]}`]),
        ...(c.labelSelector ? [] : [`${at}.labelSelector: ${NO_SELECTOR}`]),
      ]
    }),
    ...(['podAffinity', 'podAntiAffinity'] as const).flatMap((which) => [
      ...(spec.affinity?.[which]?.requiredDuringSchedulingIgnoredDuringExecution ?? []).flatMap((t, i) =>
        t.labelSelector ? [] : [`${path}.affinity.${which}.requiredDuringSchedulingIgnoredDuringExecution[${i}].labelSelector: ${NO_SELECTOR}`],
      ),
      ...(spec.affinity?.[which]?.preferredDuringSchedulingIgnoredDuringExecution ?? []).flatMap((t, i) =>
        t.podAffinityTerm?.labelSelector ? [] : [`${path}.affinity.${which}.preferredDuringSchedulingIgnoredDuringExecution[${i}].podAffinityTerm.labelSelector: ${NO_SELECTOR}`],
      ),
    ]),
  ]
}

/** Positions and names of what stands in a list a second time. */
function twice<T>(list: readonly T[], name: (item: T) => string): [number, string][] {
  const seen = new Set<string>()
  return list.flatMap((item, i): [number, string][] => {
    const key = name(item)
    if (seen.has(key)) return [[i, key]]
    seen.add(key)
    return []
  })
}

/** Bytes that are not whole. */
function fractions(path: string, map: Readonly<Record<string, string>> | undefined): string[] {
  return ['memory', 'ephemeral-storage'].flatMap((name) => fraction(`${path}[${name}]`, map?.[name]))
}

function fraction(path: string, text: string | undefined): string[] {
  const q = text === undefined ? undefined : tryParseQuantity(text)
  return q && q.nano % 1_000_000_000n !== 0n ? [`${path}: fractional byte value "${text}" is invalid, must be an integer`] : []
}

/** Variables that an earlier one of the same name is lost to, unless the later is made of it. */
function hidden(at: string, c: Container): string[] {
  const seen = new Set<string>()
  return (c.env ?? []).flatMap((v, i) => {
    const again = seen.has(v.name)
    seen.add(v.name)
    const ref = `$(${v.name})`
    const built = !v.valueFrom && v.value !== ref && (v.value ?? '').includes(ref)
    return again && !built ? [`${at}.env[${i}]: hides previous definition of "${v.name}", which may be dropped when using apply`] : []
  })
}

function portClashes(all: readonly [Container, string][]): string[] {
  const known = new Map<string, { readonly at: string; readonly port: ContainerPort }[]>()
  return all.flatMap(([c, path]) =>
    (c.ports ?? []).flatMap((port, i) => {
      const at = `${path}.ports[${i}]`
      const key = `${port.containerPort}/${port.protocol ?? 'TCP'}`
      const others = known.get(key) ?? []
      known.set(key, [...others, { at, port }])
      return others.flatMap((other) => {
        const [hostPort, otherPort] = [port.hostPort ?? 0, other.port.hostPort ?? 0]
        const [ip, otherIp] = [port.hostIP ?? '', other.port.hostIP ?? '']
        if (ip === otherIp && hostPort === otherPort) return [`${at}: duplicate port definition with ${other.at}`]
        if (hostPort === 0 || otherPort === 0) return [`${at}: overlapping port definition with ${other.at}`]
        return hostPort === otherPort && (ip === '') !== (otherIp === '') ? [`${at}: dangerously ambiguous port definition with ${other.at}`] : []
      })
    }),
  )
}

/** A Service whose fields do not go together. */
export function serviceWarnings(s: Service): string[] {
  const { spec = {} } = s
  const headless = spec.type === 'ClusterIP' && spec.clusterIP === 'None'
  const external = (spec.externalIPs?.length ?? 0) > 0
  const hints = 'service.kubernetes.io/topology-aware-hints'
  return [
    ...(s.metadata?.annotations?.[hints] === undefined ? [] : [`annotation ${hints} is deprecated, please use service.kubernetes.io/topology-mode instead`]),
    ...(headless && spec.loadBalancerIP ? ['spec.loadBalancerIP is ignored for headless services'] : []),
    ...(headless && external ? ['spec.externalIPs is ignored for headless services'] : []),
    ...(headless && spec.sessionAffinity && spec.sessionAffinity !== 'None' ? ['spec.SessionAffinity is ignored for headless services'] : []),
    ...(spec.type === 'ExternalName' && external ? ['spec.externalIPs is ignored when spec.type is "ExternalName"'] : []),
    ...(spec.type !== 'ExternalName' && spec.externalName ? ['spec.externalName is ignored when spec.type is not "ExternalName"'] : []),
  ]
}

const OLD_CLASS = 'metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead'

/** A claim or volume that says its class the old way, or amounts of bytes that are not whole. */
export function claimWarnings(c: PersistentVolumeClaim): string[] {
  return [
    ...(c.metadata?.annotations?.['volume.beta.kubernetes.io/storage-class'] === undefined ? [] : [OLD_CLASS]),
    ...fraction('spec.resources.requests[storage]', c.spec?.resources?.requests?.storage),
    ...fraction('spec.resources.limits[storage]', c.spec?.resources?.limits?.storage),
  ]
}

/** The same of a volume, and sources that are gone. */
export function volumeWarnings(v: PersistentVolume): string[] {
  const annotations = v.metadata?.annotations ?? {}
  const optionKey = 'volume.beta.kubernetes.io/mount-options'
  return [
    ...(annotations['volume.beta.kubernetes.io/storage-class'] === undefined ? [] : [OLD_CLASS]),
    ...(annotations[optionKey] === undefined ? [] : [`metadata.annotations[${optionKey}]: deprecated since v1.31; use "mountOptions" attribute instead`]),
    ...(v.spec?.persistentVolumeReclaimPolicy === 'Recycle'
      ? ['spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.']
      : []),
    ...fraction('spec.capacity[storage]', v.spec?.capacity?.storage),
    ...OLD_VOLUMES.flatMap(([key, told, text]) => ((v.spec as Partial<Record<string, unknown>> | undefined)?.[key] === undefined ? [] : [`spec.${told}: ${text}`])),
  ]
}

/** A Job of many completions whose pods cannot all be tracked. */
export function jobWarnings(job: Job, old?: Job): string[] {
  const { completions = 0, completionMode, parallelism = 0 } = job.spec ?? {}
  const many = completionMode === 'Indexed' && completions > 100_000 && parallelism > 10_000
  const text =
    'In Indexed Jobs with a number of completions higher than 100000 and a parallelism higher than 10000, Kubernetes might not be able to track completedIndexes when a big number of indexes fail'
  return [...(old ? [] : nameWarning(job.metadata)), ...(many ? [text] : []), ...templateWarnings(job)]
}

/** Accounts no longer list their Secrets. */
export function accountWarnings(a: ServiceAccount): string[] {
  const key = 'kubernetes.io/enforce-mountable-secrets'
  return a.metadata?.annotations?.[key] === undefined
    ? []
    : [`metadata.annotations[${key}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets`]
}

/** A CronJob whose Jobs could not be named, and the template of their pods. */
export function cronJobWarnings(c: CronJob, old?: CronJob): string[] {
  return [...(old ? [] : nameWarning(c.metadata)), ...ofTemplate('spec.jobTemplate.spec.template', c.spec?.jobTemplate?.spec?.template, 'once gone')]
}

/** Endpoints have a follower. */
export const endpointsWarnings = (): string[] => ['v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice']
