/**
 * What makes several servers one cluster: the root CA and the service-account key, kept in the store they share, sealed with
 * the cluster token (`cluster-token.ts`). The first server makes all three; another one is given the token, and finds the rest. See
 * docs/decisions/0013. Leaf certificates are each server's own, from the common CA. How they change: `shared-rotation.ts`.
 */
import { existsSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readFileIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError, hasCode } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { caHash, createCa, createKey, splitPem } from '../../base/pki.ts'
import type { StoreRecords } from '../../store/mod.ts'
import { clusterTokenPath, keepToken, keptToken, makeToken, openSealed, readToken, seal, SEALED_RECORDS, unseal } from './cluster-token.ts'

const log = logger('server.identity')
const RECORD = SEALED_RECORDS.identity

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

/**
 * Brings the common identity into `<data-dir>/server/tls`, from the store or, by the first server, into it.
 * @param tokenFile holds the cluster token; without it, what this data directory has is used
 * @throws AppError `forbidden` without the right token, `conflict` when the data directory is another cluster's
 */
export async function shareIdentity(dataDir: string, records: StoreRecords, tokenFile: string | undefined): Promise<void> {
  let token = tokenFile !== undefined ? await readToken(tokenFile) : await keptToken(dataDir)
  const local = await readLocal(dataDir)
  let sealed = await records.readRecord(RECORD)
  if (sealed === undefined) {
    token ??= makeToken()
    // The token first: what is sealed in the store without it on disk would be lost.
    await keepToken(dataDir, token)
    sealed = await records.createRecord(RECORD, await seal(local ?? (await make()), token))
  }
  if (token === undefined) {
    throw new AppError('forbidden', `join the servers of this store: the cluster token is missing: copy server/cluster-token from the data directory of one of them, and name it with --cluster-token-file`)
  }
  const common = tokenFile === undefined ? (await openSealed<Common>(dataDir, sealed)).value : await opened(sealed, token, dataDir, tokenFile)
  if (local && !isKnown(common, local)) {
    throw new AppError('conflict', `join the servers of this store: "${join(dataDir, 'server', 'tls')}" holds the CA of another cluster: give an empty --data-dir, or the --store of that cluster`)
  }
  await writeCommon(dataDir, common)
}

/** With the token that was given; when the one of this data directory is newer, with that. */
async function opened(sealed: string, token: string, dataDir: string, tokenFile: string): Promise<Common> {
  try {
    const common = await unseal<Common>(sealed, token)
    await keepToken(dataDir, token)
    return common
  } catch (error) {
    const kept = hasCode(error, 'forbidden') && (await keptToken(dataDir)) !== undefined
    const newer = kept ? await openSealed<Common>(dataDir, sealed).catch(() => undefined) : undefined
    if (!newer) throw error
    log.warn('the token of --cluster-token-file is a former one, the one that is kept is used: put that into the file, or leave the flag out', { file: tokenFile, kept: clusterTokenPath(dataDir) })
    return newer.value
  }
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
  for (;;) {
    const sealed = await records.readRecord(RECORD)
    if (sealed === undefined) throw new AppError('not-found', "read the cluster's identity in the store: it is gone; restore the store from a backup")
    const { value: now, token } = await openSealed<Common>(dataDir, sealed)
    const next = await change(now)
    if (next === now || (await records.changeRecords([{ name: RECORD, former: sealed, value: await seal(next, token) }]))) return next
  }
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
