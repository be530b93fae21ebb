/** Validation of dynamic resource allocation (`resource.k8s.io`): classes, claims, templates, slices. */
import type {
  Device, DeviceClaim, DeviceClass, DeviceConstraint, DeviceRequest, DeviceSelector, DeviceSubRequest, DeviceToleration, ExactDeviceRequest,
  OpaqueDeviceConfiguration, ResourceClaimTemplate, ResourceResourceClaim, ResourceSlice,
} from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors, labelValueErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { bindingConditions, requestPolicy } from './device-capacity.ts'
import { each, findings, NOT_POSITIVE, type Findings } from './field.ts'
import { annotationErrors, immutable, labelErrors } from './meta.ts'
import { nodeSelector } from './placement.ts'
import { isNative } from './quantities.ts'
import { csiName } from './storage.ts'

/** How many of each a claim, class, slice or device may have. */
export const MAX = {
  requests: 32, constraints: 32, config: 32, firstAvailable: 8, selectors: 32, reservedFor: 256, results: 32, devices: 128, taintedDevices: 64,
  counterSets: 8, counters: 32, attributes: 32, taints: 16, consumptions: 2, expression: 10 * 1024, parameters: 10 * 1024, id: 32, value: 64,
} as const
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$/
const REFERENCE_TEXT = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"

/** DeviceClass: which devices it means, and how they are set up. */
export function deviceClassErrors(c: DeviceClass): FieldError[] {
  return findings((e) => {
    const { selectors, config, extendedResourceName: name } = c.spec ?? {}
    selectorList(e, 'spec.selectors', selectors)
    each(e, 'spec.config', config, MAX.config, (x, at) => opaque(e, at, x.opaque))
    if (name !== undefined && (isNative(name) || labelKeyErrors(`requests.${name}`).length > 0 || name.startsWith('requests.'))) {
      e.invalid('spec.extendedResourceName', name, 'must be a valid extended resource name')
    }
  })
}

/** ResourceClaim: what it asks for. */
export const claimSpecErrors = (c: ResourceResourceClaim): FieldError[] => findings((e) => claim(e, 'spec.devices', c.spec?.devices))

/** A claim once made asks for the same for ever. */
export const claimSpecUpdateErrors = (next: ResourceResourceClaim, old: ResourceResourceClaim): FieldError[] => immutable('spec', next.spec, old.spec)

export const claimTemplateErrors = (t: ResourceClaimTemplate): FieldError[] =>
  findings((e) => {
    e.add(labelErrors(t.spec?.metadata?.labels, 'spec.metadata.labels'))
    e.add(annotationErrors(t.spec?.metadata?.annotations, 'spec.metadata.annotations'))
    claim(e, 'spec.spec.devices', t.spec?.spec?.devices)
  })

export const claimTemplateUpdateErrors = (next: ResourceClaimTemplate, old: ResourceClaimTemplate): FieldError[] => immutable('spec', next.spec, old.spec)

/** What other parts of a claim may name: its requests, and the ways of each. */
export const requestNames = (c: DeviceClaim | undefined): Set<string> => new Set((c?.requests ?? []).flatMap((r) => [r.name, ...(r.firstAvailable ?? []).map((s) => `${r.name}/${s.name}`)]))

function claim(e: Findings, at: string, c: DeviceClaim | undefined): void {
  const names = requestNames(c)
  each(e, `${at}.requests`, c?.requests, MAX.requests, (r, path) => request(e, path, r), (r) => r.name)
  each(e, `${at}.constraints`, c?.constraints, MAX.constraints, (x, path) => constraint(e, path, x, names))
  each(e, `${at}.config`, c?.config, MAX.config, (x, path) => {
    allReferences(e, `${path}.requests`, x.requests, names)
    opaque(e, path, x.opaque)
  })
}

function request(e: Findings, at: string, r: DeviceRequest): void {
  e.text(`${at}.name`, r.name ?? '', dnsLabelErrors)
  const some = (r.firstAvailable?.length ?? 0) > 0
  if (!some && !r.exactly) e.required(at, 'exactly one of `exactly` or `firstAvailable` is required')
  else if (some && r.exactly) e.invalid(at, null, 'exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set')
  else if (r.exactly) exact(e, `${at}.exactly`, r.exactly)
  else {
    each(e, `${at}.firstAvailable`, r.firstAvailable, MAX.firstAvailable, (s, path) => {
      e.text(`${path}.name`, s.name ?? '', dnsLabelErrors)
      exact(e, path, s)
    }, (s) => s.name)
  }
}

function exact(e: Findings, at: string, r: ExactDeviceRequest | DeviceSubRequest): void {
  e.named(`${at}.deviceClassName`, r.deviceClassName, dnsSubdomainErrors)
  selectorList(e, `${at}.selectors`, r.selectors)
  const count = r.count ?? 0
  if (r.allocationMode === 'All') {
    if (count !== 0) e.invalid(`${at}.count`, count, "must not be specified when allocationMode is 'All'")
  } else if (r.allocationMode === 'ExactCount') {
    if (count <= 0) e.invalid(`${at}.count`, count, NOT_POSITIVE)
  } else e.unsupported(`${at}.allocationMode`, r.allocationMode ?? '', ['All', 'ExactCount'])
  for (const [i, t] of (r.tolerations ?? []).entries()) toleration(e, `${at}.tolerations[${i}]`, t)
}

function toleration(e: Findings, at: string, t: DeviceToleration): void {
  e.optional(`${at}.key`, t.key, labelKeyErrors)
  if (t.operator === 'Exists') {
    if (t.value) e.invalid(`${at}.value`, t.value, "must be empty for operator `Exists`")
  } else if (t.operator === 'Equal') {
    e.text(`${at}.value`, t.value ?? '', labelValueErrors)
  } else e.choice(`${at}.operator`, t.operator, ['Equal', 'Exists'])
  e.chosen(`${at}.effect`, t.effect || undefined, ['NoExecute', 'NoSchedule', 'None'])
}

function selectorList(e: Findings, at: string, list: readonly DeviceSelector[] | undefined): void {
  each(e, at, list, MAX.selectors, (s, path) => {
    if (!s.cel) e.required(`${path}.cel`)
    else if (!s.cel.expression) e.required(`${path}.cel.expression`)
    else if (s.cel.expression.length > MAX.expression) e.tooLong(`${path}.cel.expression`, MAX.expression)
  })
}

function constraint(e: Findings, at: string, c: DeviceConstraint, names: ReadonlySet<string>): void {
  allReferences(e, `${at}.requests`, c.requests, names)
  if (c.matchAttribute !== undefined) attributeName(e, `${at}.matchAttribute`, c.matchAttribute, true)
  else if (c.distinctAttribute !== undefined) attributeName(e, `${at}.distinctAttribute`, c.distinctAttribute, true)
  else e.required(at, 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set')
}

/** A request of the claim, or one of the ways of one. */
export function references(e: Findings, path: string, name: string, names: ReadonlySet<string>): void {
  const parts = name.split('/')
  if (parts.length <= 2) for (const part of parts) e.text(path, part, dnsLabelErrors)
  if (!names.has(name)) e.invalid(path, name, REFERENCE_TEXT)
}

function allReferences(e: Findings, at: string, list: readonly string[] | undefined, names: ReadonlySet<string>): void {
  each(e, at, list, MAX.requests, (name, path) => references(e, path, name, names), (name) => name)
}

/** How a driver is told to set devices up. */
export function opaque(e: Findings, at: string, config: OpaqueDeviceConfiguration | undefined): void {
  if (!config) return e.required(`${at}.opaque`)
  csiName(e, `${at}.opaque.driver`, config.driver)
  const { parameters } = config as { parameters?: unknown }
  const path = `${at}.opaque.parameters`
  if (parameters === undefined || parameters === null) e.required(path)
  else if (JSON.stringify(parameters).length > MAX.parameters) e.tooLong(path, MAX.parameters)
  else if (typeof parameters !== 'object' || Array.isArray(parameters)) e.invalid(path, '<value omitted>', 'must be a valid JSON object')
}

/** `name`, or `domain/name`, which `full` ones must be. */
function attributeName(e: Findings, at: string, text: string, full = false): void {
  const slash = text.indexOf('/')
  const [domain, name] = slash < 0 ? [undefined, text] : [text.slice(0, slash), text.slice(slash + 1)]
  if (domain === '') e.invalid(at, '', 'the domain must not be empty')
  else if (domain !== undefined) csiName(e, at, domain)
  if (name === '') e.invalid(at, '', 'the name must not be empty')
  else {
    if (name.length > MAX.id) e.tooLong(at, MAX.id)
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      e.invalid(at, name, "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')")
    }
  }
  if (full && domain === undefined) e.invalid(at, text, 'a fully qualified name must be a domain and a name separated by a slash')
}

/** Names of a pool, by parts. */
export function poolName(e: Findings, at: string, name: string | undefined): void {
  if (!name) return e.required(at)
  if (name.length > 253) e.tooLong(at, 253)
  for (const part of name.split('/')) e.text(at, part, dnsSubdomainErrors)
}

/** ResourceSlice: the devices of a driver that a node, some nodes or all of them reach. */
export function sliceErrors(s: ResourceSlice): FieldError[] {
  return findings((e) => {
    const spec = s.spec ?? ({} as NonNullable<ResourceSlice['spec']>)
    csiName(e, 'spec.driver', spec.driver)
    poolName(e, 'spec.pool.name', spec.pool?.name)
    if ((spec.pool?.resourceSliceCount ?? 0) <= 0) e.invalid('spec.pool.resourceSliceCount', spec.pool?.resourceSliceCount ?? 0, NOT_POSITIVE)
    if ((spec.pool?.generation ?? 0) < 0) e.invalid('spec.pool.generation', spec.pool?.generation, 'must be greater than or equal to zero')
    const where: string[] = []
    if (spec.nodeName === '') e.invalid('spec.nodeName', '', 'must be either unset or set to a non-empty string')
    else if (spec.nodeName) where.push('`nodeName`')
    e.optional('spec.nodeName', spec.nodeName, dnsSubdomainErrors)
    if (spec.nodeSelector) {
      where.push('`nodeSelector`')
      nodeSelector(e, 'spec.nodeSelector', spec.nodeSelector)
      const terms = spec.nodeSelector.nodeSelectorTerms ?? []
      if (terms.length !== 1) e.invalid('spec.nodeSelector.nodeSelectorTerms', spec.nodeSelector.nodeSelectorTerms ?? null, 'must have exactly one node selector term')
    }
    for (const key of ['allNodes', 'perDeviceNodeSelection'] as const) {
      if (spec[key] === false) e.invalid(`spec.${key}`, false, 'must be either unset or set to true')
      else if (spec[key]) where.push(`\`${key}\``)
    }
    const one = 'exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required'
    if (where.length === 0) e.required('spec', one)
    if (where.length > 1) e.invalid('spec', `{${where.join(', ')}}`, `${one}, but multiple fields are set`)
    if (spec.sharedCounters && spec.devices) e.invalid('spec', '', 'only one of `sharedCounters` or `devices` is allowed')
    const heavy = spec.devices?.some((d) => d.taints?.length || d.consumesCounters?.length)
    each(e, 'spec.devices', spec.devices, heavy ? MAX.taintedDevices : MAX.devices, (d, at) => device(e, at, d, spec.perDeviceNodeSelection === true), (d) => d.name)
    each(e, 'spec.sharedCounters', spec.sharedCounters, MAX.counterSets, (c, at) => {
      e.named(`${at}.name`, c.name, dnsLabelErrors)
      counters(e, `${at}.counters`, c.counters)
    }, (c) => c.name)
  })
}

export const sliceUpdateErrors = (next: ResourceSlice, old: ResourceSlice): FieldError[] => [
  ...immutable('spec.pool.name', next.spec?.pool?.name, old.spec?.pool?.name),
  ...immutable('spec.driver', next.spec?.driver, old.spec?.driver),
  ...immutable('spec.nodeName', next.spec?.nodeName, old.spec?.nodeName),
]

function counters(e: Findings, at: string, values: object | undefined): void {
  const names = Object.keys(values ?? {})
  if (names.length === 0) return e.required(at)
  if (names.length > MAX.counters) return e.tooMany(at, names.length, MAX.counters)
  for (const name of names) e.text(`${at}[${name}]`, name, dnsLabelErrors)
}

function device(e: Findings, at: string, d: Device, perDevice: boolean): void {
  e.text(`${at}.name`, d.name ?? '', dnsLabelErrors)
  const [attributes, capacity] = [Object.entries(d.attributes ?? {}), Object.entries(d.capacity ?? {})]
  const count = attributes.length + capacity.length
  if (count > MAX.attributes) e.invalid(at, count, `the total number of attributes and capacities must not exceed ${MAX.attributes}`)
  for (const [name, value] of attributes) {
    const path = `${at}.attributes[${name}]`
    attributeName(e, path, name)
    if (Object.keys(value).length !== 1) e.invalid(path, Object.keys(value).length === 0 ? '' : value, 'exactly one value must be specified')
    if ((value.string?.length ?? 0) > MAX.value) e.tooLong(`${path}.string`, MAX.value)
    if (value.version !== undefined && !SEMVER.test(value.version)) e.invalid(`${path}.version`, value.version, 'must be a string compatible with semver.org spec 2.0.0')
  }
  for (const [name, value] of capacity) {
    attributeName(e, `${at}.capacity[${name}]`, name)
    if (!value.requestPolicy) continue
    const path = `${at}.capacity[${name}].requestPolicy`
    if (d.allowMultipleAllocations) requestPolicy(e, path, value.requestPolicy, value.value)
    else e.forbidden(path, 'allowMultipleAllocations must be true')
  }
  each(e, `${at}.taints`, d.taints, MAX.taints, (t, path) => {
    e.text(`${path}.key`, t.key ?? '', labelKeyErrors)
    e.optional(`${path}.value`, t.value, labelValueErrors)
    e.choice(`${path}.effect`, t.effect, ['NoExecute', 'NoSchedule', 'None'])
  })
  each(e, `${at}.consumesCounters`, d.consumesCounters, MAX.consumptions, (c, path) => {
    e.named(`${path}.counterSet`, c.counterSet, dnsLabelErrors)
    counters(e, `${path}.counters`, c.counters)
  }, (c) => c.counterSet)
  const where = (['nodeName', 'nodeSelector', 'allNodes'] as const).filter((key) => d[key] !== undefined)
  if (!perDevice && where.length > 0) {
    e.invalid(at, null, '`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec')
  }
  const one = 'exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec'
  if (perDevice && where.length === 0) e.required(at, one)
  if (perDevice && where.length > 1) e.invalid(at, `{${where.map((w) => `\`${w}\``).join(', ')}}`, one)
  if (perDevice && d.nodeSelector) nodeSelector(e, `${at}.nodeSelector`, d.nodeSelector)
  bindingConditions(e, at, d)
}
