/** Validation of nodes. */
import { isCidr } from '../formats.ts'
import type { Node } from '../gen/types.ts'
import { labelKeyErrors, labelValueErrors } from '../names.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { supported } from './container.ts'
import { TAINT_EFFECTS } from './placement.ts'

/** Node: CIDRs and taints. */
export function nodeErrors(n: Node): FieldError[] {
  const errors: FieldError[] = []
  for (const [i, c] of (n.spec?.podCIDRs ?? []).entries()) {
    if (!isCidr(c)) errors.push(fieldInvalid(`spec.podCIDRs[${i}]`, c, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'))
  }
  const seen = new Set<string>()
  for (const [i, t] of (n.spec?.taints ?? []).entries()) {
    const at = `spec.taints[${i}]`
    errors.push(...labelKeyErrors(t.key ?? '').map((e) => fieldInvalid(`${at}.key`, t.key, e)))
    errors.push(...labelValueErrors(t.value ?? '').map((e) => fieldInvalid(`${at}.value`, t.value, e)))
    if (!t.effect) errors.push(fieldRequired(`${at}.effect`))
    else supported(t.effect, TAINT_EFFECTS, `${at}.effect`, errors)
    const key = `${t.key}/${t.effect}`
    const twice = fieldDuplicate(at, t)
    if (seen.has(key)) errors.push({ ...twice, message: `${twice.message}: taints must be unique by key and effect pair` })
    seen.add(key)
  }
  return errors
}

/** What a Node keeps once it has it. */
export function nodeUpdateErrors(next: Node, old: Node): FieldError[] {
  const errors: FieldError[] = []
  for (const [key, field] of [['podCIDR', 'podCIDRs'], ['providerID', 'providerID']] as const) {
    const before = old.spec?.[key]
    if (before && next.spec?.[key] !== before) errors.push(fieldForbidden(`spec.${field}`, `node updates may not change ${key} except from "" to valid`))
  }
  return errors
}
