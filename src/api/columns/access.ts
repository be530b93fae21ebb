/** Printed columns of identity and permission: RBAC, certificate requests, leases. */
import type { CertificateSigningRequest, Lease, RoleBinding } from '../gen/types.ts'
import { age, humanDuration, nameOf, printer } from './column.ts'
import type { Printer } from './column.ts'

export const leases: Printer = printer<Lease>(['Name', 'Holder | LeaseSpec.holderIdentity', 'Age'], (l, now) => [nameOf(l), l.spec?.holderIdentity ?? '', age(l, now)])

const bindings = (word: string, role: string): Printer =>
  printer<RoleBinding>(
    ['Name', `Role | ${role}`, 'Age', `Users+ | Users in the ${word}`, `Groups+ | Groups in the ${word}`, `ServiceAccounts+ | ServiceAccounts in the ${word}`],
    (b, now) => {
      const of = (kind: string): string =>
        (b.subjects ?? [])
          .filter((s) => s.kind === kind)
          .map((s) => (kind === 'ServiceAccount' ? `${s.namespace ?? ''}/${s.name}` : s.name))
          .join(', ')
      return [nameOf(b), `${b.roleRef.kind}/${b.roleRef.name}`, age(b, now), of('User'), of('Group'), of('ServiceAccount')]
    },
  )

export const roleBindings: Printer = bindings('roleBinding', 'RoleBinding.roleRef')
export const clusterRoleBindings: Printer = bindings('clusterRoleBinding', 'ClusterRoleBinding.roleRef')

export const signingRequests: Printer = printer<CertificateSigningRequest>(
  [
    'Name', 'Age', 'SignerName | CertificateSigningRequestSpec.signerName', 'Requestor | CertificateSigningRequestSpec.request',
    'RequestedDuration | CertificateSigningRequestSpec.expirationSeconds', 'Condition | CertificateSigningRequestStatus.conditions',
  ],
  (r, now) => {
    const types = new Set((r.status?.conditions ?? []).map((c) => c.type))
    let condition = types.has('Denied') ? 'Denied' : types.has('Approved') ? 'Approved' : 'Pending'
    if (types.has('Failed')) condition += ',Failed'
    if (r.status?.certificate) condition += ',Issued'
    const seconds = r.spec.expirationSeconds
    const duration = seconds === undefined ? '<none>' : humanDuration(seconds * 1000)
    return [nameOf(r), age(r, now), r.spec.signerName || '<none>', r.spec.username ?? '', duration, condition]
  },
)
