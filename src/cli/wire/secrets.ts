/**
 * Encryption at rest: which resources, with which keys, and where these are kept: a file of the server, or for servers that share
 * an etcd a record there, sealed with their cluster token. There is no key service (KMS): whoever has keys and store has all.
 */
import { randomBytes } from 'node:crypto'
import { dirname, join } from 'node:path'
import { readFileIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { reseal, sealStore, type SealKey, type Store, type StoreRecords } from '../../store/mod.ts'
import { openSealed, seal, SEALED_RECORDS } from './cluster-token.ts'

const log = logger('server.secrets')
const ROOT = '/registry/'
const RECORD = SEALED_RECORDS.encryption
const PATTERN = /^(?:\*|[a-z][a-z0-9-]*)(?:\.(?:\*|[a-z0-9.-]*))?$/

/** All keys, newest first, and what was sealed when they were last used. */
export interface KeyRing {
  readonly keys: readonly SealKey[]
  /** Resource patterns as of the last start. */
  readonly sealed: readonly string[]
}

/** Where a key ring is kept. */
export interface KeyPlace {
  read(): Promise<KeyRing | undefined>
  /** Changes it; two at once do not lose each other's change. Resolves to what stands there then. */
  change(next: (ring: KeyRing | undefined) => KeyRing): Promise<KeyRing>
}

/** The key file beside the SQLite file at `storePath`: in the directory of keys, which backups of these include. */
export function keyFile(storePath: string): string {
  return join(dirname(storePath), 'tls/secrets-encryption.json')
}

/** Keys in the file of one server. */
export function keysInFile(path: string): KeyPlace {
  const read = async (): Promise<KeyRing | undefined> => {
    const text = await readFileIfAny(path)
    if (text === undefined) return undefined
    return parse(text, `key file "${path}"`)
  }
  return {
    read,
    async change(next) {
      const ring = next(await read())
      await writeFileAtomic(path, format(ring))
      return ring
    },
  }
}

/** Keys in the store that several servers share, sealed with the cluster token in `dataDir`. */
export function keysInStore(records: StoreRecords, dataDir: string): KeyPlace {
  const open = async (sealed: string): Promise<KeyRing> => parse(JSON.stringify((await openSealed<unknown>(dataDir, sealed)).value), 'the keys in the store')
  return {
    async read() {
      const sealed = await records.readRecord(RECORD)
      return sealed === undefined ? undefined : open(sealed)
    },
    async change(next) {
      for (;;) {
        const former = await records.readRecord(RECORD)
        const ring = next(former === undefined ? undefined : await open(former))
        // Sealed with the token that the identity is sealed with, and kept only as long as that is so.
        const identity = await records.readRecord(SEALED_RECORDS.identity)
        if (identity === undefined) throw new AppError('not-found', 'keep keys in the store: it holds nothing that servers share: name the --store that they have, prefix included')
        const { token } = await openSealed(dataDir, identity)
        const value = await seal(JSON.parse(format(ring)), token)
        if (await records.changeRecords([{ name: SEALED_RECORDS.identity, former: identity }, { name: RECORD, former, value }])) return ring
      }
    },
  }
}

/**
 * The store with what `patterns` name sealed under the newest key, made at first need. Nothing named: as it is, and what was
 * sealed is brought back into the clear. Either way what is stored otherwise is rewritten before this resolves.
 * @throws AppError `invalid` for a pattern that is none, `corrupt` for keys that cannot be read, or a value whose key is missing
 */
export async function sealSecrets(store: Store, place: KeyPlace, patterns: readonly string[]): Promise<Store> {
  const bad = patterns.find((p) => !PATTERN.test(p))
  if (bad !== undefined) throw new AppError('invalid', `start server: --encrypt "${bad}" names no resource: write it like secrets, deployments.apps, *.apps, or *.* for everything`)
  let ring = await place.read()
  if (!ring && patterns.length === 0) return store
  if (!ring || ring.keys.length === 0) ring = await addKey(place)
  const { keys, sealed } = ring
  const concerns = (key: string): boolean => patterns.some((pattern) => matches(pattern, key))
  const all = [...new Set([...patterns, ...sealed])]
  const prefixes = all.some((p) => p.includes('*')) ? [ROOT] : all.map((p) => `${ROOT}${p.replace(/\.$/, '')}/`)
  const options = { prefixes, concerns, keys, writeWith: patterns.length > 0 ? keys[0]?.id : undefined, refresh: async () => (await place.read())?.keys ?? [] }
  const changed = await reseal(store, options)
  if (changed > 0) log.info(patterns.length > 0 ? 'values encrypted with the newest key, or no longer' : 'values written in the clear again', { values: changed, resources: patterns.join(' ') })
  if (JSON.stringify(sealed) !== JSON.stringify(patterns)) await place.change((now) => ({ keys: now?.keys ?? keys, sealed: patterns }))
  return sealStore(store, options)
}

/** Puts a new key before the others, which stay for what they sealed. */
export function addKey(place: KeyPlace): Promise<KeyRing> {
  const fresh = { id: randomBytes(4).toString('hex'), secret: randomBytes(32) }
  return place.change((ring) => ({ keys: [fresh, ...(ring?.keys ?? [])], sealed: ring?.sealed ?? [] }))
}

/** Whether a store key belongs to a resource pattern: `secrets`, `deployments.apps`, `*.apps`, `*.` (core), `*.*`. */
export function matches(pattern: string, key: string): boolean {
  const storage = key.slice(ROOT.length, key.indexOf('/', ROOT.length))
  // Events expire by themselves; written anew they would stay.
  if (storage === 'events') return false
  const dot = storage.indexOf('.')
  const [resource, group] = dot < 0 ? [storage, ''] : [storage.slice(0, dot), storage.slice(dot + 1)]
  const at = pattern.indexOf('.')
  const [wanted, of] = at < 0 ? [pattern, ''] : [pattern.slice(0, at), pattern.slice(at + 1)]
  return (wanted === '*' || wanted === resource) && (of === '*' || of === group)
}

function format({ keys, sealed }: KeyRing): string {
  return `${JSON.stringify({ keys: keys.map((k) => ({ id: k.id, secret: Buffer.from(k.secret).toString('base64') })), sealed }, undefined, 2)}\n`
}

function parse(text: string, what: string): KeyRing {
  try {
    // A file without `sealed` is of the time when Secrets were all there was to seal.
    const { keys, sealed = ['secrets'] } = JSON.parse(text) as { keys: { id: unknown; secret: unknown }[]; sealed?: unknown[] }
    return { keys: keys.map(({ id, secret }) => ({ id: String(id), secret: Buffer.from(String(secret), 'base64') })), sealed: sealed.map(String) }
  } catch (error) {
    throw new AppError('corrupt', `read ${what}: it is not what was written there; restore it from a backup, without it Secrets cannot be read`, { cause: error })
  }
}
