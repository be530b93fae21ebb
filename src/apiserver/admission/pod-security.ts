/**
 * PodSecurity: the labels of a namespace say which level its pods must keep (`enforce`), which its users are warned about
 * (`warn`, workloads with pod templates included), and which is only recorded (`audit`).
 */
import { KINDS } from '../../api/kinds.ts'
import { fieldInvalid, forbidden, invalid } from '../../api/status.ts'
import { annotate } from '../audit/annotations.ts'
import { keyOf } from '../resources.ts'
import type { Obj } from '../stored-text.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'
import { violations, type CheckedSpec, type Level } from './pod-security-checks.ts'

const PREFIX = 'pod-security.kubernetes.io/'
const LEVELS: readonly string[] = ['privileged', 'baseline', 'restricted'] satisfies Level[]
const VERSION = /^v1\.(?:0|[1-9]\d{0,3})$/
const MODES = ['enforce', 'audit', 'warn'] as const
/** Pods named in the warnings of a namespace whose level was raised. */
const MAX_NAMED = 10

interface Policy {
  readonly level: Level
  readonly version: string
}

export const podSecurity: AdmissionPlugin = {
  name: 'PodSecurity',
  validate(event) {
    const { call, verb, object, old, core } = event
    if (verb === 'delete') return
    if (call.def === KINDS.Namespace) return checkNamespace(event)
    const spec = podSpec(event)
    if (!spec || !object.metadata.namespace) return
    const labels = core.cache.resource('namespaces').get(keyOf(KINDS.Namespace, undefined, object.metadata.namespace))?.parsed(true).metadata.labels
    if (!labels || !Object.keys(labels).some((k) => k.startsWith(PREFIX))) return
    const isPod = call.def === KINDS.Pod
    if (isPod && verb === 'update' && !relevant(event, old)) return
    const judge = (mode: (typeof MODES)[number]): { said: string; policy: Policy } | undefined => {
      const policy = policyOf(labels, mode)
      const found = violations(policy.level, policy.version, spec.spec, spec.annotations)
      return found === undefined ? undefined : { policy, said: `violate PodSecurity "${policy.level}:${policy.version}": ${found}` }
    }
    const enforced = isPod ? judge('enforce') : undefined
    if (enforced) throw forbidden(call.def, object.metadata.name ?? '', enforced.said.replace(/^violate /, 'violates '))
    const audited = judge('audit')
    if (audited) annotate(call.query, `${PREFIX}audit-violations`, `would ${audited.said}`)
    const warned = judge('warn')
    if (warned && !call.warnings.includes(`would ${warned.said}`)) call.warnings.push(`would ${warned.said}`)
  },
}

/** The pod spec of a pod or of a workload that will make pods. */
function podSpec({ call, object }: AdmissionEvent): { spec: CheckedSpec; annotations: Record<string, string> } | undefined {
  if (call.info.subresource !== undefined && call.info.subresource !== 'ephemeralcontainers') return undefined
  if (call.def === KINDS.Pod) return { spec: (object.spec ?? {}) as CheckedSpec, annotations: object.metadata.annotations ?? {} }
  if (!['apps', 'batch', ''].includes(call.def.group)) return undefined
  type Template = { metadata?: { annotations?: Record<string, string> }; spec?: CheckedSpec }
  const holder = object as { template?: Template; spec?: { template?: Template; jobTemplate?: { spec?: { template?: Template } } } }
  const template = call.def.kind === 'PodTemplate' ? holder.template : (holder.spec?.jobTemplate?.spec?.template ?? holder.spec?.template)
  return template?.spec ? { spec: template.spec, annotations: template.metadata?.annotations ?? {} } : undefined
}

/** An update of a pod is judged only when it changes what the checks read. */
function relevant({ object, call }: AdmissionEvent, old: Obj | undefined): boolean {
  if (call.info.subresource === 'ephemeralcontainers') return true
  const apparmor = (o: Obj | undefined): string => JSON.stringify(Object.entries(o?.metadata.annotations ?? {}).filter(([k]) => k.includes('apparmor')))
  return JSON.stringify(object.spec) !== JSON.stringify(old?.spec) || apparmor(object) !== apparmor(old)
}

function policyOf(labels: Readonly<Record<string, string>>, mode: string): Policy {
  const level = labels[PREFIX + mode] ?? 'privileged'
  // What cannot be read counts as the strictest level, so that a typing error opens nothing; the write that made it was refused.
  const version = labels[`${PREFIX}${mode}-version`] ?? 'latest'
  return { level: LEVELS.includes(level) ? (level as Level) : 'restricted', version: VERSION.test(version) ? version : 'latest' }
}

function checkNamespace({ core, call, verb, object, old }: AdmissionEvent): void {
  if (call.info.subresource !== undefined) return
  const labels = object.metadata.labels ?? {}
  const errors = MODES.flatMap((mode) => {
    const [level, version] = [labels[PREFIX + mode], labels[`${PREFIX}${mode}-version`]]
    return [
      ...(level === undefined || LEVELS.includes(level) || level === old?.metadata.labels?.[PREFIX + mode] ? [] : [fieldInvalid(`metadata.labels[${PREFIX}${mode}]`, level, `must be one of ${LEVELS.join(', ')}`)]),
      ...(version === undefined || version === 'latest' || VERSION.test(version) ? [] : [fieldInvalid(`metadata.labels[${PREFIX}${mode}-version]`, version, 'must be "latest" or "v1.x"')]),
    ]
  })
  if (errors.length > 0) throw invalid({ ...call.def, kind: 'Namespace' }, object.metadata.name ?? '', errors)
  const policy = policyOf(labels, 'enforce')
  if (verb !== 'update' || policy.level === 'privileged' || policyOf(old?.metadata.labels ?? {}, 'enforce').level === policy.level) return
  const found = [...core.cache.resource('pods').scan(keyOf(KINDS.Pod, object.metadata.name))].flatMap((entry) => {
    const pod = entry.parsed()
    const said = violations(policy.level, policy.version, (pod.spec ?? {}) as CheckedSpec, pod.metadata.annotations)
    return said === undefined ? [] : [`${entry.name}: ${said.replace(/ \([^()]*\)/g, '')}`]
  })
  if (found.length === 0) return
  call.warnings.push(`existing pods in namespace "${object.metadata.name}" violate the new PodSecurity enforce level "${policy.level}:${policy.version}"`, ...found.slice(0, MAX_NAMED))
  if (found.length > MAX_NAMED) call.warnings.push(`and ${found.length - MAX_NAMED} other pods`)
}
