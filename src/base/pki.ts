/**
 * Keys and certificates: P-256, signed by one root. Pure of policy: who may have which name is decided by the caller.
 *
 * Making and signing need an ASN.1 library that costs about 20 MB and 0.1 s to load, so that work is done in a thread of its
 * own (`pki-worker.ts`) which ends a few seconds after the last job; reading certificates uses Node's own parser, here.
 * Private keys cross to that thread as PEM and are never logged. Used by apiserver wiring, tunnel (join), agent (renewal).
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPair, X509Certificate } from 'node:crypto'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { promisify } from 'node:util'
import type { Worker } from 'node:worker_threads'
import { AppError } from './errors.ts'
import { startWorker } from './worker.ts'

/** A certificate with its private key (PKCS#8), both PEM. */
export interface KeyedCert {
  readonly certPem: string
  readonly keyPem: string
}

export interface Sans {
  readonly dns?: readonly string[]
  readonly ip?: readonly string[]
}

export interface CreateCa {
  readonly cn: string
  /** Validity from now. */
  readonly years: number
  /** Wall clock, ms. @default Date.now() */
  readonly now?: number
}

export interface IssueRequest {
  readonly ca: KeyedCert
  /** What is certified: the key of a request, or a public key (SPKI PEM). Exactly one. Nothing else of the request is taken over. */
  readonly csrPem?: string
  readonly publicKeyPem?: string
  readonly cn: string
  readonly o?: readonly string[]
  readonly sans?: Sans
  readonly usage: 'server' | 'client'
  readonly days: number
  /** Backdating of notBefore, ms, for machines whose clock is behind. Never before the CA's own. @default 1 day */
  readonly skewMs?: number
  /** Wall clock, ms. @default Date.now() */
  readonly now?: number
}

export interface CsrInfo {
  readonly cn: string
  readonly o: readonly string[]
  /** SPKI PEM, comparable with {@link CertInfo.publicKeyPem}. */
  readonly publicKeyPem: string
  readonly sans: { readonly dns: readonly string[]; readonly ip: readonly string[] }
  /** True when the requester holds the private key. A caller must refuse false. */
  readonly signatureValid: boolean
}

export interface CertInfo {
  readonly cn: string
  readonly o: readonly string[]
  readonly sans: { readonly dns: readonly string[]; readonly ip: readonly string[] }
  readonly publicKeyPem: string
  /** ms since 1970. */
  readonly notBefore: number
  readonly notAfter: number
  /** Upper-case hex. */
  readonly serial: string
  readonly isCa: boolean
  readonly usages: readonly ('server' | 'client')[]
  /** sha256 of the DER, lower-case hex; for a CA this is what join tokens pin. */
  readonly sha256: string
}

/** Makes a self-signed root. Its notBefore is a day back. */
export function createCa(request: CreateCa): Promise<KeyedCert> {
  return job('createCa', request)
}

/**
 * Signs a leaf certificate; returns its PEM.
 * @throws AppError `invalid` for an unreadable request or key, a request whose signature is wrong, or bad names
 */
export function issue(request: IssueRequest): Promise<string> {
  if ((request.csrPem === undefined) === (request.publicKeyPem === undefined)) {
    return Promise.reject(new AppError('invalid', 'issue certificate: give either csrPem or publicKeyPem'))
  }
  return job('issue', request)
}

/** A root's key certified by another root: who trusts only `by` then accepts what `root` signs, when it is shown this beside. */
export function crossSign(request: { readonly root: string; readonly by: KeyedCert; readonly now?: number }): Promise<string> {
  return job('crossSign', request)
}

/** True when `ca` signed the certificate. */
export function isSignedBy(certPem: string, caPem: string): boolean {
  return readCert(certPem).verify(readCert(caPem).publicKey)
}

/** Makes a P-256 key and a signing request for it. `keyPem` reuses an existing private key. */
export async function createKeyAndCsr(request: { cn: string; o?: readonly string[]; keyPem?: string }): Promise<{ keyPem: string; csrPem: string }> {
  const keyPem = request.keyPem ?? (await createKey()).keyPem
  return { keyPem, csrPem: await job('createCsr', { ...request, keyPem }) }
}

/** Reads a PKCS#10 request. @throws AppError `invalid` when it is not one */
export function parseCsr(pem: string): Promise<CsrInfo> {
  return job('parseCsr', pem)
}

/** A fresh P-256 key pair: PKCS#8 and SPKI PEM. Needs no thread. */
export async function createKey(): Promise<{ keyPem: string; publicKeyPem: string }> {
  const pair = await promisify(generateKeyPair)('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  return { keyPem: pair.privateKey, publicKeyPem: pair.publicKey }
}

/** The public half of a private key, SPKI PEM. */
export function publicKeyOf(keyPem: string): string {
  return createPublicKey(createPrivateKey(keyPem)).export({ type: 'spki', format: 'pem' }) as string
}

/** Reads a certificate (the first of a bundle). @throws AppError `invalid` when it is not one */
export function certInfo(pem: string): CertInfo {
  const cert = readCert(pem)
  const subject = fields(cert.subject)
  const san = cert.subjectAltName ?? ''
  const list = (kind: string): string[] => [...san.matchAll(new RegExp(`(?:^|, )${kind}:("(?:[^"\\\\]|\\\\.)*"|[^,]*)`, 'g'))].map((m) => (m[1] ?? '').replaceAll('"', ''))
  return {
    cn: subject.get('CN')?.[0] ?? '',
    o: subject.get('O') ?? [],
    sans: { dns: list('DNS'), ip: list('IP Address') },
    publicKeyPem: publicKeyIn(cert),
    notBefore: Date.parse(cert.validFrom),
    notAfter: Date.parse(cert.validTo),
    serial: cert.serialNumber,
    isCa: cert.ca,
    usages: usagesOf(cert),
    sha256: sha256(cert),
  }
}

/** The key as SPKI PEM; the parser reads it only when it is asked for, so a broken one shows here. */
function publicKeyIn(cert: X509Certificate): string {
  try {
    return cert.publicKey.export({ type: 'spki', format: 'pem' }) as string
  } catch (cause) {
    throw new AppError('invalid', `read certificate of '${cert.subject.replaceAll('\n', ', ').slice(0, 80)}': its public key cannot be read`, { cause })
  }
}

/** sha256 of the first certificate's DER in `pem`, lower-case hex: what a join token pins. */
export function caHash(pem: string): string {
  return sha256(readCert(pem))
}

/** When to renew: with a third of the certificate's life left (ms wall clock). */
export function renewAt(info: Pick<CertInfo, 'notBefore' | 'notAfter'>): number {
  return info.notAfter - (info.notAfter - info.notBefore) / 3
}

/** True when `keyPem` is the private key of `certPem`. */
export function keyFits(certPem: string, keyPem: string): boolean {
  try {
    return readCert(certPem).checkPrivateKey(createPrivateKey(keyPem))
  } catch {
    return false // an unreadable pair does not fit
  }
}

export interface PeerCheck {
  /** The only reason that may remain: `valid` is an all-clear, the other two say the peer's dates and our clock disagree. */
  readonly dates: 'valid' | 'not-yet-valid' | 'expired'
}

/**
 * Checks a peer's certificate by everything but its dates: signed directly by one of the pinned CAs (`caPem` may be a
 * bundle), for the wanted use, and (for a server) for the host's name. TLS reports only one of several faults, so an
 * expired *and* foreign certificate could pass as merely expired: this check is therefore complete in itself.
 * @throws AppError `unauthorized` naming the first fault
 */
export function checkPeer(leaf: X509Certificate, caPem: string, want: { usage: 'server' | 'client'; host?: string; now: number }): PeerCheck {
  const refuse = (why: string): never => {
    throw new AppError('unauthorized', `check certificate of '${fields(leaf.subject).get('CN')?.[0] ?? '?'}': ${why}`)
  }
  const cas = splitPem(caPem).map(readCert)
  if (leaf.ca) refuse('it is a CA certificate, not one of a peer')
  if (!cas.some((ca) => ca.ca && leaf.checkIssued(ca) && leaf.verify(ca.publicKey))) {
    refuse(`it is signed by '${fields(leaf.issuer).get('CN')?.[0] ?? '?'}', which is not the pinned CA`)
  }
  if (!usagesOf(leaf).includes(want.usage)) refuse(`it is not made for use as a ${want.usage}`)
  if (want.host !== undefined) {
    const wrong = checkServerIdentity(want.host, leaf.toLegacyObject() as PeerCertificate)
    if (wrong) refuse(`it is for ${leaf.subjectAltName ?? 'no name'}, not for '${want.host}'`)
  }
  if (want.now < Date.parse(leaf.validFrom)) return { dates: 'not-yet-valid' }
  return { dates: want.now > Date.parse(leaf.validTo) ? 'expired' : 'valid' }
}

/** The certificates of a PEM bundle, one string each. */
export function splitPem(bundle: string): string[] {
  return bundle.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? []
}

function readCert(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new AppError('invalid', `read certificate: not a PEM certificate: '${pem.slice(0, 30).replaceAll('\n', ' ')}…'`, { cause })
  }
}

function sha256(cert: X509Certificate): string {
  return createHash('sha256').update(cert.raw).digest('hex')
}

function usagesOf(cert: X509Certificate): ('server' | 'client')[] {
  const oids: readonly string[] = cert.keyUsage ?? [] // Node's name for the *extended* key usages
  return [...(oids.includes('1.3.6.1.5.5.7.3.1') ? (['server'] as const) : []), ...(oids.includes('1.3.6.1.5.5.7.3.2') ? (['client'] as const) : [])]
}

/** `CN=a\nO=b\nO=c` to lists by attribute. */
function fields(name: string): Map<string, string[]> {
  const out = new Map<string, string[]>()
  for (const line of name.split('\n')) {
    const at = line.indexOf('=')
    if (at > 0) out.set(line.slice(0, at), [...(out.get(line.slice(0, at)) ?? []), line.slice(at + 1)])
  }
  return out
}

// --- the thread: started by the first job, ended when none came for a while ---

const IDLE_MS = 2_000
let thread: { worker: Worker; waiting: Map<number, { resolve: (v: unknown) => void; reject: (e: unknown) => void }> } | undefined
let idle: NodeJS.Timeout | undefined
let nextId = 0

function job<T>(op: string, args: unknown): Promise<T> {
  clearTimeout(idle)
  thread ??= start()
  const t = thread
  t.worker.ref()
  return new Promise<T>((resolve, reject) => {
    const id = nextId++
    t.waiting.set(id, { resolve: resolve as (v: unknown) => void, reject })
    t.worker.postMessage({ id, op, args })
  })
}

function start(): NonNullable<typeof thread> {
  const worker = startWorker('pki', new URL('./pki-worker.ts', import.meta.url))
  const t = { worker, waiting: new Map<number, { resolve: (v: unknown) => void; reject: (e: unknown) => void }>() }
  const fail = (error: Error): void => {
    if (thread === t) thread = undefined
    for (const w of t.waiting.values()) w.reject(new AppError('internal', 'make certificate: the certificate thread ended', { cause: error }))
    t.waiting.clear()
  }
  worker.on('message', (m: { id: number; value?: unknown; error?: string }) => {
    const w = t.waiting.get(m.id)
    t.waiting.delete(m.id)
    if (m.error === undefined) w?.resolve(m.value)
    else w?.reject(new AppError('invalid', m.error))
    if (t.waiting.size > 0) return
    worker.unref()
    idle = setTimeout(() => {
      if (thread === t) thread = undefined
      void worker.terminate()
    }, IDLE_MS).unref()
  })
  worker.on('error', fail)
  worker.on('exit', (code) => fail(new Error(`exit code ${code}`)))
  return t
}
