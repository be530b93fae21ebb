/** Validation of resource names and quantities: what a container, a pod, a quota or a limit may name, and how much of it. */
import type { ResourceRequirements } from '../gen/types.ts'
import { dnsLabelErrors, labelKeyErrors } from '../names.ts'
import { addQuantities, compareQuantities, quantityText, tryParseQuantity } from '../quantity.ts'
import type { Quantity } from '../quantity.ts'
import { NOT_NEGATIVE, NOT_POSITIVE } from './field.ts'
import type { Findings } from './field.ts'

export type ResourceMap = Readonly<Record<string, string>>

const COMPUTE = ['cpu', 'ephemeral-storage', 'memory']
const COUNTS = [
  'configmaps', 'persistentvolumeclaims', 'pods', 'replicationcontrollers', 'resourcequotas', 'secrets', 'services', 'services.loadbalancers',
  'services.nodeports',
]
/** What a quota may count without a prefix. */
const QUOTA = new Set([...COMPUTE, ...COMPUTE.flatMap((r) => [`requests.${r}`, `limits.${r}`]), 'requests.storage', ...COUNTS])
const STANDARD = new Set([...QUOTA, 'storage'])
const INTEGERS = new Set(COUNTS)
const POD_LEVEL = ['cpu', 'memory']
const QUOTA_TEXT = 'must be a standard resource for quota'

const isHugePage = (name: string): boolean => name.startsWith('hugepages-')
const isQuotaHugePage = (name: string): boolean => isHugePage(name) || name.startsWith('requests.hugepages-')
/** Of Kubernetes' own name space, in which no prefix counts as its own. */
export const isNative = (name: string): boolean => !name.includes('/') || name.includes('kubernetes.io/')
const isExtended = (name: string): boolean => !isNative(name) && !name.startsWith('requests.') && labelKeyErrors(`requests.${name}`).length === 0
/** Whether less may be requested than is the limit. */
export const isOvercommitAllowed = (name: string): boolean => isNative(name) && !isHugePage(name)
export const isQuotaResource = (name: string): boolean => QUOTA.has(name) || isQuotaHugePage(name)

export type NameRule = (e: Findings, path: string, name: string) => void

/** Any resource: a standard one, or a qualified name. True when it is. */
export function resourceName(e: Findings, path: string, name: string): boolean {
  const wrong = labelKeyErrors(name)
  for (const detail of wrong) e.invalid(path, name, detail)
  if (wrong.length > 0) return false
  if (name.includes('/') || STANDARD.has(name) || isQuotaHugePage(name)) return true
  e.invalid(path, name, 'must be a standard resource type or fully qualified')
  return false
}

/** What a container may ask for. */
export const containerResourceName: NameRule = (e, path, name) => {
  resourceName(e, path, name)
  if (!name.includes('/')) {
    if (!COMPUTE.includes(name) && !isHugePage(name)) e.invalid(path, name, 'must be a standard resource for containers')
  } else if (!isNative(name) && !isExtended(name)) e.invalid(path, name, "doesn't follow extended resource name standard")
}

/** What a pod as a whole may ask for. */
const podResourceName: NameRule = (e, path, name) => {
  if (resourceName(e, path, name) && !POD_LEVEL.includes(name) && !isHugePage(name)) e.unsupported(path, name, POD_LEVEL)
}

/** What a quota may limit. */
export const quotaResourceName: NameRule = (e, path, name) => {
  resourceName(e, path, name)
  if (!name.includes('/') && !isQuotaResource(name)) e.invalid(path, name, QUOTA_TEXT)
}

/** Not negative; whole when it is counted in pieces. What is no quantity at all, decoding has refused. */
export function quantity(e: Findings, path: string, name: string, text: string): void {
  const q = tryParseQuantity(text)
  if (q === undefined) return
  if (q.nano < 0n) e.invalid(path, text, NOT_NEGATIVE)
  if ((INTEGERS.has(name) || isExtended(name)) && q.nano % 1_000_000_000n !== 0n) e.invalid(path, text, 'must be an integer')
}

/** More than nothing. True when it is. */
export function positiveQuantity(e: Findings, path: string, text: string): boolean {
  const q = tryParseQuantity(text)
  if (q === undefined || q.nano > 0n) return true
  e.invalid(path, text, NOT_POSITIVE)
  return false
}

/** Names and amounts of a whole map, e.g. a quota's `hard`. */
export function resourceMap(e: Findings, path: string, map: ResourceMap | undefined, rule: NameRule): void {
  for (const [name, text] of Object.entries(map ?? {})) {
    rule(e, `${path}[${name}]`, name)
    quantity(e, `${path}[${name}]`, name, text)
  }
}

function hugePages(e: Findings, path: string, name: string, text: string): void {
  const [size, amount] = [tryParseQuantity(name.slice('hugepages-'.length)), tryParseQuantity(text)]
  if (!amount) return
  if (!size || size.nano <= 0n || amount.nano % size.nano !== 0n) e.invalid(path, text, `${text} is not positive integer multiple of ${name}`)
}

/** Requests and limits of a container, or of a whole pod: known names, requests within limits, claims that the pod has. */
export function requirements(e: Findings, path: string, r: ResourceRequirements | undefined, claims: ReadonlySet<string>, wholePod = false): void {
  if (!r) return
  const rule = wholePod ? podResourceName : containerResourceName
  for (const which of ['limits', 'requests'] as const) {
    resourceMap(e, `${path}.${which}`, r[which], rule)
    for (const [name, text] of Object.entries(r[which] ?? {})) {
      if (which === 'requests') withinLimit(e, path, name, text, r.limits?.[name])
      if (isHugePage(name)) hugePages(e, `${path}.${which}[${name}]`, name, text)
    }
  }
  const names = [...Object.keys(r.limits ?? {}), ...Object.keys(r.requests ?? {})]
  if (names.some(isHugePage) && !names.some((n) => n === 'cpu' || n === 'memory')) e.forbidden(path, 'HugePages require cpu or memory')
  claimNames(e, `${path}.claims`, r, claims)
}

function withinLimit(e: Findings, path: string, name: string, text: string, limit: string | undefined): void {
  if (limit === undefined) {
    if (!isOvercommitAllowed(name)) e.required(`${path}.limits`, 'Limit must be set for non overcommitable resources')
    return
  }
  const [asked, most] = [tryParseQuantity(text), tryParseQuantity(limit)]
  if (!asked || !most) return
  const order = compareQuantities(asked, most)
  if (order !== 0 && !isOvercommitAllowed(name)) e.invalid(`${path}.requests`, text, `must be equal to ${name} limit of ${limit}`)
  else if (order > 0) e.invalid(`${path}.requests`, text, `must be less than or equal to ${name} limit of ${limit}`)
}

function claimNames(e: Findings, path: string, r: ResourceRequirements, claims: ReadonlySet<string>): void {
  const seen = new Set<string>()
  for (const [i, claim] of (r.claims ?? []).entries()) {
    const at = `${path}[${i}]`
    const { name, request } = claim
    if (!name) {
      e.required(at)
      continue
    }
    if (seen.has(name)) e.duplicate(at, name)
    else {
      const key = request ? `${name}/${request}` : name
      e.optional(`${at}.request`, request, dnsLabelErrors)
      if (seen.has(key)) e.duplicate(at, key)
      else if (!request && [...seen].some((s) => s.startsWith(`${name}/`))) e.duplicate(at, name)
      seen.add(key)
    }
    if (!claims.has(name)) {
      const known = claims.size === 0 ? ' which is empty' : `: ${[...claims].sort().join(', ')}`
      e.notFound(at, name, `must be one of the names in pod.spec.resourceClaims${known}`)
    }
  }
}

/** The sum of maps, by resource. */
export function sumResources(maps: readonly (ResourceMap | undefined)[]): Map<string, Quantity> {
  const sum = new Map<string, Quantity>()
  for (const map of maps) {
    for (const [name, text] of Object.entries(map ?? {})) {
      const q = tryParseQuantity(text)
      if (!q) continue
      const before = sum.get(name)
      sum.set(name, before ? addQuantities(before, q) : q)
    }
  }
  return sum
}

interface PodResources {
  readonly resources?: ResourceRequirements
  readonly containers: readonly { readonly resources?: ResourceRequirements }[]
}

/** The amounts of a whole pod hold those of its containers. */
export function podRequirements(e: Findings, path: string, pod: PodResources): void {
  const { resources } = pod
  if (!resources) return
  if (resources.claims) e.forbidden(`${path}.claims`, 'claims may not be set for Resources at pod-level')
  requirements(e, path, resources, new Set(), true)
  for (const [name, sum] of sumResources(pod.containers.map((c) => c.resources?.requests))) {
    const own = resources.requests?.[name]
    const q = own === undefined ? undefined : tryParseQuantity(own)
    if (q && compareQuantities(sum, q) > 0) {
      e.invalid(`${path}.requests[${name}]`, own, `must be greater than or equal to aggregate container requests of ${quantityText(sum)}`)
    }
  }
  for (const [i, c] of pod.containers.entries()) {
    for (const [name, limit] of Object.entries(c.resources?.limits ?? {})) {
      const whole = resources.limits?.[name]
      const [a, b] = [tryParseQuantity(limit), whole === undefined ? undefined : tryParseQuantity(whole)]
      if (a && b && compareQuantities(a, b) > 0) {
        e.invalid(`${path}.containers[${i}][${name}].limits`, limit, `must be less than or equal to pod limits of ${whole}`)
      }
    }
  }
}
