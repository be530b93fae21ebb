/**
 * Copies of caches that outlive the process: what a node knew before it lost server and power. One file a cache:
 * a snapshot (header and objects) followed by a log of changes, each record `u32 length, u32 crc32, payload`.
 *
 * Invariants: loading gives a state that was true at the revision it names, so a watch from there misses nothing; a torn
 * tail is cut off (the watch brings it again); a damaged snapshot is moved aside, reported, and counts as absent; writing
 * never fails or delays a caller. Bounded by content: pending changes are keyed by object, and a log that outgrows
 * its snapshot is folded into a new one.
 */
import { createHash } from 'node:crypto'
import { mkdir, open, readFile, rename, truncate, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { writeFileAtomic } from '../base/atomic-file.ts'
import { systemClock, type Clock, type Timer } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { KubeObject } from '../api/meta.ts'
import { keyOf } from './keys.ts'

const log = logger('client.stash')

export interface StashedState {
  readonly resourceVersion: string
  readonly objects: readonly KubeObject[]
}

/** Only `load` waits; the writers take note and return. `id` names a resource with its selectors. */
export interface Stash extends AsyncDisposable {
  /** The newest stored state; undefined when none, or when it was damaged. Call it before writing to `id`. */
  load(id: string): Promise<StashedState | undefined>
  replace(id: string, state: StashedState): void
  /** One object changed, or went (undefined). */
  append(id: string, key: string, object: KubeObject | undefined): void
  /** All changes up to this revision have been given. */
  progress(id: string, resourceVersion: string): void
  /** Resolves when all given so far is on disk (or the disk refused, which is logged). */
  flush(): Promise<void>
}

export interface FileStashOptions {
  /** Encrypts a record; @default plain */
  readonly seal?: (plain: Uint8Array) => Uint8Array
  /** The reverse of `seal`; throws when the record was not sealed by the same key. */
  readonly open?: (sealed: Uint8Array) => Uint8Array
  readonly clock?: Clock
  /** How long changes gather before they are written and synced together, ms. @default 200 */
  readonly delayMs?: number
  /** Told of a file that was moved aside. @default logged as a warning */
  readonly onCorrupt?: (path: string, why: string) => void
}

/** A revision without changes is worth a write only this often, ms: an idle node leaves its disk alone. */
const IDLE_PROGRESS_MS = 10 * 60_000
/** A disk that refused is asked again after so long, ms. */
const RETRY_MS = 10_000
/** A log below this is never folded, bytes. */
const MIN_LOG = 64 << 10
/** Longest record believed when reading, bytes. */
const MAX_RECORD = 64 << 20

interface File {
  readonly id: string
  readonly path: string
  readonly objects: Map<string, KubeObject>
  resourceVersion: string
  /** Revision on disk. */
  storedVersion: string
  storedAt: number
  pending: Set<string>
  rewrite: boolean
  snapshotBytes: number
  logBytes: number
  handle: FileHandle | undefined
}

/** Opens (makes) the directory, mode 0700. */
export async function openFileStash(directory: string, options: FileStashOptions = {}): Promise<Stash> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  return new FileStash(directory, options)
}

class FileStash implements Stash {
  readonly #directory: string
  readonly #options: FileStashOptions
  readonly #clock: Clock
  readonly #files = new Map<string, File>()
  #timer: Timer | undefined
  #writing: Promise<void> = Promise.resolve()
  #failing = false
  #closed = false

  constructor(directory: string, options: FileStashOptions) {
    this.#directory = directory
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  async load(id: string): Promise<StashedState | undefined> {
    const file = this.#file(id)
    let bytes: Buffer
    try {
      bytes = await readFile(file.path)
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ENOENT') return undefined
      log.warn('stash not readable', { path: file.path, error: messageOf(error) })
      return undefined
    }
    const read = readStash(bytes, id, this.#options.open ?? ((b) => b))
    if ('why' in read) {
      const aside = `${file.path}.corrupt-${this.#clock.now()}`
      await rename(file.path, aside).catch((error: unknown) => log.warn('damaged stash not moved aside', { path: file.path, error: messageOf(error) }))
      const report = this.#options.onCorrupt ?? ((path, why) => log.warn('stash damaged, moved aside', { path, why }))
      report(aside, read.why)
      return undefined
    }
    for (const [key, object] of read.objects) file.objects.set(key, object)
    file.resourceVersion = file.storedVersion = read.resourceVersion
    file.snapshotBytes = read.snapshotBytes
    file.logBytes = read.goodBytes - read.snapshotBytes
    file.rewrite = false
    // A disk that refuses to cut the torn tail off is given the whole file later.
    if (read.goodBytes < bytes.length) await truncate(file.path, read.goodBytes).catch(() => (file.rewrite = true))
    return { resourceVersion: read.resourceVersion, objects: [...file.objects.values()] }
  }

  replace(id: string, state: StashedState): void {
    const file = this.#file(id)
    file.objects.clear()
    for (const object of state.objects) file.objects.set(keyOf(object), object)
    file.resourceVersion = state.resourceVersion
    file.rewrite = true
    this.#soon()
  }

  append(id: string, key: string, object: KubeObject | undefined): void {
    const file = this.#file(id)
    if (object === undefined) file.objects.delete(key)
    else file.objects.set(key, object)
    file.pending.add(key)
    this.#soon()
  }

  progress(id: string, resourceVersion: string): void {
    const file = this.#file(id)
    file.resourceVersion = resourceVersion
    if (this.#clock.monotonic() - file.storedAt >= IDLE_PROGRESS_MS) this.#soon()
  }

  async flush(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#writing = this.#writing.then(() => this.#write())
    await this.#writing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of this.#files.values()) file.storedAt = -Infinity
    this.#closed = true
    await this.flush()
    for (const file of this.#files.values()) await file.handle?.close()
    this.#files.clear()
  }

  #file(id: string): File {
    let file = this.#files.get(id)
    if (!file) {
      const name = `${id.replace(/[^a-z0-9.]+/gi, '-').slice(0, 60)}-${createHash('sha256').update(id).digest('hex').slice(0, 12)}.stash`
      const path = join(this.#directory, name)
      const empty = { resourceVersion: '', storedVersion: '', storedAt: this.#clock.monotonic(), snapshotBytes: 0, logBytes: 0 }
      file = { id, path, objects: new Map(), ...empty, pending: new Set(), rewrite: true, handle: undefined }
      this.#files.set(id, file)
    }
    return file
  }

  #soon(ms = this.#options.delayMs ?? 200): void {
    if (this.#closed) return
    this.#timer ??= this.#clock.timer('stash write', ms, () => {
      this.#timer = undefined
      void this.flush()
    })
  }

  async #write(): Promise<void> {
    let failure: unknown
    let at = ''
    for (const file of this.#files.values()) {
      try {
        await this.#writeFile(file)
      } catch (error) {
        // Kept in memory and tried again by and by; a full disk must not stop the node.
        file.rewrite = true
        failure ??= error
        at ||= file.path
      }
    }
    if (failure !== undefined) {
      if (!this.#failing) log.warn('stash not written, trying again', { path: at, error: messageOf(failure) })
      this.#soon(RETRY_MS)
    }
    this.#failing = failure !== undefined
  }

  async #writeFile(file: File): Promise<void> {
    const idle = file.resourceVersion !== file.storedVersion && this.#clock.monotonic() - file.storedAt >= IDLE_PROGRESS_MS
    if (file.resourceVersion === '' || !(file.rewrite || file.pending.size > 0 || idle)) return
    const version = file.resourceVersion
    const seal = this.#options.seal ?? ((b: Uint8Array) => b)
    if (file.rewrite || file.logBytes > Math.max(MIN_LOG, file.snapshotBytes)) {
      file.pending.clear()
      file.rewrite = false
      const head = { id: file.id, resourceVersion: version, count: file.objects.size }
      const bytes = Buffer.concat([head, ...file.objects.values()].map((o) => encodeRecord(seal, o)))
      await file.handle?.close()
      file.handle = undefined
      await writeFileAtomic(file.path, bytes)
      file.snapshotBytes = bytes.length
      file.logBytes = 0
    } else {
      const keys = [...file.pending]
      file.pending.clear()
      const changes = keys.map((key): Change => ({ key, object: file.objects.get(key) ?? null }))
      const bytes = encodeRecord(seal, { resourceVersion: version, changes })
      file.handle ??= await open(file.path, 'a', 0o600)
      await file.handle.appendFile(bytes)
      await file.handle.datasync()
      file.logBytes += bytes.length
    }
    file.storedVersion = version
    file.storedAt = this.#clock.monotonic()
  }
}

interface Change {
  readonly key: string
  readonly object: KubeObject | null
}

type ReadResult =
  | { why: string }
  | { resourceVersion: string; objects: Map<string, KubeObject>; snapshotBytes: number; goodBytes: number }

/** Decodes a stash file. A bad record in the snapshot condemns it; one behind the snapshot ends the log there. */
function readStash(bytes: Buffer, id: string, unseal: (sealed: Uint8Array) => Uint8Array): ReadResult {
  let at = 0
  const next = (): unknown => {
    if (bytes.length - at < 8) throw new Error('torn record')
    const length = bytes.readUInt32BE(at)
    if (length > MAX_RECORD || bytes.length - at - 8 < length) throw new Error('torn record')
    const payload = bytes.subarray(at + 8, at + 8 + length)
    if (crc32(payload) !== bytes.readUInt32BE(at + 4)) throw new Error('checksum does not fit')
    const value: unknown = JSON.parse(Buffer.from(unseal(payload)).toString('utf8'))
    at += 8 + length
    return value
  }
  const objects = new Map<string, KubeObject>()
  let resourceVersion: string
  try {
    const head = next() as { id: string; resourceVersion: string; count: number }
    if (head.id !== id) return { why: `it holds "${head.id}", not "${id}"` }
    resourceVersion = head.resourceVersion
    for (let i = 0; i < head.count; i++) {
      const object = next() as KubeObject
      objects.set(keyOf(object), object)
    }
  } catch (error) {
    return { why: `${messageOf(error)} at byte ${at} of ${bytes.length}` }
  }
  const snapshotBytes = at
  while (at < bytes.length) {
    try {
      const record = next() as { resourceVersion: string; changes: Change[] }
      for (const { key, object } of record.changes) {
        if (object === null) objects.delete(key)
        else objects.set(key, object)
      }
      resourceVersion = record.resourceVersion
    } catch {
      break // a torn tail: what it held comes again from the watch
    }
  }
  return { resourceVersion, objects, snapshotBytes, goodBytes: at }
}

function encodeRecord(seal: (plain: Uint8Array) => Uint8Array, value: unknown): Buffer {
  const payload = seal(Buffer.from(JSON.stringify(value)))
  const head = Buffer.allocUnsafe(8)
  head.writeUInt32BE(payload.length, 0)
  head.writeUInt32BE(crc32(payload), 4)
  return Buffer.concat([head, payload])
}
