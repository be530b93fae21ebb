/** Validation of admission policies and of the rules that they share with webhooks. Expressions are compiled where they are evaluated. */
import type {
  AuditAnnotation, MatchCondition, MatchResources, NamedRuleWithOperations, ParamKind, ParamRef, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
  Validation,
} from '../gen/types.ts'
import { dns1035Errors, dnsSubdomainErrors, labelKeyErrors, pathSegmentErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'
import { selector } from './placement.ts'

const OPERATIONS = ['*', 'CONNECT', 'CREATE', 'DELETE', 'UPDATE']
const MAX_ANNOTATIONS = 20
const MAX_CONDITIONS = 64
const MAX_VALUE_EXPRESSION = 5 * 1024
const REASONS = ['Forbidden', 'Invalid', 'RequestEntityTooLarge', 'Unauthorized']
/** Words that are no identifiers in CEL. */
const RESERVED = new Set(
  'true false null in as break const continue else for function if import let loop package namespace return var void while'.split(' '),
)

/** ValidatingAdmissionPolicy: what it looks at and what must hold. */
export function policyErrors(p: ValidatingAdmissionPolicy): FieldError[] {
  return findings((e) => {
    const { failurePolicy, paramKind, matchConstraints, matchConditions = [], variables = [], validations = [], auditAnnotations = [] } = p.spec ?? {}
    e.choice('spec.failurePolicy', failurePolicy, ['Fail', 'Ignore'])
    if (paramKind) kindOfParams(e, 'spec.paramKind', paramKind)
    if (!matchConstraints) e.required('spec.matchConstraints')
    else {
      matchResources(e, 'spec.matchConstraints', matchConstraints)
      if (!matchConstraints.resourceRules?.length) e.required('spec.matchConstraints.resourceRules')
    }
    conditions(e, 'spec.matchConditions', matchConditions)
    for (const [i, v] of variables.entries()) {
      const at = `spec.variables[${i}]`
      if (!v.name?.trim()) e.required(`${at}.name`, 'name is not specified')
      else if (!/^[_a-zA-Z][_a-zA-Z0-9]*$/.test(v.name) || RESERVED.has(v.name)) e.invalid(`${at}.name`, v.name, 'name is not a valid CEL identifier')
      if (!v.expression?.trim()) e.required(`${at}.expression`, 'expression is not specified')
    }
    if (validations.length === 0 && auditAnnotations.length === 0) {
      for (const key of ['validations', 'auditAnnotations']) e.required(`spec.${key}`, 'validations or auditAnnotations must contain at least one item')
      return
    }
    for (const [i, v] of validations.entries()) validation(e, `spec.validations[${i}]`, v)
    if (auditAnnotations.length > MAX_ANNOTATIONS) e.invalid('spec.auditAnnotations', auditAnnotations, `must not have more than ${MAX_ANNOTATIONS} auditAnnotations`)
    for (const [i, a] of auditAnnotations.entries()) {
      annotation(e, `spec.auditAnnotations[${i}]`, a, p.metadata?.name ?? '')
      if (auditAnnotations.findIndex((x) => x.key === a.key) < i) e.duplicate(`spec.auditAnnotations[${i}].key`, a.key)
    }
  })
}

function kindOfParams(e: Findings, at: string, kind: ParamKind): void {
  const text = kind.apiVersion ?? ''
  const parts = text.split('/')
  if (text === '') e.required(`${at}.apiVersion`)
  else if (parts.length > 2) e.invalid(`${at}.apiVersion`, text, `unexpected GroupVersion string: ${text}`)
  else {
    const [version = '', group = ''] = parts.toReversed()
    const wrongGroup = group === '' ? [] : dnsSubdomainErrors(group)
    if (wrongGroup.length > 0) e.invalid(`${at}.apiVersion`, group, wrongGroup.join(','))
    const wrong = dns1035Errors(version)
    if (version === '') e.invalid(`${at}.apiVersion`, text, 'version must be specified')
    else if (wrong.length > 0) e.invalid(`${at}.apiVersion`, version, wrong.join(','))
  }
  if (!kind.kind) return e.required(`${at}.kind`)
  const wrong = dns1035Errors(kind.kind.toLowerCase())
  if (wrong.length > 0) e.invalid(`${at}.kind`, kind.kind, `may have mixed case, but should otherwise match: ${wrong.join(',')}`)
}

function validation(e: Findings, at: string, v: Validation): void {
  if (!v.expression?.trim()) e.required(`${at}.expression`, 'expression is not specified')
  if (v.messageExpression && !v.messageExpression.trim()) e.invalid(`${at}.messageExpression`, v.messageExpression, 'must be non-empty if specified')
  if (v.message && !v.message.trim()) e.invalid(`${at}.message`, v.message, 'message must be non-empty if specified')
  else if (/[\n\r]/.test(v.message?.trim() ?? '')) e.invalid(`${at}.message`, v.message, 'message must not contain line breaks')
  e.chosen(`${at}.reason`, v.reason, REASONS)
}

function annotation(e: Findings, at: string, a: AuditAnnotation, name: string): void {
  if (name === '') e.invalid(`${at}.key`, a.key, 'requires metadata.name be non-empty')
  else e.text(`${at}.key`, `${name}/${a.key ?? ''}`, labelKeyErrors)
  const expression = a.valueExpression?.trim() ?? ''
  if (expression === '') e.required(`${at}.valueExpression`, 'valueExpression is not specified')
  else if (expression.length > MAX_VALUE_EXPRESSION) e.required(`${at}.valueExpression`, `must not exceed ${MAX_VALUE_EXPRESSION} bytes in length`)
}

/** Match conditions, of policies and of webhooks. */
export function conditions(e: Findings, at: string, list: readonly MatchCondition[]): void {
  if (list.length > MAX_CONDITIONS) e.tooMany(at, list.length, MAX_CONDITIONS)
  for (const [i, c] of list.entries()) {
    if (!c.expression?.trim()) e.required(`${at}[${i}].expression`)
    e.named(`${at}[${i}].name`, c.name, labelKeyErrors)
    if (c.name && list.findIndex((x) => x.name === c.name) < i) e.duplicate(`${at}[${i}].name`, c.name)
  }
}

function matchResources(e: Findings, at: string, m: MatchResources): void {
  e.choice(`${at}.matchPolicy`, m.matchPolicy, ['Equivalent', 'Exact'])
  for (const key of ['namespaceSelector', 'objectSelector'] as const) {
    if (!m[key]) e.required(`${at}.${key}`)
    else selector(e, `${at}.${key}`, m[key])
  }
  for (const key of ['resourceRules', 'excludeResourceRules'] as const) {
    for (const [i, rule] of (m[key] ?? []).entries()) {
      const path = `${at}.${key}[${i}]`
      const names = rule.resourceNames ?? []
      for (const [j, name] of names.entries()) {
        e.text(`${path}.resourceNames[${j}]`, name, pathSegmentErrors)
        if (names.indexOf(name) < j) e.duplicate(`${path}.resourceNames[${j}]`, name)
      }
      operationsRule(e, path, rule)
    }
  }
}

/** Which operations on which resources: of policies and of webhooks. */
export function operationsRule(e: Findings, at: string, rule: NamedRuleWithOperations): void {
  const { operations = [], apiGroups = [], apiVersions = [], resources = [] } = rule
  const alone = (key: string, list: readonly string[], others: string): void => {
    if (list.length > 1 && list.includes('*')) e.invalid(`${at}.${key}`, list, `if '*' is present, must not specify other ${others}`)
  }
  if (operations.length === 0) e.required(`${at}.operations`)
  alone('operations', operations, 'operations')
  for (const [i, o] of operations.entries()) e.chosen(`${at}.operations[${i}]`, o, OPERATIONS)
  if (apiGroups.length === 0) e.required(`${at}.apiGroups`)
  alone('apiGroups', apiGroups, 'API groups')
  if (apiVersions.length === 0) e.required(`${at}.apiVersions`)
  alone('apiVersions', apiVersions, 'API versions')
  for (const [i, v] of apiVersions.entries()) if (v === '') e.required(`${at}.apiVersions[${i}]`)
  ruleResources(e, `${at}.resources`, resources)
  e.chosen(`${at}.scope`, rule.scope, ['*', 'Cluster', 'Namespaced'])
}

function ruleResources(e: Findings, at: string, list: readonly string[]): void {
  if (list.length === 0) e.required(at)
  const wide = new Set<string>()
  for (const [i, text] of list.entries()) {
    if (text === '') {
      e.required(`${at}[${i}]`)
      continue
    }
    const slash = text.indexOf('/')
    if (slash < 0) continue
    const [resource, sub] = [text.slice(0, slash), text.slice(slash + 1)]
    for (const covers of [`${resource}/*`, `*/${sub}`]) if (wide.has(covers)) e.invalid(`${at}[${i}]`, text, `if '${covers}' is present, must not specify ${text}`)
    if (sub === '*' || resource === '*') wide.add(text)
  }
  if (list.length > 1 && list.includes('*/*')) e.invalid(at, list, "if '*/*' is present, must not specify other resources")
  if (list.includes('*') && list.some((r) => r !== '*' && !r.includes('/'))) e.invalid(at, list, "if '*' is present, must not specify other resources without subresources")
}

/** ValidatingAdmissionPolicyBinding: which policy, with which parameters, and what happens then. */
export function policyBindingErrors(b: ValidatingAdmissionPolicyBinding): FieldError[] {
  return findings((e) => {
    const { policyName, paramRef, matchResources: match, validationActions: actions = [] } = b.spec ?? {}
    e.named('spec.policyName', policyName, dnsSubdomainErrors)
    if (paramRef) params(e, 'spec.paramRef', paramRef)
    if (match) matchResources(e, 'spec.matchResources', match)
    const at = 'spec.validationActions'
    for (const [i, a] of actions.entries()) {
      e.chosen(`${at}[${i}]`, a, ['Audit', 'Deny', 'Warn'])
      if (actions.indexOf(a) < i) e.duplicate(`${at}[${i}]`, a)
    }
    if (actions.includes('Deny') && actions.includes('Warn')) {
      e.invalid(at, actions, 'must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)')
    }
    if (actions.length === 0) e.required(at, 'at least one validation action is required')
  })
}

function params(e: Findings, at: string, ref: ParamRef): void {
  const { name, selector: labels, parameterNotFoundAction: action } = ref
  e.optional(`${at}.name`, name, pathSegmentErrors)
  if (name && labels) for (const key of ['name', 'selector']) e.forbidden(`${at}.${key}`, 'name and selector are mutually exclusive')
  selector(e, `${at}.selector`, labels)
  if (!name && !labels) e.required(at, 'one of name or selector must be specified')
  e.choice(`${at}.parameterNotFoundAction`, action, ['Deny', 'Allow'])
}
