/** Approves and signs certificate requests of nodes, signs what an administrator approved, and removes old requests. */
import type { CertificateSigningRequest, SubjectAccessReview } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { hasCode } from '../../base/errors.ts'
import { parseCsr } from '../../base/pki.ts'
import { createController, kubeTime, setCondition, watchObjects, type Controller, type Result } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { expiresInMs, planCsr, type CsrSubject } from './plan.ts'

/** Issues a certificate for the key of a request; given at wiring, where the CA is. */
export type SignClient = (request: { readonly csrPem: string; readonly cn: string; readonly o: readonly string[]; readonly sans: CsrSubject['sans']; readonly usage: 'client' | 'server'; readonly days: number }) => Promise<string>

/** @param sign called only for requests that are approved and are what they should be */
export function createCertificateController({ client, caches, clock }: ControllerContext, sign: SignClient): Controller {
  const requests = caches.cache<CertificateSigningRequest>(KINDS.CertificateSigningRequest)
  const api = client.resource<CertificateSigningRequest>(KINDS.CertificateSigningRequest)

  const reviews = client.resource<SubjectAccessReview>(KINDS.SubjectAccessReview)

  const withCondition = (csr: Readonly<CertificateSigningRequest>, type: string, reason: string, message: string): CertificateSigningRequest => {
    const now = kubeTime(clock.now())
    const condition = { type, status: 'True', reason, message, lastUpdateTime: now }
    return { ...csr, status: { ...csr.status, conditions: setCondition(csr.status?.conditions, condition, now) } }
  }

  /** Whether the requester has a right that lets the request be approved by itself. */
  const may = async ({ spec }: Readonly<CertificateSigningRequest>, subresource: string): Promise<boolean> => {
    const { username: user = '', uid, groups = [], extra } = spec
    const resourceAttributes = { group: 'certificates.k8s.io', resource: 'certificatesigningrequests', subresource, verb: 'create', version: '*' }
    const review = await reviews.create({ spec: { user, groups, resourceAttributes, ...(uid === undefined ? {} : { uid }), ...(extra === undefined ? {} : { extra }) } })
    return review.status?.allowed === true
  }

  const reconcile = async (name: string): Promise<Result | void> => {
    const csr = requests.get(name)
    if (!csr) return
    const leftMs = expiresInMs(csr, clock.now())
    if (leftMs <= 0) {
      await api.delete(name).catch((error: unknown) => {
        if (!hasCode(error, 'not-found')) throw error
      })
      return
    }
    const csrPem = Buffer.from(csr.spec.request, 'base64').toString('utf8')
    const plan = planCsr(csr, await readSubject(csrPem))
    switch (plan.do) {
      case 'nothing':
        break
      case 'ask':
        for (const { subresource, message } of plan.rights) {
          if (!(await may(csr, subresource))) continue
          await api.update(withCondition(csr, 'Approved', 'AutoApproved', message), { subresource: 'approval' })
          break
        }
        break
      case 'fail':
        await api.update(withCondition(csr, 'Failed', 'SignerValidationFailure', plan.message), { subresource: 'status' })
        break
      case 'sign': {
        const { cn, o, sans, usage, days } = plan
        const certificate = Buffer.from(await sign({ csrPem, cn, o, sans, usage, days })).toString('base64')
        await api.update({ ...csr, status: { ...csr.status, certificate } }, { subresource: 'status' })
        break
      }
      default:
        throw new Error(`handle request: unknown plan ${JSON.stringify(plan satisfies never)}`)
    }
    return { requeueAfterMs: leftMs }
  }

  return createController({ name: 'certificates', clock, sources: [watchObjects(requests)], caches: [requests], reconcile })
}

async function readSubject(csrPem: string): Promise<CsrSubject | undefined> {
  try {
    return await parseCsr(csrPem)
  } catch {
    return undefined // the plan says what follows from an unreadable request
  }
}
