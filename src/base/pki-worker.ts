/** The thread behind `pki.ts`: loads the ASN.1 library, makes and reads certificates, and is ended when idle. */
import 'reflect-metadata'
import { createPrivateKey, createPublicKey, randomBytes, webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import { parentPort } from 'node:worker_threads'
import * as x509 from '@peculiar/x509'
import type { CreateCa, CsrInfo, IssueRequest, KeyedCert } from './pki.ts'

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY = 86_400_000
const DEFAULT_SKEW_MS = DAY

const OPS: Record<string, (args: never) => Promise<unknown>> = { createCa, crossSign, issue, createCsr, parseCsr }

parentPort?.on('message', (m: { id: number; op: string; args: unknown }) => {
  const op = OPS[m.op]
  if (!op) return parentPort?.postMessage({ id: m.id, error: `unknown operation '${m.op}'` })
  op(m.args as never).then(
    (value) => parentPort?.postMessage({ id: m.id, value }),
    (error: unknown) => parentPort?.postMessage({ id: m.id, error: error instanceof Error ? error.message : String(error) }),
  )
})

async function createCa(r: CreateCa): Promise<KeyedCert> {
  const keys = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])
  const now = r.now ?? Date.now()
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: name(r.cn),
    serialNumber: serial(),
    notBefore: new Date(now - DEFAULT_SKEW_MS),
    notAfter: new Date(now + r.years * 365 * DAY),
    keys,
    signingAlgorithm: EC,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  return { certPem: pem(cert), keyPem: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY') + '\n' }
}

async function crossSign(r: { root: string; by: KeyedCert; now?: number }): Promise<string> {
  const [root, by] = [new x509.X509Certificate(r.root), new x509.X509Certificate(r.by.certPem)]
  const cert = await x509.X509CertificateGenerator.create({
    subject: root.subjectName,
    issuer: by.subjectName,
    serialNumber: serial(),
    notBefore: new Date(Math.max(root.notBefore.getTime(), by.notBefore.getTime())),
    notAfter: new Date(Math.min(root.notAfter.getTime(), by.notAfter.getTime())),
    publicKey: root.publicKey,
    signingKey: await privateKey(r.by.keyPem),
    signingAlgorithm: EC,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(root.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(by.publicKey),
    ],
  })
  return pem(cert)
}

async function issue(r: IssueRequest): Promise<string> {
  const ca = new x509.X509Certificate(r.ca.certPem)
  let publicKey: x509.PublicKey
  if (r.csrPem === undefined) publicKey = new x509.PublicKey(spki(r.publicKeyPem ?? ''))
  else {
    const csr = readCsr(r.csrPem)
    if (!(await csr.verify())) throw new Error('sign certificate request: its signature does not fit its key; make a new request')
    publicKey = csr.publicKey
  }
  const now = r.now ?? Date.now()
  const sans: x509.JsonGeneralNames = [
    ...(r.sans?.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(r.sans?.ip ?? []).map((value) => {
      if (isIP(value) === 0) throw new Error(`sign certificate: '${value}' is not an IP address`)
      return { type: 'ip' as const, value }
    }),
  ]
  const cert = await x509.X509CertificateGenerator.create({
    subject: name(r.cn, r.o),
    issuer: ca.subjectName,
    serialNumber: serial(),
    notBefore: new Date(Math.max(now - (r.skewMs ?? DEFAULT_SKEW_MS), ca.notBefore.getTime())),
    notAfter: new Date(Math.min(now + r.days * DAY, ca.notAfter.getTime())),
    publicKey,
    signingKey: await privateKey(r.ca.keyPem),
    signingAlgorithm: EC,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([r.usage === 'server' ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(ca.publicKey),
      ...(sans.length > 0 ? [new x509.SubjectAlternativeNameExtension(sans)] : []),
    ],
  })
  return pem(cert)
}

async function createCsr(r: { cn: string; o?: readonly string[]; keyPem: string }): Promise<string> {
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: name(r.cn, r.o),
    keys: { privateKey: await privateKey(r.keyPem), publicKey: await webcrypto.subtle.importKey('spki', spki(r.keyPem), EC, true, ['verify']) },
    signingAlgorithm: EC,
  })
  return csr.toString('pem') + '\n'
}

async function parseCsr(text: string): Promise<CsrInfo> {
  const csr = readCsr(text)
  const san = csr.extensions.find((e) => e.type === '2.5.29.17')
  const names = (type: string): string[] => (san ? new x509.SubjectAlternativeNameExtension(san.rawData).names.items : []).filter((n) => n.type === type).map((n) => n.value)
  return {
    cn: csr.subjectName.getField('CN')[0] ?? '',
    o: csr.subjectName.getField('O'),
    publicKeyPem: createPublicKey({ key: Buffer.from(csr.publicKey.rawData), format: 'der', type: 'spki' }).export({ type: 'spki', format: 'pem' }) as string,
    sans: { dns: names('dns'), ip: names('ip') },
    signatureValid: await csr.verify(),
  }
}

function readCsr(text: string): x509.Pkcs10CertificateRequest {
  if (text.length > 64 * 1024) throw new Error(`read certificate request: ${text.length} characters are more than 65536`)
  try {
    return new x509.Pkcs10CertificateRequest(text)
  } catch {
    throw new Error(`read certificate request: not a PEM PKCS#10 request: '${text.slice(0, 30).replaceAll('\n', ' ')}…'`)
  }
}

/** A name from values, never from a text to parse, so that a name with commas cannot add attributes. */
function name(cn: string, o: readonly string[] = []): x509.JsonName {
  return [...o.map((value) => ({ O: [value] })), { CN: [cn] }]
}

/** 127 random bits, positive. */
function serial(): string {
  const bytes = randomBytes(16)
  bytes[0] = ((bytes[0] as number) & 0x7f) | 0x40
  return bytes.toString('hex')
}

function spki(keyPem: string): Buffer {
  return createPublicKey(keyPem).export({ type: 'spki', format: 'der' })
}

async function privateKey(keyPem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(keyPem).export({ type: 'pkcs8', format: 'der' }) // also takes SEC1 keys, as openssl makes them
  return webcrypto.subtle.importKey('pkcs8', der, EC, false, ['sign'])
}

function pem(cert: x509.X509Certificate): string {
  return cert.toString('pem') + '\n'
}
