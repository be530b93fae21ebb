/** Validation of the controllers that keep pods: Deployment, ReplicaSet, ReplicationController, DaemonSet, StatefulSet, ControllerRevision. */
import type {
  ControllerRevision, DaemonSet, Deployment, LabelSelector, PersistentVolumeClaim, PodTemplateSpec, ReplicaSet, ReplicationController, StatefulSet, Volume,
} from '../gen/types.ts'
import { dnsLabelErrors, percentErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { labelSelectorOf, matchesLabels } from '../selectors.ts'
import type { FieldError } from '../status.ts'
import { claimSpec } from './claim.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'
import { immutable } from './meta.ts'
import { selector } from './placement.ts'
import { podTemplate } from './pod.ts'

export type Share = number | string | undefined

/** A count or a percentage. */
export function share(e: Findings, path: string, value: Share): void {
  if (typeof value === 'number') e.notNegative(path, value)
  else e.text(path, value, percentErrors)
}

/** At most all. */
export function notOverAll(e: Findings, path: string, value: Share): void {
  if (typeof value === 'string' && percentErrors(value).length === 0 && Number.parseInt(value, 10) > 100) e.invalid(path, value, 'must not be greater than 100%')
}

const isNone = (value: Share): boolean => value === undefined || (typeof value === 'number' ? value === 0 : Number.parseInt(value, 10) === 0)

/** A selector that chooses something, and the pods of the template among it. `what` names the kind as Kubernetes does here. */
function selects(e: Findings, s: LabelSelector | undefined, template: PodTemplateSpec | undefined, what: string): void {
  if (!s) e.required('spec.selector')
  else {
    selector(e, 'spec.selector', s)
    const empty = Object.keys(s.matchLabels ?? {}).length === 0 && !s.matchExpressions?.length
    if (empty) e.invalid('spec.selector', s, `empty selector is invalid for ${what}`)
    else if (isReadable(s)) labelsMatch(e, s, template)
    else e.invalid('spec.selector', s, 'invalid label selector')
  }
}

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist']
/** Whether the selector can be applied at all; what is wrong with it otherwise has been said. */
export const isReadable = (s: LabelSelector): boolean => (s.matchExpressions ?? []).every((r) => OPERATORS.includes(r.operator))

function labelsMatch(e: Findings, s: LabelSelector, template: PodTemplateSpec | undefined): void {
  const labels = template?.metadata?.labels
  if (!matchesLabels(labelSelectorOf(s), labels ?? {})) e.invalid('spec.template.metadata.labels', labels ?? null, '`selector` does not match template `labels`')
}

/** Pods that are kept forever: they restart, and have no deadline. */
function keptForever(e: Findings, template: PodTemplateSpec | undefined, kind: string): void {
  const { restartPolicy = 'Always', activeDeadlineSeconds } = template?.spec ?? {}
  if (restartPolicy !== 'Always') e.unsupported('spec.template.spec.restartPolicy', restartPolicy, ['Always'])
  if (activeDeadlineSeconds !== undefined) e.forbidden('spec.template.spec.activeDeadlineSeconds', `activeDeadlineSeconds in ${kind} is not Supported`)
}

type Selecting = { readonly spec?: { readonly selector?: LabelSelector } }
export const selectorUpdateErrors = (next: Selecting, old: Selecting): FieldError[] => immutable('spec.selector', next.spec?.selector, old.spec?.selector)

/** Deployment: counts, selector, template, strategy. */
export function deploymentErrors(d: Deployment): FieldError[] {
  return findings((e) => {
    const spec: Partial<NonNullable<Deployment['spec']>> = d.spec ?? {}
    e.notNegative('spec.replicas', spec.replicas)
    selects(e, spec.selector, spec.template, 'deployment')
    podTemplate(e, 'spec.template', spec.template)
    keptForever(e, spec.template, 'ReplicaSet')
    strategy(e, spec.strategy)
    e.notNegatives('spec', spec, ['minReadySeconds', 'revisionHistoryLimit', 'progressDeadlineSeconds'])
    const { progressDeadlineSeconds: deadline } = spec
    if (deadline !== undefined && deadline <= (spec.minReadySeconds ?? 0)) e.invalid('spec.progressDeadlineSeconds', deadline, 'must be greater than minReadySeconds')
  })
}

function strategy(e: Findings, s: NonNullable<Deployment['spec']>['strategy']): void {
  const { type = '', rollingUpdate: rolling } = s ?? {}
  const path = 'spec.strategy'
  if (type === 'Recreate') {
    if (rolling) e.forbidden(`${path}.rollingUpdate`, "may not be specified when strategy `type` is 'Recreate'")
    return
  }
  if (type !== 'RollingUpdate') return e.unsupported(path, { Type: type, RollingUpdate: rolling ?? null }, ['Recreate', 'RollingUpdate'])
  if (!rolling) return e.required(`${path}.rollingUpdate`, 'this should be defaulted and never be nil')
  const [unavailable, surge] = [`${path}.rollingUpdate.maxUnavailable`, `${path}.rollingUpdate.maxSurge`]
  share(e, unavailable, rolling.maxUnavailable)
  share(e, surge, rolling.maxSurge)
  if (isNone(rolling.maxUnavailable) && isNone(rolling.maxSurge)) e.invalid(unavailable, rolling.maxUnavailable ?? 0, 'may not be 0 when `maxSurge` is 0')
  notOverAll(e, unavailable, rolling.maxUnavailable)
}

/** ReplicaSet: counts, selector, template. */
export function replicaSetErrors(r: ReplicaSet): FieldError[] {
  return findings((e) => {
    const spec: Partial<NonNullable<ReplicaSet['spec']>> = r.spec ?? {}
    e.notNegatives('spec', spec, ['replicas', 'minReadySeconds'])
    // Kubernetes itself speaks of a deployment here.
    selects(e, spec.selector, spec.template, 'deployment')
    podTemplate(e, 'spec.template', spec.template)
    keptForever(e, spec.template, 'ReplicaSet')
  })
}

/** ReplicationController: counts, selector, template. */
export function replicationControllerErrors(r: ReplicationController): FieldError[] {
  return findings((e) => {
    const { spec = {} } = r
    const wanted = Object.entries(spec.selector ?? {})
    e.notNegative('spec.minReadySeconds', spec.minReadySeconds)
    if (wanted.length === 0) e.required('spec.selector')
    e.notNegative('spec.replicas', spec.replicas)
    const { template } = spec
    if (!template) return e.required('spec.template')
    const labels = template.metadata?.labels
    if (wanted.some(([k, v]) => labels?.[k] !== v)) {
      e.invalid('spec.template.metadata.labels', labels ?? null, '`selector` does not match template `labels`')
    }
    podTemplate(e, 'spec.template', template)
    keptForever(e, template, 'ReplicationController')
  })
}

/** DaemonSet: selector, template, strategy. */
export function daemonSetErrors(d: DaemonSet): FieldError[] {
  return findings((e) => {
    const spec: Partial<NonNullable<DaemonSet['spec']>> = d.spec ?? {}
    const { selector: s, template } = spec
    if (!s) e.required('spec.selector')
    selector(e, 'spec.selector', s)
    if (s && isReadable(s)) labelsMatch(e, s, template)
    if (s && Object.keys(s.matchLabels ?? {}).length + (s.matchExpressions?.length ?? 0) === 0) e.invalid('spec.selector', s, 'empty selector is invalid for daemonset')
    podTemplate(e, 'spec.template', template)
    keptForever(e, template, 'DaemonSet')
    e.notNegative('spec.minReadySeconds', spec.minReadySeconds)
    daemonStrategy(e, spec.updateStrategy)
    e.notNegative('spec.revisionHistoryLimit', spec.revisionHistoryLimit)
  })
}

function daemonStrategy(e: Findings, s: NonNullable<DaemonSet['spec']>['updateStrategy']): void {
  const { type = '', rollingUpdate: rolling } = s ?? {}
  if (type === 'OnDelete') return
  const path = 'spec.updateStrategy.rollingUpdate'
  if (type !== 'RollingUpdate') return e.unsupported('spec.updateStrategy', { Type: type, RollingUpdate: rolling ?? null }, ['RollingUpdate', 'OnDelete'])
  if (!rolling) return e.required(path)
  for (const key of ['maxUnavailable', 'maxSurge'] as const) share(e, `${path}.${key}`, rolling[key])
  for (const key of ['maxUnavailable', 'maxSurge'] as const) notOverAll(e, `${path}.${key}`, rolling[key])
  const [none, noSurge] = [isNone(rolling.maxUnavailable), isNone(rolling.maxSurge)]
  if (!none && !noSurge) e.invalid(`${path}.maxSurge`, rolling.maxSurge, 'may not be set when maxUnavailable is non-zero')
  if (none && noSurge) e.required(`${path}.maxUnavailable`, 'cannot be 0 when maxSurge is 0')
}

/** StatefulSet: counts, selector, template with the claims of its own as volumes, strategy. */
export function statefulSetErrors(s: StatefulSet): FieldError[] {
  return findings((e) => {
    const spec: Partial<NonNullable<StatefulSet['spec']>> = s.spec ?? {}
    const policy = spec.podManagementPolicy
    if (!policy) e.required('spec.podManagementPolicy')
    else if (policy !== 'OrderedReady' && policy !== 'Parallel') e.invalid('spec.podManagementPolicy', policy, "must be 'OrderedReady' or 'Parallel'")
    statefulStrategy(e, spec.updateStrategy)
    for (const key of ['whenDeleted', 'whenScaled'] as const) {
      e.chosen(`spec.persistentVolumeClaimRetentionPolicy.${key}`, spec.persistentVolumeClaimRetentionPolicy?.[key] ?? '', ['Retain', 'Delete'])
    }
    e.notNegatives('spec', spec, ['replicas', 'minReadySeconds'])
    e.notNegative('spec.ordinals.start', spec.ordinals?.start)
    selects(e, spec.selector, spec.template, 'statefulset')
    podTemplate(e, 'spec.template', withClaims(spec.template, spec.volumeClaimTemplates ?? []))
    keptForever(e, spec.template, 'StatefulSet')
  })
}

/** What only a new StatefulSet is held to: what is there already cannot change. */
export function statefulSetCreateErrors(s: StatefulSet): FieldError[] {
  return findings((e) => {
    e.optional('spec.serviceName', s.spec?.serviceName, dnsLabelErrors)
    for (const [i, c] of (s.spec?.volumeClaimTemplates ?? []).entries()) claimSpec(e, `spec.volumeClaimTemplates[${i}].spec`, c.spec ?? {})
  })
}

/** The template as its pods will be: claims are volumes, host names are given by the controller. */
function withClaims(template: PodTemplateSpec | undefined, claims: readonly PersistentVolumeClaim[]): PodTemplateSpec | undefined {
  if (!template?.spec) return template
  const { hostname: _hostname, subdomain: _subdomain, ...rest } = template.spec
  const names = new Set(claims.map((c) => c.metadata?.name ?? ''))
  const own = [...names].map((name): Volume => ({ name, persistentVolumeClaim: { claimName: name } }))
  const volumes = [...own, ...(rest.volumes ?? []).filter((v) => !names.has(v.name))]
  return { ...template, spec: { ...rest, ...(volumes.length > 0 && { volumes }) } }
}

function statefulStrategy(e: Findings, s: NonNullable<StatefulSet['spec']>['updateStrategy']): void {
  const { type = '', rollingUpdate: rolling } = s ?? {}
  const path = 'spec.updateStrategy'
  if (type === '') e.required(path)
  else if (type === 'OnDelete') {
    if (rolling) e.invalid(`${path}.rollingUpdate`, rolling, "only allowed for updateStrategy 'RollingUpdate'")
  } else if (type !== 'RollingUpdate') e.invalid(path, { Type: type, RollingUpdate: rolling ?? null }, "must be 'RollingUpdate' or 'OnDelete'")
  else if (rolling) {
    const at = `${path}.rollingUpdate.maxUnavailable`
    e.notNegative(`${path}.rollingUpdate.partition`, rolling.partition)
    if (rolling.maxUnavailable === undefined) return
    share(e, at, rolling.maxUnavailable)
    if (isNone(rolling.maxUnavailable)) e.invalid(at, rolling.maxUnavailable, 'cannot be 0')
    notOverAll(e, at, rolling.maxUnavailable)
  }
}

const STATEFUL_CHANGEABLE = ['replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy', 'minReadySeconds']

/** The few fields of a StatefulSet that may change. */
export function statefulSetUpdateErrors(next: StatefulSet, old: StatefulSet): FieldError[] {
  const rest = (s: StatefulSet): unknown => Object.fromEntries(Object.entries(s.spec ?? {}).filter(([k]) => !STATEFUL_CHANGEABLE.includes(k)))
  if (equal(rest(next), rest(old))) return []
  const names = STATEFUL_CHANGEABLE.map((n) => `'${n}'`)
  return findings((e) =>
    e.forbidden('spec', `updates to statefulset spec for fields other than ${names.slice(0, -1).join(', ')} and ${names.at(-1)} are forbidden`),
  )
}

/** ControllerRevision: some data, a revision that counts. */
export function revisionErrors(r: ControllerRevision): FieldError[] {
  return findings((e) => e.notNegative('revision', r.revision))
}

/** Its data: an object, and there at all. */
export function revisionCreateErrors(r: ControllerRevision): FieldError[] {
  return findings((e) => {
    const { data } = r
    if (data === undefined || data === null) e.required('data', 'data is mandatory')
    else if (typeof data !== 'object' || Array.isArray(data)) e.required('data', 'data must be a valid JSON object')
  })
}

export const revisionUpdateErrors = (next: ControllerRevision, old: ControllerRevision): FieldError[] => immutable('data', next.data, old.data)

type Counts = Readonly<Record<string, unknown>>
type Status = { readonly status?: object }

/** Counters of a status: not negative, not more than all there are, and collisions only grow. */
function counters(next: Status, old: Status, keys: readonly string[], withinAll: readonly string[], ready: string): FieldError[] {
  return findings((e) => {
    const [n, o] = [(next.status ?? {}) as Counts, (old.status ?? {}) as Counts]
    const count = (s: Counts, key: string): number => (typeof s[key] === 'number' ? s[key] : 0)
    for (const key of [...keys, 'observedGeneration', 'collisionCount', 'terminatingReplicas']) e.notNegative(`status.${key}`, n[key] as number | undefined)
    for (const key of withinAll) if (count(n, key) > count(n, 'replicas')) e.invalid(`status.${key}`, count(n, key), 'cannot be greater than status.replicas')
    if (ready && count(n, 'availableReplicas') > count(n, 'readyReplicas')) e.invalid('status.availableReplicas', count(n, 'availableReplicas'), `cannot be greater than ${ready}`)
    const [after, before] = [n.collisionCount as number | undefined, o.collisionCount as number | undefined]
    if (before !== undefined && (after ?? -1) < before) e.invalid('status.collisionCount', after ?? 0, 'cannot be decremented')
  })
}

const REPLICAS = ['replicas', 'readyReplicas', 'availableReplicas']
export const deploymentStatusErrors = (next: Status, old: Status): FieldError[] =>
  counters(next, old, [...REPLICAS, 'updatedReplicas', 'unavailableReplicas'], ['updatedReplicas', 'readyReplicas', 'availableReplicas'], 'readyReplicas')
export const replicaSetStatusErrors = (next: Status, old: Status): FieldError[] =>
  counters(next, old, [...REPLICAS, 'fullyLabeledReplicas'], ['fullyLabeledReplicas', 'readyReplicas', 'availableReplicas'], 'readyReplicas')
export const statefulSetStatusErrors = (next: Status, old: Status): FieldError[] =>
  counters(next, old, [...REPLICAS, 'currentReplicas', 'updatedReplicas'], ['readyReplicas', 'currentReplicas', 'updatedReplicas', 'availableReplicas'], 'status.readyReplicas')
const DAEMONS = [
  'currentNumberScheduled', 'numberMisscheduled', 'desiredNumberScheduled', 'numberReady', 'updatedNumberScheduled', 'numberAvailable', 'numberUnavailable',
]
export const daemonSetStatusErrors = (next: Status, old: Status): FieldError[] => counters(next, old, DAEMONS, [], '')
