/** Validation of Jobs: completions, failure and success policies, and the few things that may change while it runs. */
import type { Job, JobSpec, PodFailurePolicyRule, PodTemplateSpec, SuccessPolicyRule } from '../gen/types.ts'
import { dnsLabelErrors, domainPathErrors, labelKeyErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { labelSelectorOf, matchesLabels } from '../selectors.ts'
import type { FieldError } from '../status.ts'
import { isReadable } from './apps.ts'
import { IMMUTABLE, findings } from './field.ts'
import type { Findings } from './field.ts'
import { parseIndexes } from './job-indexes.ts'
import { immutable } from './meta.ts'
import { selector } from './placement.ts'
import { podTemplate } from './pod.ts'

const MAX_PARALLELISM = 100_000
const MAX_FAILED_INDEXES = 100_000
/** Above as many completions, parallelism and failed indexes are held to less. */
const MANY_COMPLETIONS = 100_000
const FEW_FOR_MANY = 10_000
const MAX_RULES = 20
const MAX_EXIT_CODES = 255
const MAX_MANAGED_BY = 63
const MAX_INDEXES_TEXT = 64 * 1024
const ACTIONS = ['Count', 'FailIndex', 'FailJob', 'Ignore']
const quoted = (list: readonly string[]): string => `valid values: [${list.map((s) => `"${s}"`).join(' ')}]`

/** A Job, on create and on update. Its selector and labels have been made by then. */
export function jobErrors(job: Job): FieldError[] {
  return findings((e) => {
    const spec: Partial<JobSpec> = job.spec ?? {}
    generatedSelector(e, job)
    jobSpec(e, 'spec', spec)
    const s = spec.selector
    if (!s) e.required('spec.selector')
    else {
      selector(e, 'spec.selector', s)
      const labels = spec.template?.metadata?.labels
      if (isReadable(s) && !matchesLabels(labelSelectorOf(s), labels ?? {})) {
        e.invalid('spec.template.metadata.labels', labels ?? null, '`selector` does not match template `labels`')
      }
    }
    const { name = '' } = job.metadata ?? {}
    if (spec.completionMode !== 'Indexed' || !spec.completions) return
    const host = `${name}-${spec.completions - 1}`
    if (dnsLabelErrors(host).length > 0) e.invalid('metadata.name', name, `will not able to create pod with invalid DNS label: ${host}`)
  })
}

const GENERATED = [['controller-uid', 'uid'], ['job-name', 'name'], ['batch.kubernetes.io/controller-uid', 'uid'], ['batch.kubernetes.io/job-name', 'name']] as const

function generatedSelector(e: Findings, job: Job): void {
  const { spec, metadata = {} } = job
  if (!spec || spec.manualSelector || !spec.selector) return
  const labels = spec.template?.metadata?.labels ?? {}
  for (const [label, field] of GENERATED) {
    const at = `spec.template.metadata.labels[${label}]`
    const want = metadata[field] ?? ''
    if (labels[label] === undefined) e.required(at, `must be '${want}'`)
    else if (labels[label] !== want) e.invalid(at, labels, `must be '${want}'`)
  }
  const expected = Object.fromEntries(GENERATED.map(([label, field]) => [label, metadata[field] ?? '']))
  if (isReadable(spec.selector) && !matchesLabels(labelSelectorOf(spec.selector), expected)) {
    e.invalid('spec.selector', spec.selector, '`selector` not auto-generated')
  }
}

const COUNTS = ['parallelism', 'completions', 'activeDeadlineSeconds', 'backoffLimit', 'ttlSecondsAfterFinished', 'backoffLimitPerIndex', 'maxFailedIndexes'] as const

/** The spec of a Job, or of the Jobs of a CronJob, at `path`. */
export function jobSpec(e: Findings, path: string, spec: Partial<JobSpec>): void {
  e.notNegatives(path, spec, COUNTS)
  if (spec.maxFailedIndexes !== undefined && spec.backoffLimitPerIndex === undefined) {
    e.required(`${path}.backoffLimitPerIndex`, 'when maxFailedIndexes is specified')
  }
  if (spec.managedBy !== undefined) {
    e.named(`${path}.managedBy`, spec.managedBy, domainPathErrors)
    if (spec.managedBy.length > MAX_MANAGED_BY) e.tooLong(`${path}.managedBy`, MAX_MANAGED_BY)
  }
  e.chosen(`${path}.completionMode`, spec.completionMode, ['NonIndexed', 'Indexed'])
  if (spec.completionMode === 'Indexed') indexed(e, path, spec)
  else if (spec.completionMode === undefined || spec.completionMode === 'NonIndexed') {
    for (const key of ['backoffLimitPerIndex', 'maxFailedIndexes'] as const) {
      if (spec[key] !== undefined) e.invalid(`${path}.${key}`, spec[key], 'requires indexed completion mode')
    }
  }
  failurePolicy(e, `${path}.podFailurePolicy`, spec)
  successPolicy(e, `${path}.successPolicy`, spec)
  const replacement = spec.podFailurePolicy ? ['Failed'] : ['Failed', 'TerminatingOrFailed']
  e.chosen(`${path}.podReplacementPolicy`, spec.podReplacementPolicy, replacement)
  podTemplate(e, `${path}.template`, spec.template)
  const at = `${path}.template.spec.restartPolicy`
  const policy = spec.template?.spec?.restartPolicy ?? 'Always'
  if (policy === 'Always') e.required(at, 'valid values: "OnFailure", "Never"')
  else if (policy !== 'OnFailure' && policy !== 'Never') e.unsupported(at, policy, ['OnFailure', 'Never'])
  else if (spec.podFailurePolicy && policy !== 'Never') e.invalid(at, policy, 'only "Never" is supported when podFailurePolicy is specified')
}

function indexed(e: Findings, path: string, spec: Partial<JobSpec>): void {
  const { completions, parallelism = 0, maxFailedIndexes: failed } = spec
  const tooMany = (key: 'parallelism' | 'maxFailedIndexes', value: number, most: number, why: string): void => {
    if (value > most) e.invalid(`${path}.${key}`, value, `must be less than or equal to ${most}${why}`)
  }
  if (completions === undefined) e.required(`${path}.completions`, 'when completion mode is Indexed')
  tooMany('parallelism', parallelism, MAX_PARALLELISM, ' when completion mode is Indexed')
  if (completions !== undefined && failed !== undefined && failed > completions) e.invalid(`${path}.maxFailedIndexes`, failed, 'must be less than or equal to completions')
  if (failed !== undefined) tooMany('maxFailedIndexes', failed, MAX_FAILED_INDEXES, '')
  if (completions === undefined || completions <= MANY_COMPLETIONS || spec.backoffLimitPerIndex === undefined) return
  const why = ` when completions are above ${MANY_COMPLETIONS} and used with backoff limit per index`
  if (failed === undefined) e.required(`${path}.maxFailedIndexes`, `must be specified when completions is above ${MANY_COMPLETIONS}`)
  tooMany('parallelism', parallelism, FEW_FOR_MANY, why)
  if (failed !== undefined) tooMany('maxFailedIndexes', failed, FEW_FOR_MANY, why)
}

function failurePolicy(e: Findings, path: string, spec: Partial<JobSpec>): void {
  const rules = spec.podFailurePolicy?.rules
  if (!spec.podFailurePolicy) return
  if ((rules?.length ?? 0) > MAX_RULES) e.tooMany(`${path}.rules`, rules?.length ?? 0, MAX_RULES)
  for (const [i, rule] of (rules ?? []).entries()) failureRule(e, `${path}.rules[${i}]`, rule, spec)
}

function failureRule(e: Findings, at: string, rule: PodFailurePolicyRule, spec: Partial<JobSpec>): void {
  if (rule.action === 'FailIndex') {
    if (spec.backoffLimitPerIndex === undefined) e.invalid(`${at}.action`, rule.action, 'requires the backoffLimitPerIndex to be set')
  } else e.choice(`${at}.action`, rule.action, ACTIONS, quoted(ACTIONS))
  const { onExitCodes: codes, onPodConditions: conditions = [] } = rule
  if (codes) exitCodes(e, `${at}.onExitCodes`, codes, spec.template)
  if (conditions.length > MAX_RULES) e.tooMany(`${at}.onPodConditions`, conditions.length, MAX_RULES)
  const states = ['False', 'True', 'Unknown']
  for (const [i, c] of conditions.entries()) {
    e.text(`${at}.onPodConditions[${i}].type`, c.type ?? '', labelKeyErrors)
    e.choice(`${at}.onPodConditions[${i}].status`, c.status, states, quoted(states))
  }
  if (codes && conditions.length > 0) e.wrong(at, 'specifying both OnExitCodes and OnPodConditions is not supported')
  if (!codes && conditions.length === 0) e.wrong(at, 'specifying one of OnExitCodes and OnPodConditions is required')
}

function exitCodes(e: Findings, at: string, codes: NonNullable<PodFailurePolicyRule['onExitCodes']>, template: PodTemplateSpec | undefined): void {
  const operators = ['In', 'NotIn']
  e.choice(`${at}.operator`, codes.operator, operators, quoted(operators))
  const names = [...(template?.spec?.containers ?? []), ...(template?.spec?.initContainers ?? [])].map((c) => c.name)
  if (codes.containerName !== undefined && !names.includes(codes.containerName)) {
    e.invalid(`${at}.containerName`, codes.containerName, 'must be one of the container or initContainer names in the pod template')
  }
  const { values = [] } = codes
  if (values.length === 0) e.invalid(`${at}.values`, codes.values ?? null, 'at least one value is required')
  else if (values.length > MAX_EXIT_CODES) e.tooMany(`${at}.values`, values.length, MAX_EXIT_CODES)
  for (const [i, value] of values.entries()) {
    if (codes.operator === 'In' && value === 0) e.invalid(`${at}.values[${i}]`, value, 'must not be 0 for the In operator')
    if (values.indexOf(value) < i) e.duplicate(`${at}.values[${i}]`, value)
  }
  if (values.some((v, i) => i > 0 && (values[i - 1] as number) > v)) e.invalid(`${at}.values`, values, 'must be ordered')
}

function successPolicy(e: Findings, path: string, spec: Partial<JobSpec>): void {
  const policy = spec.successPolicy
  if (!policy) return
  if (spec.completionMode !== 'Indexed') return e.invalid(path, policy, 'requires indexed completion mode')
  const { rules = [] } = policy
  if (rules.length === 0) e.required(`${path}.rules`, 'at least one rules must be specified when the successPolicy is specified')
  if (rules.length > MAX_RULES) e.tooMany(`${path}.rules`, rules.length, MAX_RULES)
  for (const [i, rule] of rules.entries()) successRule(e, `${path}.rules[${i}]`, rule, spec.completions ?? 0)
}

function successRule(e: Findings, at: string, rule: SuccessPolicyRule, completions: number): void {
  const { succeededCount: count, succeededIndexes: text } = rule
  if (count === undefined && text === undefined) e.required(at, 'at least one of succeededCount or succeededIndexes must be specified')
  let total = 0
  if (text !== undefined) {
    if (text.length > MAX_INDEXES_TEXT) e.tooLong(`${at}.succeededIndexes`, MAX_INDEXES_TEXT)
    const indexes = parseIndexes(text, completions)
    if (indexes.wrong !== undefined) e.invalid(`${at}.succeededIndexes`, text, `error parsing succeededIndexes: ${indexes.wrong}`)
    else total = indexes.total
  }
  if (count === undefined) return
  e.notNegative(`${at}.succeededCount`, count)
  if (count > completions) e.invalid(`${at}.succeededCount`, count, `must be less than or equal to ${completions} (the number of specified completions)`)
  if (text !== undefined && count > total) {
    e.invalid(`${at}.succeededCount`, count, `must be less than or equal to ${total} (the number of indexes in the specified succeededIndexes field)`)
  }
}

const FIXED = ['completionMode', 'podFailurePolicy', 'backoffLimitPerIndex', 'managedBy', 'successPolicy'] as const

/** What a Job keeps; one that is suspended and never ran may be placed anew. */
export function jobUpdateErrors(next: Job, old: Job): FieldError[] {
  return findings((e) => {
    const [n, o] = [next.spec, old.spec]
    if (!n || !o) return
    if (n.completionMode !== 'Indexed') e.add(immutable('spec.completions', n.completions, o.completions))
    else if (n.completions !== undefined && n.completions !== o.completions && n.completions !== n.parallelism) {
      e.invalid('spec.completions', n.completions, 'can only be modified in tandem with spec.parallelism')
    }
    e.add(immutable('spec.selector', n.selector, o.selector))
    const placeable = o.suspend === true && old.status?.startTime === undefined
    const [after, before] = placeable ? [unplaced(n.template), unplaced(o.template)] : [n.template, o.template]
    if (!equal(after, before)) e.invalid('spec.template', n.template, IMMUTABLE)
    for (const key of FIXED) e.add(immutable(`spec.${key}`, n[key], o[key]))
  })
}

/** A template without what says where its pods run. */
function unplaced(template: PodTemplateSpec): unknown {
  const { metadata: _metadata, spec } = template
  const { nodeSelector: _selector, tolerations: _tolerations, schedulingGates: _gates, affinity, ...rest } = spec ?? { containers: [] }
  const { nodeAffinity: _node, ...others } = affinity ?? {}
  return { ...rest, affinity: others }
}
