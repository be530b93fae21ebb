/**
 * Address families of a Service, on a cluster that has one: what its author left open is settled, what the cluster cannot give
 * is refused in Kubernetes' words. Pure.
 */
import type { Service } from '../api/gen/types.ts'
import { fieldInvalid, type FieldError } from '../api/status.ts'
import { clusterIpErrors, familyOf } from '../api/validate/service.ts'

type ServiceSpec = NonNullable<Service['spec']>
export type Family = 'IPv4' | 'IPv6'

const OTHER: Readonly<Record<string, Family>> = { IPv4: 'IPv6', IPv6: 'IPv4' }
const DUAL = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"

/**
 * Sets `ipFamilyPolicy` and `ipFamilies` of a Service that is no ExternalName; `ours` is the family of the cluster's Service
 * addresses. @returns why it cannot be, in which case the spec is not to be used
 */
export function settleFamilies(spec: ServiceSpec, old: ServiceSpec | undefined, ours: Family): FieldError[] {
  const bare = spec.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0
  // Nobody's endpoints but its author's: of both families, as far as anyone knows.
  spec.ipFamilyPolicy ??= old?.ipFamilyPolicy ?? (bare ? 'RequireDualStack' : 'SingleStack')
  const addresses = (spec.clusterIPs ??= spec.clusterIP ? [spec.clusterIP] : [])
  const unfit = clusterIpErrors(spec)
  if (unfit.length > 0) return unfit
  const policy = spec.ipFamilyPolicy
  const families = (spec.ipFamilies ??= [])
  if (old && policy === 'SingleStack') {
    if (same(old.clusterIPs, addresses)) addresses.splice(1)
    if (same(old.ipFamilies, families)) families.splice(1)
  }
  const wrong: FieldError[] = []
  const refuse = (path: string, value: unknown, why: string): void => void wrong.push(fieldInvalid(path, value, why))
  if (policy === 'SingleStack') {
    if (addresses.length > 1) refuse('spec.ipFamilyPolicy', policy, `${DUAL} cluster IPs are specified`)
    if (families.length > 1) refuse('spec.ipFamilyPolicy', policy, `${DUAL} IP families are specified`)
  }
  for (const [i, ip] of addresses.entries()) {
    if (ip === 'None' || i < families.length) continue
    const family = familyOf(ip)
    if (family === ours) families.push(family)
    else refuse(`spec.clusterIPs[${i}]`, addresses, `${family} is not configured on this cluster`)
  }
  if (wrong.length > 0) return wrong
  if (bare) {
    if (families.length === 0) families.push(ours)
    if (families.length < 2 && policy !== 'SingleStack') families.push(OTHER[families[0] ?? ours] ?? ours)
    return []
  }
  if (policy === 'RequireDualStack') refuse('spec.ipFamilyPolicy', policy, 'this cluster is not configured for dual-stack services')
  for (const [i, family] of families.entries()) if (family !== ours) refuse(`spec.ipFamilies[${i}]`, family, 'not configured on this cluster')
  if (wrong.length === 0 && families.length === 0) families.push(ours)
  return wrong
}

function same(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a !== undefined && a.length === b.length && a.every((x, i) => x === b[i])
}
