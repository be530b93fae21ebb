/**
 * What makes several servers one cluster: the root CA and the service-account key, kept in the store they share, sealed with
 * the cluster token. The first server makes all three; another one is given the token, and finds the rest. See
 * docs/decisions/0013. Leaf certificates are each server's own, from the common CA. How they change: `shared-rotation.ts`.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readFileIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { caHash, createCa, createKey, splitPem } from '../../base/pki.ts'
import type { StoreRecords } from '../../store/mod.ts'

/** Name of the record in the store. */
const RECORD = 'identity'
const derive = promisify<string, Buffer, number, Buffer>(scrypt)

/** The files under `<data-dir>/server/tls` that all servers of a cluster have in common, by name. */
const FILES = ['ca.crt', 'ca.key', 'service-account.key'] as const
/** Those that are there after a change of keys, and while one is under way. */
const MORE = ['ca-former.crt', 'ca-cross.crt', 'ca-next.crt', 'service-account-next.key'] as const

/** What the record holds: texts by name of file, and what no file holds. */
export interface Common extends Readonly<Record<(typeof FILES)[number], string>>, Readonly<Partial<Record<(typeof MORE)[number], string>>> {
  /** The key of `ca-next.crt`, until that signs. */
  readonly 'ca-next.key'?: string
  /** Fingerprints of CAs that count no more, by which a server that was away knows that this is its cluster. */
  readonly past?: readonly string[]
}

/** Where a server keeps the token that it made or was given. */
export function clusterTokenPath(dataDir: string): string {
  return join(dataDir, 'server', 'cluster-token')
}

/**
 * Brings the common identity into `<data-dir>/server/tls`, from the store or, by the first server, into it.
 * @param tokenFile holds the cluster token; without it, what this data directory has is used
 * @throws AppError `forbidden` without the right token, `conflict` when the data directory is another cluster's
 */
export async function shareIdentity(dataDir: string, records: StoreRecords, tokenFile: string | undefined): Promise<void> {
  const kept = clusterTokenPath(dataDir)
  let token = tokenFile !== undefined ? await readToken(tokenFile) : existsSync(kept) ? await readToken(kept) : undefined
  const local = await readLocal(dataDir)
  let sealed = await records.readRecord(RECORD)
  if (sealed === undefined) {
    token ??= randomBytes(32).toString('base64url')
    // The token first: what is sealed in the store without it on disk would be lost.
    await keepToken(kept, token)
    sealed = await records.createRecord(RECORD, await seal(local ?? (await make()), token))
  }
  if (token === undefined) {
    throw new AppError('forbidden', `join the servers of this store: the cluster token is missing: copy server/cluster-token from the data directory of one of them, and name it with --cluster-token-file`)
  }
  const common = await unseal<Common>(sealed, token)
  if (local && !isKnown(common, local)) {
    throw new AppError('conflict', `join the servers of this store: "${join(dataDir, 'server', 'tls')}" holds the CA of another cluster: give an empty --data-dir, or the --store of that cluster`)
  }
  await keepToken(kept, token)
  await writeCommon(dataDir, common)
}

/** True when the CA of `local` is one that this cluster has, had, or is about to have. */
function isKnown(common: Common, local: Common): boolean {
  const own = caHash(local['ca.crt'])
  return common.past?.includes(own) === true || splitPem(common['ca.crt'] + (common['ca-former.crt'] ?? '') + (common['ca-next.crt'] ?? '')).some((pem) => caHash(pem) === own)
}

/** Brings the files into the state of the record; those that are so already are left alone. */
export async function writeCommon(dataDir: string, common: Common): Promise<void> {
  const dir = join(dataDir, 'server', 'tls')
  await mkdir(dir, { recursive: true, mode: 0o700 })
  // ca.crt last: while it is missing nothing here counts, and while it is the former one, the rest is written anew.
  for (const name of [...MORE, ...FILES.toReversed()]) {
    const [path, text] = [join(dir, name), common[name]]
    if ((await readFileIfAny(path)) === text) continue
    if (text === undefined) await rm(path, { force: true })
    else await writeFileAtomic(path, text, { mode: name.endsWith('.crt') ? 0o644 : 0o600 })
  }
}

/** Changes what all servers have in common; `change` gives the same object back for nothing to do. Resolves to what stands there then. */
export async function changeCommon(dataDir: string, records: StoreRecords, change: (now: Common) => Promise<Common>): Promise<Common> {
  const token = await readToken(clusterTokenPath(dataDir))
  for (;;) {
    const sealed = await records.readRecord(RECORD)
    if (sealed === undefined) throw new AppError('not-found', "read the cluster's identity in the store: it is gone; restore the store from a backup")
    const now = await unseal<Common>(sealed, token)
    const next = await change(now)
    if (next === now || (await records.replaceRecord(RECORD, sealed, await seal(next, token)))) return next
  }
}

async function keepToken(path: string, token: string): Promise<void> {
  if (existsSync(path) && (await readToken(path)) === token) return
  await mkdir(join(path, '..'), { recursive: true, mode: 0o700 })
  await writeFileAtomic(path, `${token}\n`)
}

/** The token in a file. @throws AppError `invalid` */
export async function readToken(path: string): Promise<string> {
  let token: string
  try {
    token = (await readFile(path, 'utf8')).trim()
  } catch (error) {
    throw new AppError('invalid', `read cluster token "${path}": ${messageOf(error)}`, { cause: error })
  }
  if (token.length < 16) throw new AppError('invalid', `read cluster token "${path}": ${token.length} characters are too few to keep a key safe, at least 16 are needed`)
  return token
}

/** What this data directory has; undefined when it is new. */
async function readLocal(dataDir: string): Promise<Common | undefined> {
  const dir = join(dataDir, 'server', 'tls')
  if (FILES.some((name) => !existsSync(join(dir, name)))) return undefined
  const texts = await Promise.all([...FILES, ...MORE].map(async (name) => [name, await readFileIfAny(join(dir, name))] as const))
  return Object.fromEntries(texts.filter(([, text]) => text !== undefined)) as unknown as Common
}

async function make(): Promise<Common> {
  const ca = await createCa({ cn: `skerry-ca@${Math.floor(Date.now() / 1000)}`, years: 10 })
  return { 'ca.crt': ca.certPem, 'ca.key': ca.keyPem, 'service-account.key': (await createKey()).keyPem }
}

/** AES-256-GCM under a key made of the token; the salt and nonce are beside it. */
export async function seal(value: unknown, token: string): Promise<string> {
  const [salt, iv] = [randomBytes(16), randomBytes(12)]
  const cipher = createCipheriv('aes-256-gcm', await derive(token, salt, 32), iv)
  const text = Buffer.concat([cipher.update(JSON.stringify(value), 'utf8'), cipher.final()])
  const b64 = (b: Buffer): string => b.toString('base64')
  return JSON.stringify({ format: 1, salt: b64(salt), iv: b64(iv), tag: b64(cipher.getAuthTag()), text: b64(text) })
}

/** @throws AppError `forbidden` for another token, `corrupt` for what this version does not write */
export async function unseal<T>(sealed: string, token: string): Promise<T> {
  const refuse = (code: 'corrupt' | 'forbidden', why: string, cause: unknown): AppError => new AppError(code, `read the cluster's identity in the store: ${why}`, { cause })
  const part = (name: string): Buffer => Buffer.from(String(parsed[name] ?? ''), 'base64')
  let parsed: Record<string, unknown>
  try {
    parsed = JSON.parse(sealed) as Record<string, unknown>
  } catch (error) {
    throw refuse('corrupt', 'it is not what this version writes; restore the store from a backup', error)
  }
  if (parsed['format'] !== 1) throw refuse('corrupt', `its format is ${JSON.stringify(parsed['format'])}, this version knows 1`, undefined)
  try {
    const decipher = createDecipheriv('aes-256-gcm', await derive(token, part('salt'), 32), part('iv'))
    decipher.setAuthTag(part('tag'))
    return JSON.parse(Buffer.concat([decipher.update(part('text')), decipher.final()]).toString()) as T
  } catch (error) {
    throw refuse('forbidden', 'the cluster token does not open it: use server/cluster-token of a server that runs', error)
  }
}
