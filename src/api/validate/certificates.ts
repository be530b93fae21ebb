/** Validation of certificate signing requests: what is asked, who decides, and which door may say what. */
import type { CertificateSigningRequest } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import type { FieldError } from '../status.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'

/** Ten minutes, the least a certificate may live. */
const MIN_SECONDS = 600
/** Of Kubernetes before signers had names; refused, but kept where it is stored. */
const LEGACY_SIGNER = 'kubernetes.io/legacy-unknown'

const USAGES: readonly string[] = [
  'any', 'cert sign', 'client auth', 'code signing', 'content commitment', 'crl sign', 'data encipherment', 'decipher only', 'digital signature',
  'email protection', 'encipher only', 'ipsec end system', 'ipsec tunnel', 'ipsec user', 'key agreement', 'key encipherment', 'microsoft sgc',
  'netscape sgc', 'ocsp signing', 'server auth', 'signing', 's/mime', 'timestamping',
]
const DECISIONS = ['Approved', 'Denied'] as const
/** Conditions that are only ever true, and never taken back. */
const FINAL = [...DECISIONS, 'Failed'] as const
const STATUSES = ['False', 'True', 'Unknown']

type Csr = CertificateSigningRequest
type Condition = NonNullable<NonNullable<Csr['status']>['conditions']>[number]

/** A new request. */
export function signingRequestErrors(r: Csr): FieldError[] {
  return findings((e) => whole(e, r, undefined))
}

function whole(e: Findings, r: Csr, old: Csr | undefined): void {
  const { request, signerName = '', usages = [], expirationSeconds: seconds } = r.spec ?? {}
  const wrong = pemError(request ?? '', 'CERTIFICATE REQUEST')
  if (wrong) e.invalid('spec.request', request ?? '', wrong)
  if (usages.length === 0) e.required('spec.usages')
  for (const [i, usage] of usages.entries()) if (!old) e.chosen(`spec.usages[${i}]`, usage, USAGES)
  for (const [i, usage] of usages.entries()) if (!old && usages.indexOf(usage) < i) e.duplicate(`spec.usages[${i}]`, usage)
  if (!old && signerName === LEGACY_SIGNER) e.invalid('spec.signerName', signerName, 'the legacy signerName is not allowed via this API version')
  else signer(e, 'spec.signerName', signerName)
  if (seconds !== undefined && seconds < MIN_SECONDS) e.invalid('spec.expirationSeconds', seconds, 'may not specify a duration less than 600 seconds (10 minutes)')
  conditions(e, r.status?.conditions ?? [])
  const certificate = r.status?.certificate ?? ''
  if (certificate && certificate !== old?.status?.certificate) {
    const why = pemError(certificate, 'CERTIFICATE')
    if (why) e.invalid('status.certificate', '<certificate data>', why)
  }
}

function conditions(e: Findings, list: readonly Condition[]): void {
  const at = 'status.conditions'
  const types = list.map((c) => c.type)
  for (const [i, c] of list.entries()) {
    if (!c.type) e.required(`${at}[${i}].type`)
    e.choice(`${at}[${i}].status`, c.status, (FINAL as readonly string[]).includes(c.type) ? ['True'] : STATUSES)
    const before = types.slice(0, i)
    const other = c.type === 'Approved' ? 'Denied' : c.type === 'Denied' ? 'Approved' : undefined
    if (other && before.includes(other)) e.invalid(at, c.type, 'Approved and Denied conditions are mutually exclusive')
    if (before.includes(c.type)) e.duplicate(`${at}[${i}].type`, c.type)
  }
}

/** `example.com/signer-name`: a domain of at least two labels, and a path of DNS names. */
function signer(e: Findings, at: string, name: string): void {
  if (name === '') return e.required(at)
  const [domain = '', path = '', more] = name.split('/')
  if (!name.includes('/') || more !== undefined) {
    return e.invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
  }
  if (domain.length > 253) e.tooLong(at, 253)
  const labels = domain.split('.')
  firstWrong(e, at, domain, labels, dnsLabelErrors)
  if (labels.length < 2) e.invalid(at, domain, 'should be a domain with at least two segments separated by dots')
  firstWrong(e, at, path, path.split('.'), dnsSubdomainErrors)
  if (name.length > 571) e.tooLong(at, 571)
}

function firstWrong(e: Findings, at: string, whole: string, parts: readonly string[], rule: (text: string) => string[]): void {
  for (const part of parts) {
    const wrong = rule(part)
    for (const why of wrong) e.invalid(at, whole, `validating label ${JSON.stringify(part)}: ${why}`)
    if (wrong.length > 0) return
  }
}

/** What is wrong with base64 of PEM blocks of a type; the signer reads what is inside them. */
function pemError(base64: string, type: 'CERTIFICATE' | 'CERTIFICATE REQUEST'): string | undefined {
  let text = ''
  try {
    text = atob(base64.replace(/\s/g, ''))
  } catch {
    // Not base64 is no PEM either: told below.
  }
  const blocks = [...text.matchAll(/-----BEGIN ([^-]+)-----\s*([\s\S]*?)-----END \1-----/g)]
  if (type === 'CERTIFICATE REQUEST') {
    if (blocks[0]?.[1] !== type) return 'PEM block type must be CERTIFICATE REQUEST'
  } else {
    const other = blocks.find((b) => b[1] !== type)
    if (other) return `only CERTIFICATE PEM blocks are allowed, found ${JSON.stringify(other[1])}`
    if (blocks.length === 0) return 'must contain at least one CERTIFICATE PEM block'
  }
  for (const [, , body = ''] of blocks) {
    if (body.includes(':')) return 'no PEM block headers are permitted'
    // DER of either begins with a SEQUENCE.
    if (!/^MI[A-Za-z0-9+/\s]+=*\s*$/.test(body)) return 'asn1: structure error: malformed certificate data'
  }
  return undefined
}

/** Through the main door nothing of spec and decision changes. */
export const signingRequestUpdateErrors = (next: Csr, old: Csr): FieldError[] => update(next, old, {})
/** The approval door decides. */
export const approvalErrors = (next: Csr, old: Csr): FieldError[] => update(next, old, { decides: true })
/** The status door hands out the certificate. */
export const signingStatusErrors = (next: Csr, old: Csr): FieldError[] => update(next, old, { issues: true })

function update(next: Csr, old: Csr, may: { readonly decides?: boolean; readonly issues?: boolean }): FieldError[] {
  return findings((e) => {
    whole(e, next, old)
    const at = 'status.conditions'
    const of = (r: Csr, type: string): Condition[] => (r.status?.conditions ?? []).filter((c) => c.type === type)
    for (const type of FINAL) if (of(next, type).length < of(old, type).length) e.forbidden(at, `updates may not remove a condition of type "${type}"`)
    for (const type of may.decides ? [] : DECISIONS) {
      const [now, before] = [of(next, type), of(old, type)]
      if (now.length > before.length) e.forbidden(at, `updates may not add a condition of type "${type}"`)
      else if (now.length === before.length && !equal(now, before)) e.forbidden(at, `updates may not modify a condition of type "${type}"`)
    }
    const [now, before] = [next.status?.certificate ?? '', old.status?.certificate ?? '']
    if (now === before) return
    if (!may.issues) e.forbidden('status.certificate', 'updates may not set certificate content')
    else if (before) e.forbidden('status.certificate', 'updates may not modify existing certificate content')
  })
}
