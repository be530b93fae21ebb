/** Validation of webhook configurations: names, rules, policies, selectors, conditions. Texts are Kubernetes' own. */
import type { LabelSelector, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations } from '../gen/types.ts'
import { dns1035Errors, dnsSubdomainErrors } from '../names.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldNotSupported, fieldRequired, fieldTooMany } from '../status.ts'
import type { FieldError } from '../status.ts'
import { labelErrors } from './meta.ts'
import { clientConfigErrors } from './webhook-client.ts'

const REVIEW_VERSIONS = ['v1', 'v1beta1']
const OPERATIONS = ['*', 'CONNECT', 'CREATE', 'DELETE', 'UPDATE']
const MAX_CONDITIONS = 64
const MAX_TIMEOUT_S = 30
const CONDITION_NAME = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/

/** A configuration of mutating or validating webhooks. */
export function webhookConfigurationErrors(config: MutatingWebhookConfiguration): FieldError[] {
  const errors: FieldError[] = []
  const seen = new Set<string>()
  for (const [i, hook] of (config.webhooks ?? []).entries()) {
    const path = `webhooks[${i}]`
    errors.push(...webhookErrors(hook, path), ...reviewVersionErrors(hook.admissionReviewVersions ?? [], `${path}.admissionReviewVersions`))
    if (hook.name && seen.has(hook.name)) errors.push(fieldDuplicate(`${path}.name`, hook.name))
    seen.add(hook.name)
  }
  return errors
}

function webhookErrors(hook: MutatingWebhook, path: string): FieldError[] {
  const errors = nameErrors(hook.name, `${path}.name`)
  for (const [j, rule] of (hook.rules ?? []).entries()) errors.push(...ruleErrors(rule, `${path}.rules[${j}]`))
  const one = (key: 'failurePolicy' | 'matchPolicy' | 'reinvocationPolicy', known: readonly string[]): void => {
    const value = hook[key]
    if (value !== undefined && !known.includes(value)) errors.push(fieldNotSupported(`${path}.${key}`, value, known))
  }
  one('failurePolicy', ['Fail', 'Ignore'])
  one('matchPolicy', ['Equivalent', 'Exact'])
  const effects = ['None', 'NoneOnDryRun']
  if (!hook.sideEffects) errors.push(fieldRequired(`${path}.sideEffects`, `must specify one of ${effects.join(', ')}`))
  else if (!effects.includes(hook.sideEffects)) errors.push(fieldNotSupported(`${path}.sideEffects`, hook.sideEffects, effects))
  const { timeoutSeconds: seconds } = hook
  if (seconds !== undefined && (seconds < 1 || seconds > MAX_TIMEOUT_S)) errors.push(fieldInvalid(`${path}.timeoutSeconds`, seconds, `the timeout value must be between 1 and ${MAX_TIMEOUT_S} seconds`))
  if (hook.namespaceSelector) errors.push(...selectorErrors(hook.namespaceSelector, `${path}.namespaceSelector`))
  if (hook.objectSelector) errors.push(...selectorErrors(hook.objectSelector, `${path}.objectSelector`))
  one('reinvocationPolicy', ['IfNeeded', 'Never'])
  errors.push(...clientConfigErrors(hook.clientConfig ?? {}, `${path}.clientConfig`))
  return [...errors, ...conditionErrors(hook.matchConditions ?? [], `${path}.matchConditions`)]
}

function selectorErrors(selector: LabelSelector, path: string): FieldError[] {
  const errors = labelErrors(selector.matchLabels, `${path}.matchLabels`)
  for (const [i, { key, operator, values = [] }] of (selector.matchExpressions ?? []).entries()) {
    const at = `${path}.matchExpressions[${i}]`
    if (operator === 'In' || operator === 'NotIn') {
      if (values.length === 0) errors.push(fieldRequired(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"))
    } else if (operator !== 'Exists' && operator !== 'DoesNotExist') errors.push(fieldInvalid(`${at}.operator`, operator, 'not a valid selector operator'))
    else if (values.length > 0) errors.push(fieldForbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    errors.push(...labelErrors({ [key]: '' }, `${at}.key`))
  }
  return errors
}

function nameErrors(name: string | undefined, path: string): FieldError[] {
  if (!name) return [fieldRequired(path)]
  const errors = dnsSubdomainErrors(name)
  if (errors.length > 0) return [fieldInvalid(path, name, errors.join(','))]
  return name.split('.').length < 3 ? [fieldInvalid(path, name, 'should be a domain with at least three segments separated by dots')] : []
}

function reviewVersionErrors(versions: readonly string[], path: string): FieldError[] {
  if (versions.length === 0) return [fieldRequired(path, `must specify one of ${REVIEW_VERSIONS.join(', ')}`)]
  const errors: FieldError[] = []
  for (const [i, v] of versions.entries()) {
    if (versions.indexOf(v) < i) errors.push(fieldInvalid(`${path}[${i}]`, v, 'duplicate version'))
    else errors.push(...dns1035Errors(v).map((e) => fieldInvalid(`${path}[${i}]`, v, e)))
  }
  if (!versions.some((v) => REVIEW_VERSIONS.includes(v))) errors.push(fieldInvalid(path, versions, `must include at least one of ${REVIEW_VERSIONS.join(', ')}`))
  return errors
}

function ruleErrors(rule: RuleWithOperations, path: string): FieldError[] {
  const errors: FieldError[] = []
  const operations = rule.operations ?? []
  if (operations.length === 0) errors.push(fieldRequired(`${path}.operations`))
  if (operations.length > 1 && operations.includes('*')) errors.push(fieldInvalid(`${path}.operations`, operations, "if '*' is present, must not specify other operations"))
  for (const [i, o] of operations.entries()) if (!OPERATIONS.includes(o)) errors.push(fieldNotSupported(`${path}.operations[${i}]`, o, OPERATIONS))
  const groups = rule.apiGroups ?? []
  if (groups.length === 0) errors.push(fieldRequired(`${path}.apiGroups`))
  if (groups.length > 1 && groups.includes('*')) errors.push(fieldInvalid(`${path}.apiGroups`, groups, "if '*' is present, must not specify other API groups"))
  const versions = rule.apiVersions ?? []
  if (versions.length === 0) errors.push(fieldRequired(`${path}.apiVersions`))
  if (versions.length > 1 && versions.includes('*')) errors.push(fieldInvalid(`${path}.apiVersions`, versions, "if '*' is present, must not specify other API versions"))
  for (const [i, v] of versions.entries()) if (v === '') errors.push(fieldRequired(`${path}.apiVersions[${i}]`))
  if (rule.scope !== undefined && !['*', 'Cluster', 'Namespaced'].includes(rule.scope)) errors.push(fieldNotSupported(`${path}.scope`, rule.scope, ['*', 'Cluster', 'Namespaced']))
  return [...errors, ...resourceErrors(rule.resources ?? [], `${path}.resources`)]
}

function resourceErrors(resources: readonly string[], path: string): FieldError[] {
  if (resources.length === 0) return [fieldRequired(path)]
  const errors: FieldError[] = []
  const wideSubs = new Set<string>()
  const wideResources = new Set<string>()
  for (const [i, text] of resources.entries()) {
    const at = `${path}[${i}]`
    if (text === '') {
      errors.push(fieldRequired(at))
      continue
    }
    const [resource = '', sub] = text.split('/')
    if (text === '*/*' || sub === undefined) {
      if (text === '*/*' && resources.length > 1) errors.push(fieldInvalid(path, resources, "if '*/*' is present, must not specify other resources"))
      if (text === '*' && resources.some((r) => r !== '*' && !r.includes('/'))) errors.push(fieldInvalid(path, resources, "if '*' is present, must not specify other resources without subresources"))
      continue
    }
    if (sub === '') errors.push(fieldInvalid(at, text, "subresource after '/' must not be empty"))
    if (wideResources.has(sub)) errors.push(fieldInvalid(at, text, `if '*/${sub}' is present, must not specify ${text}`))
    if (wideSubs.has(resource)) errors.push(fieldInvalid(at, text, `if '${resource}/*' is present, must not specify ${text}`))
    if (resource === '*') wideResources.add(sub)
    if (sub === '*') wideSubs.add(resource)
  }
  return errors
}

function conditionErrors(conditions: readonly { name?: string; expression?: string }[], path: string): FieldError[] {
  const errors: FieldError[] = []
  if (conditions.length > MAX_CONDITIONS) errors.push(fieldTooMany(path, conditions.length, MAX_CONDITIONS))
  const seen = new Set<string>()
  for (const [i, { name = '', expression = '' }] of conditions.entries()) {
    const at = `${path}[${i}]`
    if (expression.trim() === '') errors.push(fieldRequired(`${at}.expression`))
    if (name === '') errors.push(fieldRequired(`${at}.name`))
    else if (!name.split('/').every((part) => part.length <= 253 && CONDITION_NAME.test(part)) || name.split('/').length > 2) {
      errors.push(fieldInvalid(`${at}.name`, name, "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"))
    }
    if (seen.has(name)) errors.push(fieldDuplicate(`${at}.name`, name))
    seen.add(name)
  }
  return errors
}
