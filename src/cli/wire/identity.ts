/**
 * The server's own keys and certificates under `<data-dir>/server/tls`: one root CA (join tokens pin it), the serving
 * certificate with this machine's names, the administrator's client certificate, and the service-account signing keys.
 * Made at first start; leaf certificates are renewed with a third of their life left, when addresses change, and when the CA
 * was changed. Former CAs (`ca-former.crt`) stay trusted, and `ca-cross.crt` leads who trusts only one of them to the new one.
 * Servers that share an identity trust what is next (`ca-next.crt`, `service-account-next.key`) before they sign with it.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm } from 'node:fs/promises'
import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { GROUP_MASTERS } from '../../api/contract.ts'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { certInfo, createCa, createKey, crossSign, isSignedBy, issue, keyFits, publicKeyOf, renewAt, splitPem, type KeyedCert, type Sans } from '../../base/pki.ts'

/** Leaf certificates live a year, as Kubernetes users expect; the root ten. */
const LEAF_DAYS = 365
export const CA_YEARS = 10
const FORMER_CAS = 'ca-former.crt'
const CROSS = 'ca-cross.crt'
const NEXT_CA = 'ca-next.crt'
/** One private key or several: the first signs, all verify. */
const SA_KEY = 'service-account.key'
const NEXT_SA_KEY = 'service-account-next.key'

export interface ServerIdentity {
  /** The CA that signs. */
  readonly ca: KeyedCert
  /** All CAs that count, the one that signs first, the next one of all servers last. */
  readonly caBundle: string
  /** `certPem` carries what leads from it to former CAs behind itself. */
  readonly serving: KeyedCert
  readonly admin: KeyedCert
  /** The key that signs, and those that signed before or will sign next. */
  readonly serviceAccount: { readonly privateKeyPem: string; readonly publicKeyPem: string; readonly formerPublicKeysPem: readonly string[] }
}

/** Addresses and names this server may be reached by: every interface's, localhost, and the API's in-cluster names. */
export function serverSans(extra: readonly string[] = []): Required<Sans> {
  const ips = new Set(['127.0.0.1', '::1'])
  const names = new Set(['localhost', hostname(), 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local', 'skerry-server'])
  for (const list of Object.values(networkInterfaces())) for (const a of list ?? []) if (!a.address.startsWith('fe80')) ips.add(a.address)
  for (const e of extra) (/^[\d.]+$|:/.test(e) ? ips : names).add(e)
  return { dns: [...names], ip: [...ips] }
}

/**
 * Reads the server's identity, making what is missing.
 * @throws AppError `corrupt` when a key and its certificate do not belong together; the way out is in the message
 */
export async function loadServerIdentity(dataDir: string, sans: Required<Sans>, now = Date.now()): Promise<ServerIdentity> {
  const dir = tlsDir(dataDir)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  const ca = (await readPair(dir, 'ca')) ?? (await savePair(dir, 'ca', await createCa({ cn: `skerry-ca@${Math.floor(now / 1000)}`, years: CA_YEARS })))
  const serving = await leaf(dir, 'serving', ca, now, { cn: 'skerry-server', o: [], sans, usage: 'server' })
  const admin = await leaf(dir, 'admin', ca, now, { cn: 'system:admin', o: [GROUP_MASTERS], usage: 'client' })
  const saPath = join(dir, SA_KEY)
  if (!existsSync(saPath)) await writeFileAtomic(saPath, (await createKey()).keyPem)
  const [privateKeyPem, ...former] = keysOf(await readFile(saPath, 'utf8'))
  if (privateKeyPem === undefined) throw new AppError('corrupt', `read service-account key "${saPath}": it holds no private key in PEM: restore it from a backup, or remove it to have a new one made, which ends all tokens`)
  const [formerCas, nextCa, cross, nextKey] = await Promise.all([FORMER_CAS, NEXT_CA, CROSS, NEXT_SA_KEY].map((name) => textOf(join(dir, name))))
  return {
    ca,
    caBundle: ca.certPem + formerCas + nextCa,
    serving: { ...serving, certPem: serving.certPem + cross },
    admin,
    serviceAccount: { privateKeyPem, publicKeyPem: publicKeyOf(privateKeyPem), formerPublicKeysPem: [...former, ...keysOf(nextKey ?? '')].map(publicKeyOf) },
  }
}

/**
 * Makes a new root CA. The former stays trusted, and vouches for the new one towards who knows only itself.
 * @throws AppError `conflict` when several servers share the CA, `not-found` when there is none yet
 */
export async function rotateCa(dataDir: string, now = Date.now()): Promise<KeyedCert> {
  const dir = tlsDir(dataDir)
  refuseShared(dataDir, 'make a new CA')
  const old = await readPair(dir, 'ca')
  if (!old) throw new AppError('not-found', `make a new CA: there is none in "${dir}" yet: start the server first`)
  const next = await createCa({ cn: `skerry-ca@${Math.floor(now / 1000)}`, years: CA_YEARS, now })
  const cross = await crossSign({ root: next.certPem, by: old, now })
  // What is trusted more comes first: broken off here, all that was valid still is.
  await writeFileAtomic(join(dir, FORMER_CAS), old.certPem + (await textOf(join(dir, FORMER_CAS))), { mode: 0o644 })
  await writeFileAtomic(join(dir, CROSS), cross + (await textOf(join(dir, CROSS))), { mode: 0o644 })
  return savePair(dir, 'ca', next)
}

/** Signs service-account tokens with a new key; the former ones go on verifying. @throws AppError as {@link rotateCa} */
export async function rotateServiceAccountKey(dataDir: string): Promise<void> {
  refuseShared(dataDir, 'make a new service-account key')
  const path = join(tlsDir(dataDir), SA_KEY)
  const former = await textOf(path)
  if (former === '') throw new AppError('not-found', `make a new service-account key: there is none in "${path}" yet: start the server first`)
  await writeFileAtomic(path, (await createKey()).keyPem + former)
}

/** Makes serving and administrator's certificates anew, with new keys, at the next look. */
export async function dropLeaves(dataDir: string): Promise<void> {
  for (const name of ['serving', 'admin']) for (const kind of ['crt', 'key']) await rm(join(tlsDir(dataDir), `${name}.${kind}`), { force: true })
}

/** Ends the trust in former CAs and service-account keys. Returns how many of each there were. */
export async function retireFormer(dataDir: string): Promise<{ cas: number; keys: number }> {
  const dir = tlsDir(dataDir)
  refuseShared(dataDir, 'end the trust in what was before')
  const [first = '', ...keys] = keysOf(await textOf(join(dir, SA_KEY)))
  const cas = splitPem(await textOf(join(dir, FORMER_CAS))).length
  if (keys.length > 0) await writeFileAtomic(join(dir, SA_KEY), first)
  for (const name of [FORMER_CAS, CROSS]) await rm(join(dir, name), { force: true })
  return { cas, keys: keys.length }
}

/** Where the files are. */
export function tlsDir(dataDir: string): string {
  return join(dataDir, 'server', 'tls')
}

/** True when this server shares CA and keys with others, through their store. */
export function isShared(dataDir: string): boolean {
  return existsSync(join(dataDir, 'server', 'cluster-token'))
}

function refuseShared(dataDir: string, act: string): void {
  if (isShared(dataDir)) throw new AppError('conflict', `${act}: this server shares CA and keys with others through their store: only a running one can change these`)
}

/** The private keys in a text. */
export function keysOf(text: string): string[] {
  return (text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g) ?? []).map((key) => `${key}\n`)
}

async function textOf(path: string): Promise<string> {
  return existsSync(path) ? readFile(path, 'utf8') : ''
}

/** A client certificate for a part of this machine, e.g. the server's own agent; from the key it already has. */
export async function issueNode(ca: KeyedCert, csrPem: string, node: string): Promise<string> {
  return issue({ ca, csrPem, cn: `system:node:${node}`, o: ['system:nodes'], usage: 'client', days: LEAF_DAYS })
}

interface LeafSpec {
  readonly cn: string
  readonly o: readonly string[]
  readonly sans?: Required<Sans>
  readonly usage: 'server' | 'client'
}

async function leaf(dir: string, name: string, ca: KeyedCert, now: number, spec: LeafSpec): Promise<KeyedCert> {
  const known = await readPair(dir, name)
  if (known) {
    const info = certInfo(known.certPem)
    const has = new Set([...info.sans.dns, ...info.sans.ip].map(normal))
    const complete = [...(spec.sans?.dns ?? []), ...(spec.sans?.ip ?? [])].every((s) => has.has(normal(s)))
    if (complete && now < renewAt(info) && isSignedBy(known.certPem, ca.certPem)) return known
  }
  const keyPem = known?.keyPem ?? (await createKey()).keyPem
  const certPem = await issue({ ca, publicKeyPem: publicKeyOf(keyPem), cn: spec.cn, o: spec.o, ...(spec.sans ? { sans: spec.sans } : {}), usage: spec.usage, days: LEAF_DAYS })
  return savePair(dir, name, { certPem, keyPem })
}

/** An IPv6 address has several spellings; a certificate shows the long one. */
function normal(name: string): string {
  if (!name.includes(':')) return name
  try {
    return new URL(`http://[${name}]`).hostname
  } catch {
    return name
  }
}

async function readPair(dir: string, name: string): Promise<KeyedCert | undefined> {
  const [cert, key] = [join(dir, `${name}.crt`), join(dir, `${name}.key`)]
  if (!existsSync(cert) && !existsSync(key)) return undefined
  try {
    const pair = { certPem: await readFile(cert, 'utf8'), keyPem: await readFile(key, 'utf8') }
    if (keyFits(pair.certPem, pair.keyPem)) return pair
  } catch (error) {
    throw new AppError('corrupt', `read ${name} certificate in "${dir}": ${messageOf(error)}: restore ${name}.crt and ${name}.key from a backup`, { cause: error })
  }
  throw new AppError('corrupt', `read ${name} certificate in "${dir}": ${name}.key does not belong to ${name}.crt: restore both from a backup${name === 'ca' ? '' : ', or remove both to have new ones made'}`)
}

async function savePair(dir: string, name: string, pair: KeyedCert): Promise<KeyedCert> {
  // The key goes first: a certificate without its key would read as corrupt after a power loss, a lone key as well, and
  // both are told; the order only keeps the window small.
  await writeFileAtomic(join(dir, `${name}.key`), pair.keyPem)
  await writeFileAtomic(join(dir, `${name}.crt`), pair.certPem, { mode: 0o644 })
  return pair
}
