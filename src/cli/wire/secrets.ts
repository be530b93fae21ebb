/** Secrets at rest: the key file of a server, and its store sealed with it. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { KINDS } from '../../api/kinds.ts'
import { keyOf } from '../../apiserver/mod.ts'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { reseal, sealStore, type SealKey, type Store } from '../../store/mod.ts'

const log = logger('server.secrets')

/** The key file beside the SQLite file at `storePath`: in the directory of keys, which backups of these include. */
export function keyFile(storePath: string): string {
  return join(dirname(storePath), 'tls/secrets-encryption.json')
}

/**
 * The store with Secrets sealed under the newest key, made at first need. Not wanted: as it is, and what was sealed is
 * brought back into the clear. Either way what is stored otherwise is rewritten before this resolves.
 * @throws AppError `corrupt` for a key file that cannot be read, or a Secret whose key is not in it
 */
export async function sealSecrets(store: Store, storePath: string, wanted: boolean): Promise<Store> {
  const path = keyFile(storePath)
  let keys = await readKeys(path)
  if (keys.length === 0 && !wanted) return store
  if (keys.length === 0) keys = await addKey(path)
  const options = { prefixes: [keyOf(KINDS.Secret, undefined)], keys, writeWith: wanted ? keys[0]?.id : undefined }
  const changed = await reseal(store, options)
  if (changed > 0) log.info(wanted ? 'secrets encrypted with the newest key' : 'secrets written in the clear again', { secrets: changed })
  return sealStore(store, options)
}

/** Puts a new key before the others, which stay for what they sealed. Returns all. */
export async function addKey(path: string): Promise<SealKey[]> {
  const keys = [{ id: randomBytes(4).toString('hex'), secret: randomBytes(32) }, ...(await readKeys(path))]
  await writeFileAtomic(path, `${JSON.stringify({ keys: keys.map((k) => ({ id: k.id, secret: Buffer.from(k.secret).toString('base64') })) }, undefined, 2)}\n`)
  return keys
}

/** Newest first; none when there is no file. */
async function readKeys(path: string): Promise<SealKey[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  try {
    const { keys } = JSON.parse(text) as { keys: { id: unknown; secret: unknown }[] }
    return keys.map(({ id, secret }) => ({ id: String(id), secret: Buffer.from(String(secret), 'base64') }))
  } catch (error) {
    throw new AppError('corrupt', `read key file "${path}": it is not what was written there; restore it from a backup, without it Secrets cannot be read`, { cause: error })
  }
}
