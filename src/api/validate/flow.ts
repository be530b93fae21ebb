/** Validation of flow control: FlowSchema and PriorityLevelConfiguration. */
import type {
  FlowcontrolSubject, FlowSchema, LimitedPriorityLevelConfiguration, NonResourcePolicyRule, PriorityLevelConfiguration, ResourcePolicyRule,
} from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'

const MAX_PRECEDENCE = 10000
const MAX_QUEUES = 10_000_000
const MAX_HASH_BITS = 60
const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'proxy', 'update', 'watch']
const NON_RESOURCE_VERBS = ['delete', 'get', 'head', 'options', 'patch', 'post', 'put']
const ALL_VERBS = [...new Set([...VERBS, ...NON_RESOURCE_VERBS])].sort()

/** FlowSchema: which requests, to which level, in which order. */
export function flowSchemaErrors(f: FlowSchema): FieldError[] {
  return findings((e) => {
    const { matchingPrecedence: precedence = 0, distinguisherMethod, priorityLevelConfiguration, rules = [] } = f.spec ?? {}
    const at = 'spec.matchingPrecedence'
    if (precedence <= 0) e.invalid(at, precedence, 'must be a positive value')
    if (precedence > MAX_PRECEDENCE) e.invalid(at, precedence, `must not be greater than ${MAX_PRECEDENCE}`)
    if (precedence === 1 && f.metadata?.name !== 'exempt') e.invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
    if (distinguisherMethod) e.chosen('spec.distinguisherMethod.type', distinguisherMethod.type ?? '', ['ByNamespace', 'ByUser'])
    const level = priorityLevelConfiguration?.name
    if (!level) e.required('spec.priorityLevelConfiguration.name', 'must reference a priority level')
    else e.text('spec.priorityLevelConfiguration.name', level, dnsSubdomainErrors)
    for (const [i, rule] of rules.entries()) {
      const path = `spec.rules[${i}]`
      if (!rule.subjects?.length) e.required(`${path}.subjects`, 'subjects must contain at least one value')
      for (const [j, s] of (rule.subjects ?? []).entries()) subject(e, `${path}.subjects[${j}]`, s)
      if (!rule.resourceRules?.length && !rule.nonResourceRules?.length) e.required(path, 'at least one of resourceRules and nonResourceRules has to be non-empty')
      for (const [j, r] of (rule.resourceRules ?? []).entries()) resourceRule(e, `${path}.resourceRules[${j}]`, r)
      for (const [j, r] of (rule.nonResourceRules ?? []).entries()) urlRule(e, `${path}.nonResourceRules[${j}]`, r)
    }
  })
}

const SUBJECTS = { ServiceAccount: 'serviceAccount', User: 'user', Group: 'group' } as const

function subject(e: Findings, at: string, s: FlowcontrolSubject): void {
  const own = SUBJECTS[s.kind as keyof typeof SUBJECTS]
  if (!own) return e.unsupported(`${at}.kind`, s.kind ?? '', ['Group', 'ServiceAccount', 'User'])
  for (const [kind, key] of Object.entries(SUBJECTS)) if (key !== own && s[key]) e.forbidden(`${at}.${key}`, `${key} is forbidden when subject kind is not '${kind}'`)
  const who = s[own]
  if (!who) return e.required(`${at}.${own}`, `${own} is required when subject kind is '${s.kind}'`)
  if (!who.name) e.required(`${at}.${own}.name`)
  if (own !== 'serviceAccount') return
  if (who.name && who.name !== '*') e.text(`${at}.${own}.name`, who.name, dnsSubdomainErrors)
  const namespace = s.serviceAccount?.namespace
  if (!namespace) e.required(`${at}.${own}.namespace`, 'must specify namespace for service account')
  else e.text(`${at}.${own}.namespace`, namespace, dnsLabelErrors)
}

/** A list that must not be empty, and in which `*` stands alone. True when its members are to be looked at. */
function wildcard(e: Findings, at: string, list: readonly string[] | undefined, missing: string, others: string): boolean {
  if (!list?.length) {
    e.required(at, missing)
    return false
  }
  if (!list.includes('*')) return true
  if (list.length > 1) e.invalid(at, list, `if '*' is present, must not specify other ${others}`)
  return false
}

function verbs(e: Findings, at: string, list: readonly string[] | undefined): void {
  if (!wildcard(e, at, list, 'verbs must contain at least one value', 'verbs')) return
  if (!list?.every((v) => ALL_VERBS.includes(v))) e.unsupported(at, list, ALL_VERBS)
}

function resourceRule(e: Findings, at: string, r: ResourcePolicyRule): void {
  verbs(e, `${at}.verbs`, r.verbs)
  wildcard(e, `${at}.apiGroups`, r.apiGroups, 'resource rules must supply at least one api group', 'api groups')
  wildcard(e, `${at}.resources`, r.resources, 'resource rules must supply at least one resource', 'resources')
  if (!r.namespaces?.length && r.clusterScope) return
  if (!wildcard(e, `${at}.namespaces`, r.namespaces, 'resource rules that are not cluster scoped must supply at least one namespace', 'namespaces')) return
  for (const [i, n] of (r.namespaces ?? []).entries()) {
    e.text(`${at}.namespaces[${i}]`, n, (text) => dnsLabelErrors(text).map((why) => `each member of this list must be '*' or a DNS-1123 label; ${why}`))
  }
}

function urlRule(e: Findings, at: string, r: NonResourcePolicyRule): void {
  verbs(e, `${at}.verbs`, r.verbs)
  if (!wildcard(e, `${at}.nonResourceURLs`, r.nonResourceURLs, 'nonResourceURLs must contain at least one value', 'non-resource URLs')) return
  for (const [i, url] of (r.nonResourceURLs ?? []).entries()) {
    const why = urlError(url)
    if (why) e.invalid(`${at}.nonResourceURLs[${i}]`, url, why)
  }
}

function urlError(path: string): string | undefined {
  if (path === '') return 'must not be empty'
  if (path === '/') return undefined
  if (!path.startsWith('/')) return 'must start with slash'
  if (path.includes(' ')) return 'must not contain white-space'
  if (path.includes('//')) return 'must not contain double slash'
  const star = path.indexOf('*')
  return star >= 0 && !(star === path.length - 1 && path.endsWith('/*')) ? 'wildcard can only do suffix matching' : undefined
}

/** PriorityLevelConfiguration: how many requests at once, and what happens to more. */
export function priorityLevelErrors(p: PriorityLevelConfiguration): FieldError[] {
  return findings((e) => {
    const { type = '', limited, exempt } = p.spec ?? {}
    if ((p.metadata?.name === 'exempt') !== (type === 'Exempt')) e.invalid('spec.type', type, "type must be 'Exempt' if and only if name is 'exempt'")
    if (type === 'Exempt') {
      if (limited) e.forbidden('spec.limited', 'must be nil if the type is not Limited')
      e.notNegative('spec.exempt.nominalConcurrencyShares', exempt?.nominalConcurrencyShares)
      e.between('spec.exempt.lendablePercent', exempt?.lendablePercent, 0, 100)
    } else if (type === 'Limited') {
      if (exempt) e.forbidden('spec.exempt', 'must be nil if the type is Limited')
      if (!limited) e.required('spec.limited', 'must not be empty when type is Limited')
      else limit(e, 'spec.limited', limited)
    } else e.unsupported('spec.type', type, ['Exempt', 'Limited'])
  })
}

function limit(e: Findings, at: string, l: LimitedPriorityLevelConfiguration): void {
  if ((l.nominalConcurrencyShares ?? 0) < 0) e.invalid(`${at}.nominalConcurrencyShares`, l.nominalConcurrencyShares, 'must be a non-negative integer')
  e.between(`${at}.lendablePercent`, l.lendablePercent, 0, 100)
  if ((l.borrowingLimitPercent ?? 0) < 0) e.invalid(`${at}.borrowingLimitPercent`, l.borrowingLimitPercent, 'if specified, must be a non-negative integer')
  const { type = '', queuing } = l.limitResponse ?? {}
  const path = `${at}.limitResponse`
  if (type === 'Reject') {
    if (queuing) e.forbidden(`${path}.queuing`, 'must be nil if limited.limitResponse.type is not Limited')
    return
  }
  if (type !== 'Queue') return e.unsupported(`${path}.type`, type, ['Queue', 'Reject'])
  if (!queuing) return e.required(`${path}.queuing`, 'must not be empty if limited.limitResponse.type is Limited')
  const { queues = 0, handSize = 0, queueLengthLimit = 0 } = queuing
  if (queueLengthLimit <= 0) e.invalid(`${path}.queuing.queueLengthLimit`, queueLengthLimit, 'must be positive')
  if (queues <= 0) e.invalid(`${path}.queuing.queues`, queues, 'must be positive')
  else if (queues > MAX_QUEUES) e.invalid(`${path}.queuing.queues`, queues, `must not be greater than ${MAX_QUEUES}`)
  if (handSize <= 0) e.invalid(`${path}.queuing.handSize`, handSize, 'must be positive')
  else if (handSize > queues) e.invalid(`${path}.queuing.handSize`, handSize, `should not be greater than queues (${queues})`)
  else if (entropyBits(queues, handSize) > MAX_HASH_BITS) {
    e.invalid(`${path}.queuing.handSize`, handSize, `required entropy bits of deckSize ${queues} and handSize ${handSize} should not be greater than ${MAX_HASH_BITS}`)
  }
}

/** Bits that dealing a hand from a deck takes. */
function entropyBits(deck: number, hand: number): number {
  return Math.ceil(Math.log2(deck) * hand)
}
