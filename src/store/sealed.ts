/**
 * A store whose values below certain prefixes are sealed with AES-256-GCM before they reach the disk, for Secrets at rest.
 * The key of the entry is authenticated with its value, so that a sealed value cannot be moved to another name. Values that
 * were written in the clear, or under an earlier key, stay readable; {@link reseal} brings them up to date.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { AppError } from '../base/errors.ts'
import { newestOf, type NewestRevision } from './newest.ts'
import type { Entry, Store, StoreEvent } from './store.ts'

/** `skerry:sealed:v1:<key id>:<base64 of nonce, tag, text>`. No stored object begins so. */
const MARK = 'skerry:sealed:v1:'
const NONCE = 12
const TAG = 16
const PAGE = 200

export interface SealKey {
  /** Short and without a colon. */
  readonly id: string
  /** 32 bytes. */
  readonly secret: Uint8Array
}

export interface SealOptions {
  /** Below these, values are looked at by {@link reseal}. */
  readonly prefixes: readonly string[]
  /** Whether the value of a key is to be sealed. @default all below `prefixes` */
  readonly concerns?: (key: string) => boolean
  /** All keys that values may be sealed with. */
  readonly keys: readonly SealKey[]
  /** Id of the key for new values; undefined: they are written in the clear. */
  readonly writeWith: string | undefined
  /** Asked once for all keys when a value is sealed with one that is not among `keys`: another server may have a newer one. */
  readonly refresh?: () => Promise<readonly SealKey[]>
}

/** A value's key is not known here. */
class MissingKey extends AppError {}

/** `inner`, sealed. Everything else of it is unchanged. @throws AppError `corrupt` at reads of values whose key is missing or that were changed */
export function sealStore(inner: Store, options: SealOptions): Store {
  const seal = sealer(options)
  const openEntry = (e: Entry): Entry => (seal.isSealed(e.value) ? { ...e, value: seal.open(e.key, e.value) } : e)
  /** Opens, with newer keys if need be. */
  const opened = async <T>(open: () => T): Promise<T> => {
    try {
      return open()
    } catch (error) {
      if (!(error instanceof MissingKey) || !options.refresh) throw error
      seal.learn(await options.refresh())
      return open()
    }
  }
  const newest = newestOf(inner)
  const store: Store & Partial<NewestRevision> = {
    ...(newest ? { newest } : {}),
    async get(key, revision) {
      const found = await inner.get(key, revision)
      const { entry } = found
      return entry && seal.isSealed(entry.value) ? { ...found, entry: await opened(() => openEntry(entry)) } : found
    },
    async list(prefix, list) {
      const found = await inner.list(prefix, list)
      return found.entries.some((e) => seal.isSealed(e.value)) ? { ...found, entries: await opened(() => found.entries.map(openEntry)) } : found
    },
    put: (key, value, expected, write) => inner.put(key, seal.close(key, value), expected, write),
    delete: (key, expected) => inner.delete(key, expected),
    async *watch(prefix, from, signal) {
      for await (const batch of inner.watch(prefix, from, signal)) {
        yield batch.some((e) => seal.isSealed(e.value) || (e.previous !== undefined && seal.isSealed(e.previous)))
          ? await opened(() => batch.map((e): StoreEvent => ({ ...e, value: seal.open(e.key, e.value), previous: e.previous === undefined ? undefined : seal.open(e.key, e.previous) })))
          : batch
      }
    },
    compact: (revision) => inner.compact(revision),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
  return store
}

/** Rewrites what is not as `options` would write it now. Returns how many values that were. Writers may be at work meanwhile. */
export async function reseal(inner: Store, options: SealOptions): Promise<number> {
  const seal = sealer(options)
  let changed = 0
  for (const prefix of options.prefixes) {
    let after = ''
    for (;;) {
      const { entries, remaining } = await inner.list(prefix, { limit: PAGE, ...(after === '' ? {} : { after }) })
      for (const { key, value, revision } of entries) {
        after = key
        if (seal.isCurrent(key, value)) continue
        try {
          await inner.put(key, seal.close(key, seal.open(key, value)), revision)
          changed++
        } catch (error) {
          // Written or deleted by another meanwhile: then it is as it should be.
          if (!(error instanceof AppError) || (error.code !== 'conflict' && error.code !== 'not-found')) throw error
        }
      }
      if (remaining === 0) break
    }
  }
  return changed
}

function sealer({ prefixes, keys, writeWith, concerns = (key) => prefixes.some((p) => key.startsWith(p)) }: SealOptions) {
  const byId = new Map<string, Uint8Array>()
  const learn = (known: readonly SealKey[]): void => {
    for (const { id, secret } of known) {
      if (secret.length !== 32 || id === '' || id.includes(':')) throw new AppError('invalid', `seal store: the key "${id}" has ${secret.length} bytes, 32 are needed`)
      byId.set(id, secret)
    }
  }
  learn(keys)
  const secret = writeWith === undefined ? undefined : byId.get(writeWith)
  if (writeWith !== undefined && !secret) throw new AppError('invalid', `seal store: the key "${writeWith}" is not among the keys`)
  return {
    learn,
    isSealed: (value: string): boolean => value.startsWith(MARK),
    isCurrent: (key: string, value: string): boolean => (secret && concerns(key) ? value.startsWith(`${MARK}${writeWith}:`) : !value.startsWith(MARK)),
    close(key: string, value: string): string {
      if (!secret || !concerns(key)) return value
      const nonce = randomBytes(NONCE)
      const cipher = createCipheriv('aes-256-gcm', secret, nonce)
      cipher.setAAD(Buffer.from(key))
      const text = Buffer.concat([cipher.update(value, 'utf8'), cipher.final()])
      return `${MARK}${writeWith}:${Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64')}`
    },
    open(key: string, value: string): string {
      if (!value.startsWith(MARK)) return value
      const colon = value.indexOf(':', MARK.length)
      const id = value.slice(MARK.length, colon)
      const from = byId.get(id)
      if (!from) throw new MissingKey('corrupt', `read "${key}": it is sealed with key "${id}", which is not among the keys; put that key back into the key file`)
      const bytes = Buffer.from(value.slice(colon + 1), 'base64')
      try {
        const decipher = createDecipheriv('aes-256-gcm', from, bytes.subarray(0, NONCE), { authTagLength: TAG })
        decipher.setAAD(Buffer.from(key))
        decipher.setAuthTag(bytes.subarray(NONCE, NONCE + TAG))
        return Buffer.concat([decipher.update(bytes.subarray(NONCE + TAG)), decipher.final()]).toString()
      } catch (error) {
        throw new AppError('corrupt', `read "${key}": its sealed value does not open with key "${id}": it was changed, or the key is another`, { cause: error })
      }
    },
  }
}
