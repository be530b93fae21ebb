/**
 * CertificateApproval and CertificateSigning: who may write the door of a certificate request is one question, for which signer
 * another, asked as `approve` and `sign` on `signers`. And the times of conditions, which the server fills in.
 */
import type { CertificateSigningRequest } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { equal } from '../../api/patch/json-patch.ts'
import { forbidden } from '../../api/status.ts'
import { stamp, type Core } from '../core.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'

type Csr = CertificateSigningRequest
type Condition = NonNullable<NonNullable<Csr['status']>['conditions']>[number]

/** What is asked of the authorizer for a signer: its name, or its domain with a star. */
function mayActFor(core: Core, user: AdmissionEvent['call']['user'], verb: string, signer: string): boolean {
  const domain = `${signer.split('/')[0]}/*`
  return [signer, domain].some((name) => core.authorizer.authorize(user, { verb, group: 'certificates.k8s.io', version: '*', resource: 'signers', name }).allowed)
}

/** The times that the writer left out: of a condition that is as before the old ones, of a new or changed one now. */
export function stampConditions(next: Csr, old: Csr, now: string): void {
  for (const condition of (next.status?.conditions ?? []) as { -readonly [K in keyof Condition]: Condition[K] }[]) {
    const before = old.status?.conditions?.find((c) => c.type === condition.type)
    condition.lastUpdateTime ??= now
    condition.lastTransitionTime ??= before?.status === condition.status ? (before?.lastTransitionTime ?? now) : now
  }
}

export const certificateDoors: AdmissionPlugin = {
  name: 'CertificateApproval,CertificateSigning',
  admit({ core, call, verb, object, old }) {
    if (verb !== 'update' || call.def !== KINDS.CertificateSigningRequest || call.info.subresource === undefined || !old) return
    stampConditions(object as unknown as Csr, old as unknown as Csr, stamp(core))
  },
  validate({ core, call, verb, object, old }) {
    if (verb !== 'update' || call.def !== KINDS.CertificateSigningRequest || !old) return
    const [next, before] = [object as unknown as Csr, old as unknown as Csr]
    const signer = before.spec.signerName
    const action = call.info.subresource === 'approval' ? 'approve' : call.info.subresource === 'status' && changed(next, before) ? 'sign' : undefined
    if (action && !mayActFor(core, call.user, action, signer)) {
      throw forbidden(call.def, object.metadata.name ?? '', `user not permitted to ${action} requests with signerName ${JSON.stringify(signer)}`)
    }
  },
}

function changed(next: Csr, old: Csr): boolean {
  return next.status?.certificate !== old.status?.certificate || !equal(next.status?.conditions ?? [], old.status?.conditions ?? [])
}
