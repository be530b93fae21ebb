/**
 * What the API serves, as clients discover it (`/version`, `/api`, `/apis` and their groups): kept on disk as the server last
 * said it, so that clients still find their way while it is away. Bounded: {@link MOST} documents of {@link LARGEST} bytes.
 */
import { createHash } from 'node:crypto'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'

const log = logger('agent.local-api')
const MOST = 128
const LARGEST = 1 << 20

export interface Document {
  readonly contentType: string
  readonly body: string
}

/** Whether a path is one of discovery: the version, or what groups and resources there are. */
export function isDiscovery(path: string): boolean {
  return /^\/(version|api(\/[^/]+)?|apis(\/[^/]+){0,2})\/?$/.test(path)
}

/** The kept documents; see the header. */
export class Documents {
  readonly #directory: string
  /** Hash of what is on disk, so that the same document is not written again. */
  readonly #written = new Map<string, string>()

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Takes note of an answer of the server. Never fails: a full disk only means that an outage knows less. */
  async keep(path: string, document: Document): Promise<void> {
    if (!isDiscovery(path) || document.body.length > LARGEST) return
    const file = fileOf(path, isAggregated(document.contentType))
    const text = JSON.stringify({ path, ...document })
    const hash = createHash('sha256').update(text).digest('hex')
    if (this.#written.get(file) === hash) return
    try {
      const there = await readdir(this.#directory).catch((): string[] => [])
      if (there.length >= MOST && !there.includes(file)) return
      await writeFileAtomic(join(this.#directory, file), text, { sync: false })
      this.#written.set(file, hash)
    } catch (error) {
      log.debug('discovery document not kept', { path, why: messageOf(error) })
    }
  }

  /** The document in the form the caller accepts, as far as it is known. */
  async find(path: string, accept: string): Promise<Document | undefined> {
    if (!isDiscovery(path)) return undefined
    for (const aggregated of isAggregated(accept) ? [true, false] : [false]) {
      try {
        const { contentType, body } = JSON.parse(await readFile(join(this.#directory, fileOf(path, aggregated)), 'utf8')) as Partial<Document>
        if (typeof contentType === 'string' && typeof body === 'string') return { contentType, body }
      } catch {
        // absent or torn: not known
      }
    }
    return undefined
  }
}

function isAggregated(type: string): boolean {
  return type.includes('APIGroupDiscoveryList')
}

function fileOf(path: string, aggregated: boolean): string {
  return `${createHash('sha256').update(path.replace(/\/$/, '')).digest('hex').slice(0, 24)}${aggregated ? '.all' : ''}.json`
}
