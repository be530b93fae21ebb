/** The pure part of certificate signing: which requests are approved by themselves, which are signed, when one is too old. */
import type { CertificateSigningRequest } from '../../api/gen/types.ts'
import { GROUP_BOOTSTRAPPERS, GROUP_MASTERS, GROUP_NODES } from '../../api/contract.ts'
import { findCondition } from '../../control/mod.ts'

export const SIGNER_KUBELET = 'kubernetes.io/kube-apiserver-client-kubelet'
export const SIGNER_CLIENT = 'kubernetes.io/kube-apiserver-client'
const USAGES = new Set(['key encipherment', 'digital signature', 'client auth'])
const DAY_S = 86_400

/** What the request itself says, as read from its PEM. */
export interface CsrSubject {
  readonly cn: string
  readonly o: readonly string[]
  readonly sans: { readonly dns: readonly string[]; readonly ip: readonly string[] }
  readonly signatureValid: boolean
}

export type CsrPlan =
  | { readonly do: 'nothing' }
  | { readonly do: 'approve'; readonly message: string }
  | { readonly do: 'sign'; readonly cn: string; readonly o: readonly string[]; readonly days: number }
  | { readonly do: 'fail'; readonly message: string }

/** @param subject what the PEM says; undefined when it cannot be read */
export function planCsr(csr: Readonly<CertificateSigningRequest>, subject: CsrSubject | undefined): CsrPlan {
  const { signerName, usages = [] } = csr.spec
  if (signerName !== SIGNER_KUBELET && signerName !== SIGNER_CLIENT) return { do: 'nothing' }
  const has = (type: string): boolean => findCondition(csr.status?.conditions, type)?.status === 'True'
  if (has('Denied') || has('Failed') || (csr.status?.certificate ?? '') !== '') return { do: 'nothing' }
  const wrong = whatIsWrong(signerName, usages, subject)
  if (has('Approved')) {
    if (wrong !== undefined || !subject) return { do: 'fail', message: wrong ?? 'the request cannot be read' }
    const seconds = Math.max(600, csr.spec.expirationSeconds ?? 365 * DAY_S)
    return { do: 'sign', cn: subject.cn, o: subject.o, days: Math.min(seconds / DAY_S, 365) }
  }
  if (wrong !== undefined || signerName !== SIGNER_KUBELET) return { do: 'nothing' }
  if (csr.spec.username === subject?.cn) return { do: 'approve', message: 'Auto approving the renewal of a node certificate by its holder.' }
  if (csr.spec.groups?.includes(GROUP_BOOTSTRAPPERS)) return { do: 'approve', message: 'Auto approving a node certificate for the holder of a bootstrap token.' }
  return { do: 'nothing' }
}

function whatIsWrong(signer: string, usages: readonly string[], subject: CsrSubject | undefined): string | undefined {
  if (!subject) return 'the request cannot be read as a PEM certificate request'
  if (!subject.signatureValid) return 'the request is not signed by the key it names'
  if (!usages.includes('client auth') || usages.some((u) => !USAGES.has(u))) return `usages "${usages.join(', ')}" are not those of a client`
  if (subject.o.includes(GROUP_MASTERS)) return `organization "${GROUP_MASTERS}" cannot be requested`
  if (signer === SIGNER_CLIENT) return undefined
  if (!subject.cn.startsWith('system:node:') || subject.cn === 'system:node:') return `common name "${subject.cn}" is not "system:node:<name>"`
  if (subject.o.length !== 1 || subject.o[0] !== GROUP_NODES) return `organization "${subject.o.join(', ')}" is not "${GROUP_NODES}"`
  if (subject.sans.dns.length + subject.sans.ip.length > 0) return 'a node client certificate has no alternative names'
  return undefined
}

/** Milliseconds until a request may be removed: an hour after it was decided, a day when nobody did. */
export function expiresInMs(csr: Readonly<CertificateSigningRequest>, nowMs: number): number {
  const decided = csr.status?.conditions?.find((c) => ['Approved', 'Denied', 'Failed'].includes(c.type))
  const since = Date.parse(decided?.lastUpdateTime ?? decided?.lastTransitionTime ?? csr.metadata?.creationTimestamp ?? '')
  return (Number.isNaN(since) ? nowMs : since) + (decided ? 3_600_000 : 24 * 3_600_000) - nowMs
}
