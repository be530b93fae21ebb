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
import { LEVELS, MODES, VERSION, type Mode, type PodSecurityConfig, type Policy } from './pod-security-config.ts'

const PREFIX = 'pod-security.kubernetes.io/'
/** Pods named in the warnings of a namespace whose level was raised. */
const MAX_NAMED = 10

/** @param config what holds for the whole cluster */
export function podSecurity(config: PodSecurityConfig): AdmissionPlugin {
  return { name: 'PodSecurity', validate: (event) => check(config, event) }
}

function check(config: PodSecurityConfig, event: AdmissionEvent): void {
  const { call, verb, object, old, core } = event
  if (verb === 'delete') return
  if (call.def === KINDS.Namespace) return checkNamespace(config, event)
  const spec = podSpec(event)
  const { namespace } = object.metadata
  if (!spec || !namespace) return
  const labels = core.cache.resource('namespaces').get(keyOf(KINDS.Namespace, undefined, namespace))?.parsed(true).metadata.labels ?? {}
  const policies = policiesOf(config, labels)
  if (isFree(policies)) return
  const isPod = call.def === KINDS.Pod
  if (isPod && verb === 'update' && !relevant(event, old)) return
  const exempt = config.namespaces.has(namespace) ? 'namespace' : config.usernames.has(call.user.name) ? 'user' : config.runtimeClasses.has(spec.spec.runtimeClassName ?? '') ? 'runtimeClass' : undefined
  if (exempt !== undefined) return annotate(call.query, `${PREFIX}exempt`, exempt)
  const judge = (mode: Mode): { said: string; policy: Policy } | undefined => {
    const policy = policies[mode]
    const found = violations(policy.level, policy.version, spec.spec, spec.annotations)
    return found === undefined ? undefined : { policy, said: `violate PodSecurity "${policy.level}:${policy.version}": ${found}` }
  }
  const enforced = isPod ? judge('enforce') : undefined
  if (enforced) throw forbidden(call.def, object.metadata.name ?? '', enforced.said.replace(/^violate /, 'violates '))
  const audited = judge('audit')
  if (audited) annotate(call.query, `${PREFIX}audit-violations`, `would ${audited.said}`)
  const warned = judge('warn')
  if (warned && !call.warnings.includes(`would ${warned.said}`)) call.warnings.push(`would ${warned.said}`)
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

const isFree = (policies: Readonly<Record<Mode, Policy>>): boolean => MODES.every((mode) => policies[mode].level === 'privileged')

/**
 * What the labels of a namespace say, over what holds for the whole cluster. What cannot be read is enforced as the strictest level, so that a typing
 * error opens nothing; the write that made it was refused. Who enforces is warned of as much, unless they say otherwise.
 */
function policiesOf({ defaults }: PodSecurityConfig, labels: Readonly<Record<string, string>>): Record<Mode, Policy> {
  const of = (mode: Mode): Policy => {
    const [level, version] = [labels[PREFIX + mode], labels[`${PREFIX}${mode}-version`]]
    const unread: Level = mode === 'enforce' ? 'restricted' : 'privileged'
    return {
      level: level === undefined ? defaults[mode].level : LEVELS.includes(level) ? (level as Level) : unread,
      version: version === undefined ? defaults[mode].version : VERSION.test(version) ? version : 'latest',
    }
  }
  const [enforce, audit, warn] = [of('enforce'), of('audit'), of('warn')]
  const said = LEVELS.includes(labels[`${PREFIX}enforce`] ?? '') && labels[`${PREFIX}warn`] === undefined
  if (!said || LEVELS.indexOf(enforce.level) <= LEVELS.indexOf(warn.level)) return { enforce, audit, warn }
  return { enforce, audit, warn: { level: enforce.level, version: labels[`${PREFIX}warn-version`] === undefined ? enforce.version : warn.version } }
}

function checkNamespace(config: PodSecurityConfig, { core, call, verb, object, old }: AdmissionEvent): void {
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
  const policies = policiesOf(config, labels)
  const policy = policies.enforce
  const before = policiesOf(config, old?.metadata.labels ?? {}).enforce
  if (verb === 'update' && (policy.level === 'privileged' || before.level === policy.level)) return
  if (config.namespaces.has(object.metadata.name ?? '')) {
    const same = JSON.stringify(policies) === JSON.stringify(config.defaults)
    const text = same ? '' : MODES.flatMap((mode) => (policies[mode].level === 'privileged' ? [] : [`${mode}=${policies[mode].level}:${policies[mode].version}`])).join(', ')
    if (text !== '') call.warnings.push(`namespace "${object.metadata.name}" is exempt from Pod Security, and the policy (${text}) will be ignored`)
    return
  }
  if (verb !== 'update') return
  const found = [...core.cache.resource('pods').scan(keyOf(KINDS.Pod, object.metadata.name))].flatMap((entry) => {
    const pod = entry.parsed()
    const said = violations(policy.level, policy.version, (pod.spec ?? {}) as CheckedSpec, pod.metadata.annotations)
    return said === undefined ? [] : [`${entry.name}: ${said.replace(/ \([^()]*\)/g, '')}`]
  })
  if (found.length === 0) return
  call.warnings.push(`existing pods in namespace "${object.metadata.name}" violate the new PodSecurity enforce level "${policy.level}:${policy.version}"`, ...found.slice(0, MAX_NAMED))
  if (found.length > MAX_NAMED) call.warnings.push(`and ${found.length - MAX_NAMED} other pods`)
}
