/** Validation of what says where a pod may run: affinity, tolerations, spread; and of label selectors. */
import type { Affinity, LabelSelector, NodeSelector, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors, labelValueErrors } from '../names.ts'
import { NOT_POSITIVE } from './field.ts'
import type { Findings } from './field.ts'
import { labelErrors } from './meta.ts'

export const TAINT_EFFECTS: readonly string[] = ['NoSchedule', 'PreferNoSchedule', 'NoExecute']
const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution'
const PREFERRED = 'preferredDuringSchedulingIgnoredDuringExecution'
const IN_BOTH = 'exists in both matchLabelKeys and labelSelector'

/** Tolerations at `path`. */
export function tolerations(e: Findings, path: string, list: readonly Toleration[]): void {
  for (const [i, t] of list.entries()) {
    const at = `${path}[${i}]`
    const operator = t.operator ?? ''
    e.optional(`${at}.key`, t.key, labelKeyErrors)
    if (!t.key && operator !== 'Exists') {
      e.invalid(`${at}.operator`, operator, 'operator must be Exists when `key` is empty, which means "match all values and all keys"')
    }
    if (t.tolerationSeconds !== undefined && t.effect !== 'NoExecute') {
      e.invalid(`${at}.effect`, t.effect ?? '', "effect must be 'NoExecute' when `tolerationSeconds` is set")
    }
    const value = t.value ?? ''
    if (operator === 'Equal' || operator === '') {
      const wrong = labelValueErrors(value)
      if (wrong.length > 0) e.invalid(`${at}.operator`, value, wrong.join(';'))
    } else if (operator === 'Exists') {
      if (value) e.invalid(`${at}.operator`, value, "value must be empty when `operator` is 'Exists'")
    } else e.unsupported(`${at}.operator`, operator, ['Equal', 'Exists'])
    if (t.effect) e.chosen(`${at}.effect`, t.effect, TAINT_EFFECTS)
  }
}

/** Node and pod affinity at `path`. */
export function affinity(e: Findings, path: string, a: Affinity | undefined): void {
  const node = a?.nodeAffinity
  if (node?.[REQUIRED]) nodeSelector(e, `${path}.nodeAffinity.${REQUIRED}`, node[REQUIRED])
  for (const [i, t] of (node?.[PREFERRED] ?? []).entries()) {
    const at = `${path}.nodeAffinity.${PREFERRED}[${i}]`
    weight(e, `${at}.weight`, t.weight)
    // Label values are not judged here: what cannot match is only not preferred.
    nodeTerm(e, `${at}.preference`, t.preference ?? {}, false)
  }
  for (const which of ['podAffinity', 'podAntiAffinity'] as const) {
    const terms = a?.[which]
    for (const [i, t] of (terms?.[REQUIRED] ?? []).entries()) podTerm(e, `${path}.${which}.${REQUIRED}[${i}]`, t)
    for (const [i, t] of (terms?.[PREFERRED] ?? []).entries()) {
      const at = `${path}.${which}.${PREFERRED}[${i}]`
      weight(e, `${at}.weight`, t.weight)
      podTerm(e, `${at}.podAffinityTerm`, t.podAffinityTerm ?? { topologyKey: '' })
    }
  }
}

function weight(e: Findings, path: string, n: number): void {
  if (!(n >= 1 && n <= 100)) e.invalid(path, n ?? 0, 'must be in the range 1-100')
}

/** A choice of nodes by terms of which one must hold. */
export function nodeSelector(e: Findings, path: string, s: NodeSelector): void {
  const at = `${path}.nodeSelectorTerms`
  if (!s.nodeSelectorTerms?.length) e.required(at, 'must have at least one node selector term')
  for (const [i, t] of (s.nodeSelectorTerms ?? []).entries()) nodeTerm(e, `${at}[${i}]`, t, true)
}

function nodeTerm(e: Findings, path: string, t: NodeSelectorTerm, values: boolean): void {
  for (const [i, r] of (t.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${i}]`
    const count = r.values?.length ?? 0
    if (r.operator === 'Gt' || r.operator === 'Lt') {
      if (count !== 1) e.required(`${at}.values`, "must be specified single value when `operator` is 'Lt' or 'Gt'")
    } else operator(e, at, r.operator, count)
    e.text(`${at}.key`, r.key ?? '', labelKeyErrors)
    if (values) for (const [j, v] of (r.values ?? []).entries()) e.text(`${at}.values[${j}]`, v, labelValueErrors)
  }
  for (const [i, r] of (t.matchFields ?? []).entries()) {
    const at = `${path}.matchFields[${i}]`
    if (r.operator !== 'In' && r.operator !== 'NotIn') e.invalid(`${at}.operator`, r.operator ?? '', 'not a valid selector operator')
    else if (r.values?.length !== 1) e.required(`${at}.values`, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
    if (r.key !== 'metadata.name') e.invalid(`${at}.key`, r.key ?? '', 'not a valid field selector key')
    else for (const [j, v] of (r.values ?? []).entries()) e.text(`${at}.values[${j}]`, v, dnsSubdomainErrors)
  }
}

function operator(e: Findings, at: string, op: string, count: number): void {
  switch (op) {
    case 'In':
    case 'NotIn':
      if (count === 0) e.required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'")
      return
    case 'Exists':
    case 'DoesNotExist':
      if (count > 0) e.forbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
      return
    default:
      e.invalid(`${at}.operator`, op ?? '', 'not a valid selector operator')
  }
}

/** A LabelSelector at `path`, when there is one. */
export function selector(e: Findings, path: string, s: LabelSelector | undefined): void {
  if (!s) return
  e.add(labelErrors(s.matchLabels, `${path}.matchLabels`))
  for (const [i, r] of (s.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${i}]`
    operator(e, at, r.operator, r.values?.length ?? 0)
    e.text(`${at}.key`, r.key ?? '', labelKeyErrors)
    for (const [j, v] of (r.values ?? []).entries()) e.text(`${at}.values[${j}]`, v, labelValueErrors)
  }
}

function podTerm(e: Findings, path: string, t: PodAffinityTerm): void {
  selector(e, `${path}.labelSelector`, t.labelSelector)
  selector(e, `${path}.namespaceSelector`, t.namespaceSelector)
  for (const name of t.namespaces ?? []) e.text(`${path}.namespace`, name, dnsLabelErrors)
  for (const key of ['matchLabelKeys', 'mismatchLabelKeys'] as const) {
    if (!t[key]?.length) continue
    if (!t.labelSelector) e.forbidden(`${path}.${key}`, 'must not be specified when labelSelector is not set')
    else for (const [i, k] of t[key].entries()) e.text(`${path}.${key}[${i}]`, k, labelKeyErrors)
  }
  matchedTwice(e, path, t)
  for (const [i, k] of (t.matchLabelKeys ?? []).entries()) {
    if (t.mismatchLabelKeys?.includes(k)) e.invalid(`${path}.matchLabelKeys[${i}]`, k, 'exists in both matchLabelKeys and mismatchLabelKeys')
  }
  if (!t.topologyKey) e.required(`${path}.topologyKey`, 'can not be empty')
  e.text(`${path}.topologyKey`, t.topologyKey ?? '', labelKeyErrors)
}

/** The server adds `matchLabelKeys` to the selector itself, so a key is told of only when it stands there twice. */
function matchedTwice(e: Findings, path: string, t: Pick<PodAffinityTerm, 'labelSelector' | 'matchLabelKeys'>): void {
  const seen = new Set(Object.keys(t.labelSelector?.matchLabels ?? {}))
  for (const { key } of t.labelSelector?.matchExpressions ?? []) {
    const i = t.matchLabelKeys?.indexOf(key) ?? -1
    if (i >= 0 && seen.has(key)) e.invalid(`${path}[${i}]`, key, IN_BOTH)
    seen.add(key)
  }
}

/** Topology spread constraints at `path`. */
export function spread(e: Findings, path: string, spec: PodSpec): void {
  const list = spec.topologySpreadConstraints ?? []
  for (const [i, c] of list.entries()) spreadOne(e, `${path}[${i}]`, c, list.slice(i + 1))
}

function spreadOne(e: Findings, at: string, c: TopologySpreadConstraint, later: readonly TopologySpreadConstraint[]): void {
  if (!(c.maxSkew > 0)) e.invalid(`${at}.maxSkew`, c.maxSkew ?? 0, NOT_POSITIVE)
  if (!c.topologyKey) e.required(`${at}.topologyKey`, 'can not be empty')
  e.chosen(`${at}.whenUnsatisfiable`, c.whenUnsatisfiable ?? '', ['DoNotSchedule', 'ScheduleAnyway'])
  if (later.some((o) => o.topologyKey === c.topologyKey && o.whenUnsatisfiable === c.whenUnsatisfiable)) {
    e.duplicate(`${at}.{topologyKey, whenUnsatisfiable}`, `{${c.topologyKey}, ${c.whenUnsatisfiable}}`)
  }
  if (c.minDomains !== undefined) {
    if (c.minDomains <= 0) e.invalid(`${at}.minDomains`, c.minDomains, NOT_POSITIVE)
    if (c.whenUnsatisfiable !== 'DoNotSchedule') {
      e.invalid(`${at}.minDomains`, c.minDomains, `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${c.whenUnsatisfiable}`)
    }
  }
  for (const key of ['nodeAffinityPolicy', 'nodeTaintsPolicy'] as const) e.chosen(`${at}.${key}`, c[key], ['Honor', 'Ignore'])
  if (c.matchLabelKeys?.length) {
    if (!c.labelSelector) e.forbidden(`${at}.matchLabelKeys`, 'must not be specified when labelSelector is not set')
    for (const [i, k] of c.matchLabelKeys.entries()) e.text(`${at}.matchLabelKeys[${i}]`, k, labelKeyErrors)
    matchedTwice(e, `${at}.matchLabelKeys`, c)
  }
  selector(e, `${at}.labelSelector`, c.labelSelector)
}
