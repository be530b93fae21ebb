/**
 * The server's own keys and certificates under `<data-dir>/server/tls`: one root CA (join tokens pin it), the serving
 * certificate with this machine's names, the administrator's client certificate, and the service-account signing key.
 * Made at first start; leaf certificates are renewed with a third of their life left, and when addresses change.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { GROUP_MASTERS } from '../../api/contract.ts'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { certInfo, createCa, createKey, issue, keyFits, publicKeyOf, renewAt, type KeyedCert, type Sans } from '../../base/pki.ts'

/** Leaf certificates live a year, as Kubernetes users expect; the root ten. */
const LEAF_DAYS = 365
const CA_YEARS = 10

export interface ServerIdentity {
  readonly ca: KeyedCert
  readonly serving: KeyedCert
  readonly admin: KeyedCert
  readonly serviceAccount: { readonly privateKeyPem: string; readonly publicKeyPem: string }
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
  const dir = join(dataDir, 'server', 'tls')
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await chmod(dir, 0o700)
  const ca = (await readPair(dir, 'ca')) ?? (await savePair(dir, 'ca', await createCa({ cn: `skerry-ca@${Math.floor(now / 1000)}`, years: CA_YEARS })))
  const serving = await leaf(dir, 'serving', ca, now, { cn: 'skerry-server', o: [], sans, usage: 'server' })
  const admin = await leaf(dir, 'admin', ca, now, { cn: 'system:admin', o: [GROUP_MASTERS], usage: 'client' })
  const saPath = join(dir, 'service-account.key')
  if (!existsSync(saPath)) await writeFileAtomic(saPath, (await createKey()).keyPem)
  const privateKeyPem = await readFile(saPath, 'utf8')
  return { ca, serving, admin, serviceAccount: { privateKeyPem, publicKeyPem: publicKeyOf(privateKeyPem) } }
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
    if (complete && now < renewAt(info)) return known
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
