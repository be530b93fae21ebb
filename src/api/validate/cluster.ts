/** Validation of leases, certificate requests and RBAC. */
import type { CertificateSigningRequest, ClusterRole, ClusterRoleBinding, Lease, Role, RoleBinding } from '../gen/types.ts'
import { equal } from '../patch/json-patch.ts'
import { fieldInvalid, fieldNotSupported, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { supported } from './container.ts'
import { immutable } from './meta.ts'

const RBAC = 'rbac.authorization.k8s.io'

/** Lease: sensible counts. */
export function leaseErrors(l: Lease): FieldError[] {
  const errors: FieldError[] = []
  const { leaseDurationSeconds: seconds, leaseTransitions: transitions } = l.spec ?? {}
  if (seconds !== undefined && seconds <= 0) errors.push(fieldInvalid('spec.leaseDurationSeconds', seconds, 'must be greater than 0'))
  if (transitions !== undefined && transitions < 0) errors.push(fieldInvalid('spec.leaseTransitions', transitions, 'must be greater than or equal to 0'))
  return errors
}

/** Ten minutes, the least a certificate may live. */
const MIN_CERTIFICATE_SECONDS = 600

/** CertificateSigningRequest: request, signer, usages, duration. The PEM itself is read by who signs it. */
export function signingRequestErrors(r: CertificateSigningRequest): FieldError[] {
  const errors: FieldError[] = []
  const { request, signerName, usages, expirationSeconds: seconds } = r.spec ?? {}
  if (!request) errors.push(fieldInvalid('spec.request', request ?? '', 'PEM block type must be CERTIFICATE REQUEST'))
  if (!signerName) errors.push(fieldRequired('spec.signerName'))
  else if (!signerName.includes('/')) {
    errors.push(fieldInvalid('spec.signerName', signerName, "must be a fully qualified domain and path of the form 'example.com/signer-name'"))
  }
  if (!usages?.length) errors.push(fieldRequired('spec.usages'))
  if (seconds !== undefined && seconds < MIN_CERTIFICATE_SECONDS) {
    errors.push(fieldInvalid('spec.expirationSeconds', seconds, 'may not specify a duration less than 600 seconds (10 minutes)'))
  }
  return errors
}

export const signingRequestUpdateErrors = (next: CertificateSigningRequest, old: CertificateSigningRequest): FieldError[] =>
  immutable('spec', next.spec, old.spec)

/** Role or ClusterRole (`cluster`): each rule says what it allows on what. */
export function roleErrors(r: Role | ClusterRole, cluster: boolean): FieldError[] {
  return (r.rules ?? []).flatMap((rule, i) => {
    const at = `rules[${i}]`
    const errors: FieldError[] = []
    const urls = rule.nonResourceURLs
    if (!rule.verbs?.length) errors.push(fieldRequired(`${at}.verbs`, 'verbs must contain at least one value'))
    if (urls?.length) {
      if (!cluster) errors.push(fieldInvalid(`${at}.nonResourceURLs`, urls, 'namespaced rules cannot apply to non-resource URLs'))
      if (rule.apiGroups?.length || rule.resources?.length || rule.resourceNames?.length) {
        errors.push(fieldInvalid(`${at}.nonResourceURLs`, urls, 'rules cannot apply to both regular resources and non-resource URLs'))
      }
      return errors
    }
    if (!rule.apiGroups?.length) errors.push(fieldRequired(`${at}.apiGroups`, 'resource rules must supply at least one api group'))
    if (!rule.resources?.length) errors.push(fieldRequired(`${at}.resources`, 'resource rules must supply at least one resource'))
    return errors
  })
}

/** RoleBinding or ClusterRoleBinding (`cluster`): role and subjects. */
export function bindingErrors(b: RoleBinding | ClusterRoleBinding, cluster: boolean): FieldError[] {
  const errors: FieldError[] = []
  const kinds = cluster ? ['ClusterRole'] : ['ClusterRole', 'Role']
  const { apiGroup = '', kind = '', name } = b.roleRef ?? {}
  if (apiGroup !== RBAC) errors.push(fieldNotSupported('roleRef.apiGroup', apiGroup, [RBAC]))
  supported(kind, kinds, 'roleRef.kind', errors)
  if (!name) errors.push(fieldRequired('roleRef.name'))
  for (const [i, s] of (b.subjects ?? []).entries()) {
    const at = `subjects[${i}]`
    if (!s.name) errors.push(fieldRequired(`${at}.name`))
    supported(s.kind ?? '', ['Group', 'ServiceAccount', 'User'], `${at}.kind`, errors)
    if (s.kind === 'ServiceAccount' && cluster && !s.namespace) errors.push(fieldRequired(`${at}.namespace`))
  }
  return errors
}

export const bindingUpdateErrors = (next: RoleBinding | ClusterRoleBinding, old: RoleBinding | ClusterRoleBinding): FieldError[] =>
  equal(next.roleRef, old.roleRef) ? [] : [fieldInvalid('roleRef', next.roleRef, 'cannot change roleRef')]
