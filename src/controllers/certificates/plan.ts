/** The pure part of certificate signing: which requests are approved by themselves, which are signed, when one is too old. */
import type { CertificateSigningRequest } from '../../api/gen/types.ts'
import { GROUP_MASTERS, GROUP_NODES } from '../../api/contract.ts'
import { findCondition } from '../../control/mod.ts'

export const SIGNER_KUBELET = 'kubernetes.io/kube-apiserver-client-kubelet'
export const SIGNER_CLIENT = 'kubernetes.io/kube-apiserver-client'
export const SIGNER_SERVING = 'kubernetes.io/kubelet-serving'
const DAY_S = 86_400

/** What the request itself says, as read from its PEM. */
export interface CsrSubject {
  readonly cn: string
  readonly o: readonly string[]
  readonly sans: { readonly dns: readonly string[]; readonly ip: readonly string[] }
  readonly signatureValid: boolean
}

/** A right that lets a node's request be approved by itself: to `create` this subresource of certificate requests. */
export interface AutoApproval {
  readonly subresource: 'selfnodeclient' | 'nodeclient'
  readonly message: string
}

export type CsrPlan =
  | { readonly do: 'nothing' }
  /** Approve when the requester has one of these rights. */
  | { readonly do: 'ask'; readonly rights: readonly AutoApproval[] }
  | { readonly do: 'sign'; readonly cn: string; readonly o: readonly string[]; readonly sans: CsrSubject['sans']; readonly usage: 'client' | 'server'; readonly days: number }
  | { readonly do: 'fail'; readonly message: string }

interface SignerRules {
  readonly usage: 'client' | 'server'
  /** For nodes only: name and organization say which. */
  readonly node: boolean
  /** Alternative names: none, some, or as it likes. */
  readonly sans: 'none' | 'some' | 'any'
}

/** The signers of Kubernetes that this server answers for, with their documented rules. */
const SIGNERS: Readonly<Record<string, SignerRules>> = {
  [SIGNER_CLIENT]: { usage: 'client', node: false, sans: 'any' },
  [SIGNER_KUBELET]: { usage: 'client', node: true, sans: 'none' },
  [SIGNER_SERVING]: { usage: 'server', node: true, sans: 'some' },
}

/** @param subject what the PEM says; undefined when it cannot be read */
export function planCsr(csr: Readonly<CertificateSigningRequest>, subject: CsrSubject | undefined): CsrPlan {
  const { signerName, usages = [] } = csr.spec
  const rules = SIGNERS[signerName]
  if (!rules) return { do: 'nothing' }
  const has = (type: string): boolean => findCondition(csr.status?.conditions, type)?.status === 'True'
  if (has('Denied') || has('Failed') || (csr.status?.certificate ?? '') !== '') return { do: 'nothing' }
  const wrong = whatIsWrong(rules, usages, subject)
  if (has('Approved')) {
    if (wrong !== undefined || !subject) return { do: 'fail', message: wrong ?? 'the request cannot be read' }
    const seconds = Math.max(600, csr.spec.expirationSeconds ?? 365 * DAY_S)
    return { do: 'sign', cn: subject.cn, o: subject.o, sans: subject.sans, usage: rules.usage, days: Math.min(seconds / DAY_S, 365) }
  }
  if (wrong !== undefined || signerName !== SIGNER_KUBELET) return { do: 'nothing' }
  const own: AutoApproval = { subresource: 'selfnodeclient', message: 'Auto approving self kubelet client certificate after SubjectAccessReview.' }
  const first: AutoApproval = { subresource: 'nodeclient', message: 'Auto approving kubelet client certificate after SubjectAccessReview.' }
  return { do: 'ask', rights: csr.spec.username === subject?.cn ? [own, first] : [first] }
}

function whatIsWrong(rules: SignerRules, usages: readonly string[], subject: CsrSubject | undefined): string | undefined {
  if (!subject) return 'the request cannot be read as a PEM certificate request'
  if (!subject.signatureValid) return 'the request is not signed by the key it names'
  const wanted = `${rules.usage} auth`
  const others = usages.filter((u) => u !== wanted && u !== 'key encipherment' && u !== 'digital signature')
  if (!usages.includes(wanted) || others.length > 0) return `usages did not match "${wanted}", "digital signature" and at most "key encipherment": they are "${usages.join('", "')}"`
  if (rules.node && !usages.includes('digital signature')) return 'usages do not include "digital signature"'
  if (subject.o.includes(GROUP_MASTERS)) return `organization "${GROUP_MASTERS}" cannot be requested`
  if (!rules.node) return undefined
  if (!subject.cn.startsWith('system:node:') || subject.cn === 'system:node:') return `common name "${subject.cn}" is not "system:node:<name>"`
  if (subject.o.length !== 1 || subject.o[0] !== GROUP_NODES) return `organization "${subject.o.join(', ')}" is not "${GROUP_NODES}"`
  const names = subject.sans.dns.length + subject.sans.ip.length
  if (rules.sans === 'none' && names > 0) return 'a node client certificate has no alternative names'
  if (rules.sans === 'some' && names === 0) return 'a serving certificate needs at least one DNS name or IP address'
  return undefined
}

/** Milliseconds until a request may be removed: an hour after it was decided, a day when nobody did. */
export function expiresInMs(csr: Readonly<CertificateSigningRequest>, nowMs: number): number {
  const decided = csr.status?.conditions?.find((c) => ['Approved', 'Denied', 'Failed'].includes(c.type))
  const since = Date.parse(decided?.lastUpdateTime ?? decided?.lastTransitionTime ?? csr.metadata?.creationTimestamp ?? '')
  return (Number.isNaN(since) ? nowMs : since) + (decided ? 3_600_000 : 24 * 3_600_000) - nowMs
}
