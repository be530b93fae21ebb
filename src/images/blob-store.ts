/**
 * Images at rest: blobs as files named by their sha256, and a small index of references to manifests. A blob becomes
 * visible only when complete, checked and synced; the index is replaced atomically and re-read when another process changed
 * it (`skerry image import` writes beside a running server).
 */
import { createHash, randomBytes } from 'node:crypto'
import { createWriteStream, statSync, type ReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { syncDirectory, writeFileAtomic } from '../base/atomic-file.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { formatReference, isDigest, parseReference } from './reference.ts'

const log = logger('images.store')

export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly platform?: { readonly architecture: string; readonly os: string; readonly variant?: string }
  readonly annotations?: Readonly<Record<string, string>>
}

export interface TaggedImage {
  /** Whole reference, `docker.io/library/app:v1`. */
  readonly reference: string
  readonly manifest: Descriptor
  /** Bytes of everything the image consists of, as kept (compressed). */
  readonly size: number
  readonly importedAt: string
}

/** Largest manifest, config or index that is read into memory, bytes (containerd's own limit is 4 MiB). */
export const MAX_DOCUMENT = 4 << 20

/** One directory of images; readers and one importer may work at a time. */
export class BlobStore {
  readonly #dir: string
  #index = new Map<string, TaggedImage>()
  #indexTime = -1

  private constructor(dir: string) {
    this.#dir = dir
  }

  /** Opens (makes) the store in `directory`; unfinished uploads of an earlier life are removed. */
  static async open(directory: string): Promise<BlobStore> {
    await mkdir(join(directory, 'blobs'), { recursive: true, mode: 0o700 })
    const store = new BlobStore(directory)
    for (const f of await readdir(join(directory, 'blobs'))) {
      if (!f.startsWith('.')) continue
      // Another process may be importing now: only what has not been touched for an hour is left over.
      const path = join(directory, 'blobs', f)
      if (Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? 0) > 3_600_000) await rm(path, { force: true })
    }
    return store
  }

  /** Bytes of a blob, or undefined when it is not here. */
  async size(digest: string): Promise<number | undefined> {
    return (await stat(this.#path(digest)).catch(() => undefined))?.size
  }

  /** A blob's bytes from `start` to `end` (inclusive). @throws AppError `not-found` */
  async read(digest: string, range?: { start: number; end: number }): Promise<ReadStream> {
    const file = await open(this.#path(digest), 'r').catch((cause: unknown) => {
      throw new AppError('not-found', `read blob ${digest}: it is not here`, { cause })
    })
    return file.createReadStream(range ?? {})
  }

  /** A small document. @throws AppError `not-found`, `too-large`, `corrupt` */
  async document(digest: string): Promise<Record<string, unknown>> {
    const size = await this.size(digest)
    if (size === undefined) throw new AppError('not-found', `read document ${digest}: it is not here`)
    if (size > MAX_DOCUMENT) throw new AppError('too-large', `read document ${digest}: ${size} bytes is over ${MAX_DOCUMENT}`)
    return parseDocument(await readFile(this.#path(digest)), digest)
  }

  /** Keeps a stream of bytes; `expected` is checked when given. @returns digest and size. @throws AppError `corrupt`, `full` */
  async put(bytes: AsyncIterable<Uint8Array> | Uint8Array, expected?: string): Promise<{ digest: string; size: number }> {
    const temporary = join(this.#dir, 'blobs', `.${randomBytes(8).toString('hex')}`)
    const hash = createHash('sha256')
    let size = 0
    try {
      const count = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          hash.update(chunk)
          size += chunk.length
          done(null, chunk)
        },
      })
      await pipeline(Readable.from(bytes instanceof Uint8Array ? [bytes] : bytes, { objectMode: false }), count, createWriteStream(temporary, { mode: 0o600, flush: true }))
      const digest = `sha256:${hash.digest('hex')}`
      if (expected !== undefined && digest !== expected) throw new AppError('corrupt', `keep blob ${expected}: its bytes have digest ${digest}`)
      await rename(temporary, this.#path(digest))
      await syncDirectory(join(this.#dir, 'blobs'))
      return { digest, size }
    } catch (error) {
      await rm(temporary, { force: true })
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') throw new AppError('full', `keep blob: no space left for "${this.#dir}"`, { cause: error })
      throw error
    }
  }

  /** Points a reference at a manifest whose parts are all here. */
  async tag(reference: string, manifest: Descriptor, size: number): Promise<void> {
    await this.#load()
    const full = formatReference(parseReference(reference))
    this.#index.set(full, { reference: full, manifest, size, importedAt: new Date().toISOString() })
    await writeFileAtomic(join(this.#dir, 'index.json'), JSON.stringify([...this.#index.values()], undefined, 1))
    this.#indexTime = -1
  }

  /** The manifest behind a reference (by tag, or by the digest in it), or undefined. */
  async resolve(reference: string): Promise<Descriptor | undefined> {
    await this.#load()
    const ref = parseReference(reference)
    if (ref.digest === undefined) return this.#index.get(formatReference(ref))?.manifest
    const size = await this.size(ref.digest)
    if (size === undefined || size > MAX_DOCUMENT) return undefined
    const document = await this.document(ref.digest)
    const mediaType = document['mediaType']
    return { mediaType: typeof mediaType === 'string' ? mediaType : 'application/vnd.oci.image.manifest.v1+json', digest: ref.digest, size }
  }

  /** All references, in order of name. */
  async list(): Promise<readonly TaggedImage[]> {
    await this.#load()
    return [...this.#index.values()].sort((a, b) => (a.reference < b.reference ? -1 : 1))
  }

  async #load(): Promise<void> {
    const path = join(this.#dir, 'index.json')
    let time: number
    try {
      time = statSync(path).mtimeMs
    } catch {
      return // nothing imported yet
    }
    if (time === this.#indexTime) return
    try {
      const rows = JSON.parse(await readFile(path, 'utf8')) as TaggedImage[]
      this.#index = new Map(rows.map((r) => [r.reference, r]))
      this.#indexTime = time
    } catch (error) {
      // The blobs are whole: importing an archive again only writes its names.
      log.error('the index of images is unreadable, set aside: import the images again', { file: `${path}.broken`, error: messageOf(error) })
      await rename(path, `${path}.broken`)
    }
  }

  #path(digest: string): string {
    if (!isDigest(digest)) throw new AppError('invalid', `name blob: "${digest.slice(0, 90)}" is not sha256:<64 hex digits>`)
    return join(this.#dir, 'blobs', digest.slice('sha256:'.length))
  }
}

/** Parses a JSON object. @throws AppError `corrupt` */
export function parseDocument(bytes: Uint8Array, name: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // told below
  }
  throw new AppError('corrupt', `read document ${name}: it is not a JSON object`)
}

/** Opens the store of a server's images. */
export function openBlobStore(directory: string): Promise<BlobStore> {
  return BlobStore.open(directory)
}

