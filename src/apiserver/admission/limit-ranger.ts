/** LimitRanger: fills in a namespace's default requests and limits, then holds pods and claims to its minimums, maximums and ratios. */
import type { PodSpec } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { qosClass } from '../../api/qos.ts'
import { tryParseQuantity } from '../../api/quantity.ts'
import { forbidden } from '../../api/status.ts'
import type { Obj } from '../stored-text.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'
import { podResources } from './quota-usage.ts'
import { isResize } from './resource-quota.ts'

type Amounts = Record<string, string>
interface Limit {
  type: string
  min?: Amounts
  max?: Amounts
  default?: Amounts
  defaultRequest?: Amounts
  maxLimitRequestRatio?: Amounts
}
interface Resources {
  requests?: Amounts
  limits?: Amounts
}

export const limitRanger: AdmissionPlugin = {
  name: 'LimitRanger',
  admit(event) {
    const { call, verb, object } = event
    if (verb !== 'create' || call.def !== KINDS.Pod) return
    const limits = limitsOf(event).filter((l) => l.type === 'Container')
    if (limits.length === 0) return
    const spec = object.spec as PodSpec
    const said: string[] = []
    for (const [list, what] of [[spec.containers, 'container'], [spec.initContainers, 'init container']] as const) {
      for (const c of list ?? []) said.push(...fill(((c as { resources?: Resources }).resources ??= {}), `${what} ${c.name}`, limits))
    }
    if (said.length === 0) return
    object.metadata.annotations = { ...object.metadata.annotations, 'kubernetes.io/limit-ranger': `LimitRanger plugin set: ${said.join('; ')}` }
    object.status = { ...(object.status as object | undefined), qosClass: qosClass(spec) }
  },
  validate(event) {
    const { call, verb, object } = event
    const isClaim = call.def === KINDS.PersistentVolumeClaim
    const looked = isResize(event) || (call.info.subresource === undefined && (isClaim ? verb !== 'delete' : call.def === KINDS.Pod && verb === 'create'))
    if (!looked) return
    const found = limitsOf(event).flatMap((l) => (isClaim ? claimFaults(l, object) : podFaults(l, object.spec as PodSpec)))
    if (found.length === 0) return
    const unique = [...new Set(found)]
    throw forbidden(call.def, object.metadata.name ?? '', unique.length === 1 ? (unique[0] as string) : `[${unique.join(', ')}]`)
  },
}

function limitsOf({ core, object }: AdmissionEvent): Limit[] {
  const cache = core.cache.resource('limitranges')
  if (cache.size === 0 || !object.metadata.namespace) return []
  return [...cache.scan(`${cache.prefix}${object.metadata.namespace}/`)].flatMap((e) => ((e.parsed().spec as { limits?: Limit[] } | undefined)?.limits ?? []).map(settled))
}

/** A LimitRange's own defaults: the limit from max, the request from the limit, then from min. */
function settled(limit: Limit): Limit {
  if (limit.type !== 'Container') return limit
  const whole = { ...limit.max, ...limit.default }
  return { ...limit, default: whole, defaultRequest: { ...limit.min, ...whole, ...limit.defaultRequest } }
}

/** Sets what is missing; says what it set, as Kubernetes' annotation does. */
function fill(resources: Resources, who: string, limits: readonly Limit[]): string[] {
  const set = (which: 'requests' | 'limits', from: 'defaultRequest' | 'default'): string[] => {
    const names: string[] = []
    for (const limit of limits) {
      for (const [name, amount] of Object.entries(limit[from] ?? {})) {
        if (resources[which]?.[name] !== undefined) continue
        resources[which] = { ...resources[which], [name]: amount }
        names.push(name)
      }
    }
    return names.length === 0 ? [] : [`${names.toSorted().join(', ')} ${which === 'requests' ? 'request' : 'limit'} for ${who}`]
  }
  // A limit that is given is its own request, as in a namespace without limits.
  for (const [name, amount] of Object.entries(resources.limits ?? {})) if (resources.requests?.[name] === undefined) resources.requests = { ...resources.requests, [name]: amount }
  return [...set('requests', 'defaultRequest'), ...set('limits', 'default')]
}

function podFaults(limit: Limit, spec: PodSpec): string[] {
  if (limit.type === 'Container') return [...(spec.containers ?? []), ...(spec.initContainers ?? [])].flatMap((c) => faults(limit, (c.resources ?? {}) as Resources))
  return limit.type === 'Pod' ? faults(limit, podResources(spec)) : []
}

function claimFaults(limit: Limit, claim: Obj): string[] {
  if (limit.type !== 'PersistentVolumeClaim') return []
  const requests = (claim.spec as { resources?: Resources } | undefined)?.resources?.requests ?? {}
  return bounds({ ...limit, maxLimitRequestRatio: {} }, { requests, limits: requests }, 'request')
}

function faults(limit: Limit, resources: Resources): string[] {
  return bounds(limit, resources, 'limit')
}

function bounds({ type, min = {}, max = {}, maxLimitRequestRatio = {} }: Limit, { requests = {}, limits = {} }: Resources, upper: string): string[] {
  const nano = (text: string | undefined): bigint | undefined => (text === undefined ? undefined : tryParseQuantity(text)?.nano)
  const found: string[] = []
  for (const [name, least] of Object.entries(min)) {
    const [request, cap] = [nano(requests[name]), nano(limits[name])]
    const floor = nano(least) ?? 0n
    if (request === undefined) found.push(`minimum ${name} usage per ${type} is ${least}.  No request is specified`)
    else if (request < floor) found.push(`minimum ${name} usage per ${type} is ${least}, but request is ${requests[name]}`)
    if (cap !== undefined && cap < floor && upper === 'limit') found.push(`minimum ${name} usage per ${type} is ${least}, but limit is ${limits[name]}`)
  }
  for (const [name, most] of Object.entries(max)) {
    const [request, cap] = [nano(requests[name]), nano(limits[name])]
    const ceiling = nano(most) ?? 0n
    if (cap === undefined) found.push(`maximum ${name} usage per ${type} is ${most}.  No ${upper} is specified`)
    else if (cap > ceiling) found.push(`maximum ${name} usage per ${type} is ${most}, but ${upper} is ${limits[name]}`)
    if (request !== undefined && request > ceiling && upper === 'limit') found.push(`maximum ${name} usage per ${type} is ${most}, but request is ${requests[name]}`)
  }
  for (const [name, ratio] of Object.entries(maxLimitRequestRatio)) {
    const [request, cap] = [nano(requests[name]), nano(limits[name])]
    if (request === undefined || request === 0n) found.push(`${name} max limit to request ratio per ${type} is ${ratio}, but no request is specified or request is 0`)
    else if (cap === undefined || cap === 0n) found.push(`${name} max limit to request ratio per ${type} is ${ratio}, but no limit is specified or limit is 0`)
    else if (Number(cap) / Number(request) > Number(nano(ratio) ?? 0n) / 1e9) found.push(`${name} max limit to request ratio per ${type} is ${ratio}, but provided ratio is ${(Number(cap) / Number(request)).toFixed(6)}`)
  }
  return found
}
