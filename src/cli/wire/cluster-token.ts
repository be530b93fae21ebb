/**
 * The cluster token: it seals what servers of one etcd share beside the objects (CA and token keys, keys of encryption at rest).
 * Each server keeps it in a file. Another one is put beside that file first, then everything is sealed with it in one
 * transaction, then it takes the file's place: broken off anywhere, one of the two files opens what is in etcd.
 */
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto'
import { mkdir, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { readFileIfAny, syncDirectory, writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError, hasCode, messageOf } from '../../base/errors.ts'
import type { RecordChange, StoreRecords } from '../../store/mod.ts'
import { lockDirectory } from './lock.ts'

/** Names of the records in the store that are sealed: `shared-identity.ts`, `secrets.ts`. */
export const SEALED_RECORDS = { identity: 'identity', encryption: 'encryption' } as const
const derive = promisify<string, Buffer, number, Buffer>(scrypt)

/** Where a server keeps the token that it made or was given. */
export function clusterTokenPath(dataDir: string): string {
  return join(dataDir, 'server', 'cluster-token')
}

/** The next token, while the change to it is under way. */
const nextPath = (dataDir: string): string => `${clusterTokenPath(dataDir)}.next`

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

/** The token of a data directory, if it has one. */
export async function keptToken(dataDir: string): Promise<string | undefined> {
  const path = clusterTokenPath(dataDir)
  return (await readFileIfAny(path)) === undefined ? undefined : readToken(path)
}

/** Makes `token` that of the data directory. */
export async function keepToken(dataDir: string, token: string): Promise<void> {
  const path = clusterTokenPath(dataDir)
  if ((await keptToken(dataDir)) === token) return
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await writeFileAtomic(path, `${token}\n`)
}

/** A token that nobody can guess. */
export function makeToken(): string {
  return randomBytes(32).toString('base64url')
}

/**
 * Opens a sealed record with what this data directory has; a change of the token that broke off here is brought to its end.
 * @returns with which token what is put in its place is sealed
 * @throws AppError `forbidden` when the token is another by now, `corrupt`
 */
export async function openSealed<T>(dataDir: string, sealed: string): Promise<{ value: T; token: string }> {
  const token = await readToken(clusterTokenPath(dataDir))
  try {
    return { value: await unseal<T>(sealed, token), token }
  } catch (error) {
    const next = hasCode(error, 'forbidden') ? await nextToken(dataDir) : undefined
    if (next === undefined) throw error
    const opened = await unseal<T>(sealed, next).catch(() => undefined)
    if (opened === undefined) throw error
    await takeNext(dataDir)
    return { value: opened, token: next }
  }
}

/**
 * Seals everything in the store anew, with the token in `newTokenFile` or one that is made, and makes that the token of this data
 * directory. Without a file, a change that broke off is finished with the token it had. Servers with the former one go on with the keys they hold.
 * @throws AppError `forbidden` with another token than the one in use, `not-found` when no server has used the store
 */
export async function rotateClusterToken(dataDir: string, records: StoreRecords, newTokenFile: string | undefined): Promise<void> {
  const given = newTokenFile === undefined ? undefined : await readToken(newTokenFile)
  const unlock = await lockDirectory(`${clusterTokenPath(dataDir)}.lock`, 'a change of the cluster token')
  try {
    await rotate(dataDir, records, given)
  } catch (error) {
    // Somebody else's change was first: ours did not happen, and never will.
    if (hasCode(error, 'forbidden')) await rm(nextPath(dataDir), { force: true })
    throw error
  } finally {
    await unlock()
  }
}

async function rotate(dataDir: string, records: StoreRecords, given: string | undefined): Promise<void> {
  const pending = await nextToken(dataDir)
  // It may be the one that counts already, or become so: an answer that did not come says neither.
  if (pending !== undefined) await sealAnew(dataDir, records, pending)
  if (pending !== undefined && (given === undefined || given === pending)) return
  const kept = await keptToken(dataDir)
  if (kept === undefined) throw new AppError('not-found', `rotate cluster token: there is none in "${clusterTokenPath(dataDir)}": name the data directory of a server that shares this store with --data-dir`)
  if (given === kept) throw new AppError('invalid', 'rotate cluster token: the one in --new-token-file is in use already; put another one there, or leave the flag out to have one made')
  const token = given ?? makeToken()
  await writeFileAtomic(nextPath(dataDir), `${token}\n`)
  await sealAnew(dataDir, records, token)
}

async function sealAnew(dataDir: string, records: StoreRecords, token: string): Promise<void> {
  for (;;) {
    const changes: RecordChange[] = []
    let old = false
    for (const name of Object.values(SEALED_RECORDS)) {
      const former = await records.readRecord(name)
      if (former === undefined && name === SEALED_RECORDS.identity) throw new AppError('not-found', 'rotate cluster token: this store holds nothing that servers share: name the --store that they have, prefix included')
      const opened = former === undefined ? undefined : await openSealed<unknown>(dataDir, former)
      old ||= opened !== undefined && opened.token !== token
      changes.push({ name, former, value: opened && (await seal(opened.value, token)) })
    }
    if (!old || (await records.changeRecords(changes))) break
  }
  await takeNext(dataDir)
}

async function nextToken(dataDir: string): Promise<string | undefined> {
  const path = nextPath(dataDir)
  return (await readFileIfAny(path)) === undefined ? undefined : readToken(path)
}

/** A second one that does the same at the same time finds it done. */
async function takeNext(dataDir: string): Promise<void> {
  const path = clusterTokenPath(dataDir)
  try {
    await rename(nextPath(dataDir), path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  await syncDirectory(dirname(path))
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
  const refuse = (code: 'corrupt' | 'forbidden', why: string, cause: unknown): AppError => new AppError(code, `read what servers share in the store: ${why}`, { cause })
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
    throw refuse('forbidden', 'the cluster token does not open it, it is another one or was changed (skerry store rotate-cluster-token): copy server/cluster-token from the data directory of a server that has the new one, and name it with --cluster-token-file', error)
  }
}
