/**
 * The images of a node as its status names them, for the scheduler and for people: the largest 50, with at most five names each,
 * as a kubelet does. Read anew every five minutes, and when a pull or the collector has changed them.
 */
import type { ContainerImage } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { logger } from '../../base/log.ts'
import type { ImageInfo, Runtime } from '../../cri/mod.ts'

const log = logger('agent.images')
/** The kubelet's `nodeStatusMaxImages` and the names of one. */
const MOST = 50
const MOST_NAMES = 5
/** What somebody else has pulled or removed is seen after this, ms. */
const LOOK_MS = 300_000

/** The list as a Node has it; pure. */
export function listed(images: readonly ImageInfo[]): ContainerImage[] {
  return [...images]
    .sort((a, b) => b.sizeBytes - a.sizeBytes || (a.id < b.id ? -1 : 1))
    .slice(0, MOST)
    .map(({ digests, tags, sizeBytes }) => ({ names: [...digests, ...tags].slice(0, MOST_NAMES), sizeBytes }))
}

/** See the header. */
export class KnownImages {
  readonly #runtime: Pick<Runtime, 'images'>
  readonly #clock: Clock
  #images: ContainerImage[] = []
  #readAt = -Infinity

  constructor(runtime: Pick<Runtime, 'images'>, clock: Clock) {
    this.#runtime = runtime
    this.#clock = clock
  }

  /** They are others now: read with the next look. */
  changed(): void {
    this.#readAt = -Infinity
  }

  /** The images; those known before while the runtime is away. */
  async look(): Promise<readonly ContainerImage[]> {
    const now = this.#clock.monotonic()
    if (now - this.#readAt < LOOK_MS) return this.#images
    try {
      this.#images = listed(await this.#runtime.images.list())
      this.#readAt = now
    } catch (error) {
      log.debug('images not read', { error })
    }
    return this.#images
  }
}
