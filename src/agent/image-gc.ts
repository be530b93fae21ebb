/**
 * Removes images that nothing on this node uses, when the disk is fuller than {@link DEFAULT_POLICY} allows or (if asked) when
 * they have not been used for long. What a pod of this node names is kept even while it does not run, as a node that is cut
 * off could not get it back; so are pinned images. The longest unused go first.
 */
import { statfs } from 'node:fs/promises'
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { Container, ImageInfo, Runtime } from '../cri/mod.ts'
import { formatReference, parseReference } from '../images/mod.ts'

const log = logger('agent.images')
/** How often the disk is looked at, ms: the kubelet's figure. */
const LOOK_MS = 300_000

export interface ImagePolicy {
  /** Images are removed when the disk is fuller than this, percent. */
  readonly highPercent: number
  /** ... until it is at this. */
  readonly lowPercent: number
  /** An image that came or was used since is left, ms. */
  readonly minAgeMs: number
  /** Unused for so long it goes, however empty the disk is, ms; 0: never. */
  readonly maxAgeMs: number
}

/** The kubelet's figures. */
export const DEFAULT_POLICY: ImagePolicy = { highPercent: 85, lowPercent: 80, minAgeMs: 120_000, maxAgeMs: 0 }

export interface Disk {
  readonly totalBytes: number
  readonly freeBytes: number
}

/** Which of these images are used: by a container, dead ones included, or named by a pod (`names` are whole references). */
export function usedImages(images: readonly ImageInfo[], containers: readonly Pick<Container, 'image' | 'imageRef'>[], names: ReadonlySet<string>): Set<string> {
  const refs = new Set([...containers.flatMap((c) => [c.image, c.imageRef]), ...names])
  return new Set(images.filter((i) => refs.has(i.id) || i.tags.some((t) => refs.has(t) || refs.has(wholeName(t))) || i.digests.some((d) => refs.has(d))).map((i) => i.id))
}

/** The whole form of a reference; one that does not parse stays as it is. */
export function wholeName(image: string): string {
  try {
    return formatReference(parseReference(image))
  } catch {
    return image
  }
}

export interface Removal {
  readonly remove: readonly ImageInfo[]
  /** Bytes that are to be freed beyond what those images hold; 0 when they are enough. */
  readonly missingBytes: number
}

/** The images to remove now; pure. `lastUsed` has every image, ms monotonic. `all`: every unused one that is old enough. */
export function chooseImages(images: readonly ImageInfo[], used: ReadonlySet<string>, lastUsed: ReadonlyMap<string, number>, now: number, disk: Disk, policy: ImagePolicy, all = false): Removal {
  const age = (i: ImageInfo): number => now - (lastUsed.get(i.id) ?? now)
  const free = images.filter((i) => !used.has(i.id) && !i.pinned && age(i) >= policy.minAgeMs).sort((a, b) => age(b) - age(a) || b.sizeBytes - a.sizeBytes)
  const usedBytes = disk.totalBytes - disk.freeBytes
  let toFree = all ? Infinity : usedBytes * 100 > disk.totalBytes * policy.highPercent ? usedBytes - Math.floor((disk.totalBytes * policy.lowPercent) / 100) : 0
  const remove: ImageInfo[] = []
  for (const i of free) {
    const old = policy.maxAgeMs > 0 && age(i) >= policy.maxAgeMs
    if (toFree <= 0 && !old) continue
    remove.push(i)
    toFree -= i.sizeBytes
  }
  return { remove, missingBytes: Math.max(0, toFree) }
}

export interface ImageCollectorOptions {
  readonly runtime: Pick<Runtime, 'images' | 'containers'>
  readonly clock: Clock
  /** A directory on the disk that holds the images. */
  readonly directory: string
  /** Images that pods of this node name. */
  readonly named: () => Iterable<string>
  /** Images never removed, e.g. that of the sandboxes. */
  readonly pinned: () => readonly string[]
  readonly policy?: ImagePolicy
  readonly say: (reason: string, message: string) => void
  readonly onRemoved?: () => void
  /** @default the file system of `directory` */
  readonly disk?: () => Promise<Disk>
}

/** Looks every five minutes; see the header. */
export class ImageCollector {
  readonly #o: ImageCollectorOptions
  /** By image id, ms monotonic; bounded by the images there are. */
  readonly #lastUsed = new Map<string, number>()

  constructor(options: ImageCollectorOptions) {
    this.#o = options
  }

  /** Works until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look().catch((error: unknown) => log.warn('images not looked at', { why: messageOf(error) }))
      await this.#o.clock.sleep(LOOK_MS, signal).catch(() => undefined)
    }
  }

  /** One look; resolves when what is to go has gone. `all`: whatever is unused goes, however empty the disk. @throws AppError of the runtime */
  async look(all = false): Promise<void> {
    const { runtime, clock, named, pinned, policy = DEFAULT_POLICY, say } = this.#o
    const [images, containers, disk] = await Promise.all([runtime.images.list(), runtime.containers.list(), this.#disk()])
    const names = new Set([...named(), ...pinned()].flatMap((n) => [n, wholeName(n)]))
    const used = usedImages(images, containers, names)
    const now = clock.monotonic()
    for (const id of [...this.#lastUsed.keys()]) if (!images.some((i) => i.id === id)) this.#lastUsed.delete(id)
    for (const { id } of images) if (used.has(id) || !this.#lastUsed.has(id)) this.#lastUsed.set(id, now)
    const { remove, missingBytes } = chooseImages(images, used, this.#lastUsed, now, disk, policy, all)
    for (const image of remove) {
      try {
        await runtime.images.remove(image.id)
        this.#o.onRemoved?.()
        log.info('unused image removed', { image: image.tags[0] ?? image.id, bytes: image.sizeBytes })
      } catch (error) {
        log.warn('unused image not removed', { image: image.tags[0] ?? image.id, why: messageOf(error) })
      }
    }
    const percent = Math.round(100 - (disk.freeBytes * 100) / Math.max(1, disk.totalBytes))
    if (missingBytes > 0 && !all) say('FreeDiskSpaceFailed', `Disk is ${percent}% full, over the ${policy.highPercent}% allowed, and unused images hold ${missingBytes} bytes too little to bring it to ${policy.lowPercent}%: remove what is not needed from "${this.#o.directory}", or give a larger disk`)
  }

  async #disk(): Promise<Disk> {
    if (this.#o.disk) return await this.#o.disk()
    const { blocks, bavail, bsize } = await statfs(this.#o.directory)
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize }
  }
}
