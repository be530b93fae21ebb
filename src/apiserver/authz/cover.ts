/** Which rights lie within others: the arithmetic behind "nobody grants more than they hold". Pure. */
import { ruleAllows, type PolicyRule } from './rbac.ts'

/** True when every single act of `wanted` is allowed by some held rule; a `*` wanted needs a `*` held. */
export function covers(held: readonly PolicyRule[], wanted: PolicyRule): boolean {
  return singles(wanted).every((one) => coversOne(held, one))
}

/** What of `wanted` is not held, put together by what it is about, in Kubernetes' notation and order. */
export function missingRules(held: readonly PolicyRule[], wanted: readonly PolicyRule[]): string[] {
  const verbs = new Map<string, { rule: PolicyRule; verbs: Set<string> }>()
  for (const one of wanted.flatMap(singles)) {
    if (coversOne(held, one)) continue
    const about = JSON.stringify({ ...one, verbs: [] })
    const known = verbs.get(about)
    if (known) known.verbs.add(one.verbs[0] as string)
    else verbs.set(about, { rule: one, verbs: new Set(one.verbs) })
  }
  return [...verbs.values()].map((v) => ruleText({ ...v.rule, verbs: [...v.verbs].toSorted() })).toSorted()
}

/** `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}` */
export function ruleText(rule: PolicyRule): string {
  const parts: (readonly [string, readonly string[] | undefined])[] = [
    ['APIGroups', rule.apiGroups],
    ['Resources', rule.resources],
    ['NonResourceURLs', rule.nonResourceURLs],
    ['ResourceNames', rule.resourceNames],
    ['Verbs', rule.verbs],
  ]
  return `{${parts.filter(([, list]) => list?.length).map(([name, list]) => `${name}:${quoted(list ?? [])}`).join(', ')}}`
}

/** A list as Go prints it with `%q`. */
export function quoted(list: readonly string[]): string {
  return `[${list.map((one) => JSON.stringify(one)).join(' ')}]`
}

/** One verb on one thing each. */
function singles(rule: PolicyRule): PolicyRule[] {
  const out: PolicyRule[] = []
  const names = rule.resourceNames?.length ? rule.resourceNames : [undefined]
  for (const verb of rule.verbs) {
    for (const url of rule.nonResourceURLs ?? []) out.push({ verbs: [verb], nonResourceURLs: [url] })
    for (const group of rule.apiGroups ?? []) {
      for (const resource of rule.resources ?? []) {
        for (const name of names) out.push({ verbs: [verb], apiGroups: [group], resources: [resource], ...(name === undefined ? {} : { resourceNames: [name] }) })
      }
    }
  }
  return out
}

function coversOne(held: readonly PolicyRule[], one: PolicyRule): boolean {
  const verb = one.verbs[0] as string
  const path = one.nonResourceURLs?.[0]
  if (path !== undefined) return held.some((rule) => ruleAllows(rule, { verb, path }))
  const [resource = '', subresource] = (one.resources?.[0] ?? '').split('/')
  const name = one.resourceNames?.[0]
  const act = { verb, group: one.apiGroups?.[0] ?? '', resource, ...(subresource === undefined ? {} : { subresource }), ...(name === undefined ? {} : { name }) }
  return held.some((rule) => ruleAllows(rule, act))
}
