/** Validation of what bounds a name space: ResourceQuota and LimitRange. */
import type { LimitRange, LimitRangeItem, ResourceQuota, ResourceQuotaSpec } from '../gen/types.ts'
import { labelKeyErrors } from '../names.ts'
import { compareQuantities, quantityNumber, tryParseQuantity } from '../quantity.ts'
import type { Quantity } from '../quantity.ts'
import type { FieldError } from '../status.ts'
import { IMMUTABLE, findings } from './field.ts'
import type { Findings } from './field.ts'
import { containerResourceName, isOvercommitAllowed, isQuotaResource, quotaResourceName, resourceMap, resourceName } from './quantities.ts'
import type { ResourceMap } from './quantities.ts'

const COUNT_SCOPES = ['Terminating', 'NotTerminating', 'BestEffort', 'NotBestEffort', 'CrossNamespacePodAffinity']
const SCOPES = new Set([...COUNT_SCOPES, 'PriorityClass', 'VolumeAttributesClass'])
const COMPUTE = ['cpu', 'memory', 'limits.cpu', 'limits.memory', 'requests.cpu', 'requests.memory']
const CONFLICTS = [['BestEffort', 'NotBestEffort'], ['Terminating', 'NotTerminating']] as const
const EXISTS_TEXT =
  "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"

/** Whether pods of a scope can be counted by a resource. */
function fitsScope(scope: string, resource: string): boolean {
  switch (scope) {
    case 'BestEffort':
      return resource === 'pods'
    case 'Terminating':
    case 'NotTerminating':
    case 'NotBestEffort':
    case 'PriorityClass':
    case 'CrossNamespacePodAffinity':
      return resource === 'pods' || COMPUTE.includes(resource)
    case 'VolumeAttributesClass':
      return resource === 'persistentvolumeclaims' || resource === 'requests.storage'
    default:
      return true
  }
}

/** A quota: known resources, scopes that fit them. */
export function quotaErrors(q: ResourceQuota): FieldError[] {
  return findings((e) => {
    const spec = q.spec ?? {}
    resourceMap(e, 'spec.hard', spec.hard, quotaResourceName)
    const counted = Object.keys(spec.hard ?? {}).filter(isQuotaResource).sort()
    const { scopes = [] } = spec
    for (const scope of scopes) {
      if (!SCOPES.has(scope)) e.invalid('spec.scopes', scopes, 'unsupported scope')
      for (const r of counted) if (!fitsScope(scope, r)) e.invalid('spec.scopes', scopes, 'unsupported scope applied to resource')
    }
    conflicts(e, 'spec.scopes', new Set(scopes), scopes)
    scopeSelector(e, spec, counted)
  })
}

function conflicts(e: Findings, path: string, set: ReadonlySet<string>, told: unknown): void {
  for (const [a, b] of CONFLICTS) if (set.has(a) && set.has(b)) e.invalid(path, told, 'conflicting scopes')
}

function scopeSelector(e: Findings, spec: ResourceQuotaSpec, counted: readonly string[]): void {
  if (!spec.scopeSelector) return
  const path = 'spec.scopeSelector.matchExpressions'
  const set = new Set<string>()
  for (const { scopeName, operator, values = [] } of spec.scopeSelector.matchExpressions ?? []) {
    if (!SCOPES.has(scopeName)) e.invalid(`${path}.scopeName`, scopeName ?? '', 'unsupported scope')
    for (const r of counted) if (!fitsScope(scopeName, r)) e.invalid(path, spec.scopeSelector, 'unsupported scope applied to resource')
    if (COUNT_SCOPES.includes(scopeName) && operator !== 'Exists') e.invalid(`${path}.operator`, operator ?? '', EXISTS_TEXT)
    if (operator === 'In' || operator === 'NotIn') {
      if (values.length === 0) e.required(`${path}.values`, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
    } else if (operator === 'Exists' || operator === 'DoesNotExist') {
      if (values.length > 0) e.invalid(`${path}.values`, values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
    } else e.invalid(`${path}.operator`, operator ?? '', 'not a valid selector operator')
    set.add(scopeName)
  }
  conflicts(e, path, set, spec.scopes ?? null)
}

/** A quota keeps its scopes. */
export function quotaUpdateErrors(next: ResourceQuota, old: ResourceQuota): FieldError[] {
  const sorted = (q: ResourceQuota): string => [...new Set(q.spec?.scopes ?? [])].sort().join()
  return findings((e) => {
    if (sorted(next) !== sorted(old)) e.invalid('spec.scopes', next.spec?.scopes ?? null, IMMUTABLE)
  })
}

/** What is counted of a quota: known resources. */
export function quotaStatusErrors(next: ResourceQuota): FieldError[] {
  return findings((e) => {
    for (const key of ['hard', 'used'] as const) resourceMap(e, `status.${key}`, next.status?.[key], quotaResourceName)
  })
}

const LIMIT_TYPES = ['Container', 'PersistentVolumeClaim', 'Pod']

/** A LimitRange: known types and resources, bounds and defaults in the right order. */
export function limitRangeErrors(l: LimitRange): FieldError[] {
  return findings((e) => {
    const types = new Set<string>()
    for (const [i, item] of (l.spec?.limits ?? []).entries()) {
      const at = `spec.limits[${i}]`
      const { type = '' } = item
      const wrong = labelKeyErrors(type)
      for (const detail of wrong) e.invalid(`${at}.type`, type, detail)
      if (wrong.length === 0 && !type.includes('/') && !LIMIT_TYPES.includes(type)) e.invalid(`${at}.type`, type, 'must be a standard limit type or fully qualified')
      if (types.has(type)) e.duplicate(`${at}.type`, type)
      types.add(type)
      limitItem(e, at, item)
    }
  })
}

function limitItem(e: Findings, at: string, item: LimitRangeItem): void {
  const { type } = item
  const names = (key: 'max' | 'min' | 'default' | 'defaultRequest' | 'maxLimitRequestRatio'): void => {
    for (const name of Object.keys(item[key] ?? {})) {
      if (type === 'Pod' || type === 'Container') containerResourceName(e, `${at}.${key}[${name}]`, name)
      else resourceName(e, `${at}.${key}[${name}]`, name)
    }
  }
  names('max')
  names('min')
  for (const key of ['default', 'defaultRequest'] as const) {
    if (type !== 'Pod') names(key)
    else if (Object.keys(item[key] ?? {}).length > 0) e.forbidden(`${at}.${key}`, "may not be specified when `type` is 'Pod'")
  }
  if (type === 'PersistentVolumeClaim' && item.min?.storage === undefined && item.max?.storage === undefined) {
    e.required(`${at}.limits`, 'either minimum or maximum storage value is required, but neither was provided')
  }
  names('maxLimitRequestRatio')
  const own: LimitRangeItem = type === 'Pod' ? { ...item, default: {}, defaultRequest: {} } : item
  const keys = new Set([own.max, own.min, own.default, own.defaultRequest, own.maxLimitRequestRatio].flatMap((map) => Object.keys(map ?? {})))
  for (const name of keys) bounds(e, at, own, name)
}

const parsed = (map: ResourceMap | undefined, name: string): Quantity | undefined => (map?.[name] === undefined ? undefined : tryParseQuantity(map[name]))

function bounds(e: Findings, at: string, item: LimitRangeItem, name: string): void {
  type Key = 'min' | 'max' | 'default' | 'defaultRequest' | 'maxLimitRequestRatio'
  const text = (key: Key): string => item[key]?.[name] ?? ''
  const q = (key: Key): Quantity | undefined => parsed(item[key], name)
  const above = (a: Key, b: Key): boolean => {
    const [x, y] = [q(a), q(b)]
    return x !== undefined && y !== undefined && compareQuantities(x, y) > 0
  }
  const tell = (field: Key, value: Key, detail: string): void => e.invalid(`${at}.${field}[${name}]`, text(value), detail)
  if (above('min', 'max')) tell('min', 'min', `min value ${text('min')} is greater than max value ${text('max')}`)
  if (above('min', 'defaultRequest')) tell('defaultRequest', 'defaultRequest', `min value ${text('min')} is greater than default request value ${text('defaultRequest')}`)
  if (above('defaultRequest', 'max')) tell('defaultRequest', 'defaultRequest', `default request value ${text('defaultRequest')} is greater than max value ${text('max')}`)
  if (above('defaultRequest', 'default')) {
    tell('defaultRequest', 'defaultRequest', `default request value ${text('defaultRequest')} is greater than default limit value ${text('default')}`)
  }
  if (above('min', 'default')) tell('default', 'min', `min value ${text('min')} is greater than default value ${text('default')}`)
  if (above('default', 'max')) tell('default', 'max', `default value ${text('default')} is greater than max value ${text('max')}`)
  const [ratio, min, max] = [q('maxLimitRequestRatio'), q('min'), q('max')]
  if (ratio) {
    const value = quantityNumber(ratio)
    if (value < 1) tell('maxLimitRequestRatio', 'maxLimitRequestRatio', `ratio ${text('maxLimitRequestRatio')} is less than 1`)
    const most = min && max ? quantityNumber(max) / quantityNumber(min) : Infinity
    if (value > most) tell('maxLimitRequestRatio', 'maxLimitRequestRatio', `ratio ${text('maxLimitRequestRatio')} is greater than max/min = ${most.toFixed(6)}`)
  }
  const [limit, request] = [q('default'), q('defaultRequest')]
  if (!isOvercommitAllowed(name) && limit && request && compareQuantities(limit, request) !== 0) {
    tell('defaultRequest', 'defaultRequest', `default value ${text('default')} must equal to defaultRequest value ${text('defaultRequest')} in ${name}`)
  }
}
