/**
 * Images that a person brings to this very machine: by hand (`skerry image import`) or into a watched directory, as archives
 * (tar, also gzip or zstd) and as `.txt` lists of images to pull. Archives are imported before pods start, offline too; what was brought is
 * kept from image collection until its file is gone or it is removed by hand. A record on disk tells what was imported, so that a start
 * imports nothing twice. Bounded by the files of the directory.
 */
import { mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../base/atomic-file.ts'
import type { Clock } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { waitAfter, type RetrySchedule } from '../base/retry.ts'
import { watchDirectory } from '../base/watch-directory.ts'
import type { Runtime } from '../cri/mod.ts'
import { wholeName } from './image-gc.ts'

const log = logger('agent.images')
/** The directory is read again after this also when nothing was told, ms. */
const LOOK_MS = 60_000
/** A file that is written to is looked at again after this, ms. */
const SETTLE_MS = 1_000
/** A file that failed is tried again: a full disk may have room by then, a list its registry. */
const RETRY: RetrySchedule = { firstMs: 2_000, factor: 2, maxMs: 300_000, jitter: 0.2 }
/** Largest list of images that is read, bytes. */
const MAX_LIST = 1 << 20

/** A file of the directory as it was when it was imported. */
interface Imported {
  readonly size: number
  readonly mtimeMs: number
  readonly images: readonly string[]
}

interface Failed {
  readonly size: number
  readonly mtimeMs: number
  readonly tries: number
  readonly retryAt: number
}

interface Record {
  readonly files: { readonly [name: string]: Imported }
  /** Brought by hand. */
  readonly images: readonly string[]
}

export interface NodeImagesOptions {
  readonly directory: string
  /** File that remembers what was imported. */
  readonly record: string
  readonly runtime: Pick<Runtime, 'images'>
  /** @throws AppError `corrupt` for an archive that is torn */
  readonly importArchive: (path: string, signal?: AbortSignal) => Promise<readonly string[]>
  readonly clock: Clock
}

/** An image as `skerry image list` shows it. */
export interface NodeImage {
  readonly name: string
  readonly id: string
  readonly sizeBytes: number
  readonly kept: boolean
}

/** The images a person brought to one node; see the header. */
export class NodeImages {
  readonly #o: NodeImagesOptions
  #files = new Map<string, Imported>()
  #byHand = new Set<string>()
  readonly #failed = new Map<string, Failed>()
  /** Size and time of a file at the last look: imported once it has stopped growing. */
  #seen = new Map<string, string>()
  #wake: AbortController | undefined
  #woken = false

  constructor(options: NodeImagesOptions) {
    this.#o = options
  }

  /** Names of images that are kept though nothing uses them. */
  pinned(): string[] {
    return [...new Set([...this.#byHand, ...[...this.#files.values()].flatMap((f) => f.images)])]
  }

  /** Reads the record and imports the archives that are there. A bad one is told and does not hold up the start; lists wait for `run`. */
  async start(signal: AbortSignal): Promise<void> {
    const { directory, record } = this.#o
    await mkdir(directory, { recursive: true, mode: 0o755 })
    const text = await readFile(record, 'utf8').catch(() => '')
    if (text !== '') {
      try {
        const { files, images } = JSON.parse(text) as Record
        this.#files = new Map(Object.entries(files))
        this.#byHand = new Set(images)
      } catch (error) {
        log.warn('the record of imported images is unreadable: what is in the directory is imported again, images brought by hand are no longer kept', { record, why: messageOf(error) })
      }
    }
    await this.#look(false, signal)
  }

  /** Watches the directory until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { directory } = this.#o
    watchDirectory(directory, signal, () => this.#kick(), (error) => log.warn('the directory of images is not watched, it is read every minute', { directory, why: messageOf(error) }))
    while (!signal.aborted) {
      const wait = await this.#look(true, signal).catch((error: unknown) => {
        if (!signal.aborted) log.warn('directory of images not read', { directory: this.#o.directory, why: messageOf(error) })
        return LOOK_MS
      })
      if (this.#woken) {
        this.#woken = false
        await this.#o.clock.sleep(Math.min(wait, SETTLE_MS), signal).catch(() => undefined)
        continue
      }
      this.#wake = new AbortController()
      await this.#o.clock.sleep(wait, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined)
      this.#wake = undefined
      this.#woken = false
    }
  }

  /** Brings one archive by hand. @throws AppError as the import does */
  async import(path: string, signal?: AbortSignal): Promise<readonly string[]> {
    const names = await this.#o.importArchive(path, signal)
    if (names.length === 0) throw new AppError('invalid', `import image "${path}": it names no image: save it with its name, as \`docker save app:v1\` does`)
    for (const name of names) this.#byHand.add(name)
    await this.#save()
    return names
  }

  /** Removes an image, which is no longer kept. @throws AppError `not-found`; `conflict` when a file of the directory brings it */
  async remove(name: string): Promise<void> {
    const whole = wholeName(name)
    const file = [...this.#files].find(([, f]) => f.images.some((i) => wholeName(i) === whole))?.[0]
    if (file !== undefined) throw new AppError('conflict', `remove image "${name}": it comes from "${join(this.#o.directory, file)}": remove that file first`)
    const image = await this.#o.runtime.images.find(name)
    if (!image) throw new AppError('not-found', `remove image "${name}": it is not on this node: see \`skerry image list\``)
    await this.#o.runtime.images.remove(image.id)
    for (const n of [...this.#byHand]) if (wholeName(n) === whole || image.tags.includes(n)) this.#byHand.delete(n)
    await this.#save()
  }

  /** All images of this node, by name. */
  async list(): Promise<NodeImage[]> {
    const kept = new Set(this.pinned().map(wholeName))
    const images = await this.#o.runtime.images.list()
    return images
      .flatMap((i) => (i.tags.length > 0 ? i.tags : [i.digests[0] ?? i.id]).map((name) => ({ name, id: i.id, sizeBytes: i.sizeBytes, kept: i.pinned || kept.has(wholeName(name)) })))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  #kick(): void {
    this.#woken = true
    this.#wake?.abort()
  }

  /** One look at the directory; @returns when to look again, ms. */
  async #look(lists: boolean, signal: AbortSignal): Promise<number> {
    const { directory, clock } = this.#o
    const before = this.#seen
    this.#seen = new Map()
    const there = new Set<string>()
    let wait = LOOK_MS
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const { name } = entry
      const isList = name.endsWith('.txt')
      if (name.startsWith('.') || entry.isDirectory()) continue
      if (!isList && !/\.(tar|tar\.gz|tgz|tar\.zst)$/.test(name)) {
        if (!before.has(name)) log.warn('not an image archive (.tar, .tar.gz, .tgz, .tar.zst) nor a list of images (.txt), left alone', { file: join(directory, name) })
        this.#seen.set(name, 'not ours')
        continue
      }
      there.add(name)
      const at = await stat(join(directory, name)).catch(() => undefined)
      if (!at || (isList && !lists)) continue
      const mark = `${at.size} ${at.mtimeMs}`
      this.#seen.set(name, mark)
      const done = this.#files.get(name)
      if (done && done.size === at.size && done.mtimeMs === at.mtimeMs && (await this.#present(done.images))) continue
      const failed = this.#failed.get(name)
      const same = failed?.size === at.size && failed.mtimeMs === at.mtimeMs
      if (same && clock.monotonic() < failed.retryAt) {
        wait = Math.min(wait, failed.retryAt - clock.monotonic())
        continue
      }
      // While a copy is still growing there is no use in trying; at the start there is no time to find out, and the archive tells itself.
      if (lists && before.get(name) !== mark && clock.now() - at.mtimeMs < SETTLE_MS) {
        wait = Math.min(wait, SETTLE_MS)
        continue
      }
      const tries = (same ? failed.tries : 0) + 1
      try {
        const images = isList ? await this.#pull(join(directory, name), signal) : await this.#o.importArchive(join(directory, name), signal)
        this.#failed.delete(name)
        this.#files.set(name, { size: at.size, mtimeMs: at.mtimeMs, images })
        await this.#save()
        log.info('images brought from the directory', { file: name, images })
      } catch (error) {
        if (signal.aborted) throw error
        const retry = waitAfter(RETRY, tries)
        this.#failed.set(name, { size: at.size, mtimeMs: at.mtimeMs, tries, retryAt: clock.monotonic() + retry })
        wait = Math.min(wait, retry)
        // The same fault of the same bytes is told once.
        if (!same) log.warn('images not brought from the directory, tried again when the file changes and from time to time', { file: join(directory, name), why: messageOf(error) })
      }
    }
    const gone = [...this.#files.keys()].filter((name) => !there.has(name))
    for (const name of gone) this.#files.delete(name)
    for (const name of [...this.#failed.keys()]) if (!there.has(name)) this.#failed.delete(name)
    if (gone.length > 0) await this.#save()
    return wait
  }

  async #present(images: readonly string[]): Promise<boolean> {
    for (const name of images) if (!(await this.#o.runtime.images.find(name))) return false
    return true
  }

  /** Pulls what a list names and is not here; the first that fails is told. */
  async #pull(path: string, signal: AbortSignal): Promise<string[]> {
    if ((await stat(path)).size > MAX_LIST) throw new AppError('too-large', `pull images of "${path}": the list is over ${MAX_LIST} bytes: it is to hold one image name a line`)
    const lines = (await readFile(path, 'utf8')).split('\n').map((text, i) => ({ name: text.trim(), line: i + 1 }))
    const names = lines.filter(({ name }) => name !== '' && !name.startsWith('#'))
    const faults: string[] = []
    for (const { name, line } of names) {
      try {
        if (!(await this.#o.runtime.images.find(name))) await this.#o.runtime.images.pull(name, undefined, signal)
      } catch (error) {
        if (signal.aborted) throw error
        faults.push(`line ${line}, "${name}": ${messageOf(error)}`)
      }
    }
    if (faults.length > 0) throw new AppError('unavailable', `pull images of "${path}": ${faults.length} of ${names.length} failed: ${faults[0]}`)
    return names.map(({ name }) => name)
  }

  async #save(): Promise<void> {
    const record: Record = { files: Object.fromEntries(this.#files), images: [...this.#byHand] }
    await writeFileAtomic(this.#o.record, JSON.stringify(record))
  }
}
