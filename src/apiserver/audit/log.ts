/** The audit log as a file of JSON lines that is rotated by size. Full buffer: events are dropped, counted and told. */
import { open, rename, rm, stat } from 'node:fs/promises'
import { logger } from '../../base/log.ts'

const log = logger('apiserver.audit')
/** Waiting for the disk at most, characters; four of the largest events. */
const MAX_WAITING = 16 << 20
const DEFAULT_FILE_BYTES = 100 << 20
const DEFAULT_BACKUPS = 10

export interface AuditSink {
  write(line: string): void
}

export interface AuditLogOptions {
  readonly path: string
  /** Size at which the file is put aside. @default 100 MiB */
  readonly maxBytes?: number
  /** Files kept beside it: `path.1` is the newest. @default 10 */
  readonly backups?: number
}

/** Takes lines at once, writes them in {@link AuditLog.run}. */
export class AuditLog implements AuditSink {
  readonly #path: string
  readonly #maxBytes: number
  readonly #backups: number
  #waiting: string[] = []
  #chars = 0
  #dropped = 0
  #wake: () => void = () => undefined

  constructor({ path, maxBytes = DEFAULT_FILE_BYTES, backups = DEFAULT_BACKUPS }: AuditLogOptions) {
    this.#path = path
    this.#maxBytes = maxBytes
    this.#backups = backups
  }

  write(line: string): void {
    if (this.#chars + line.length > MAX_WAITING) {
      this.#dropped++
      return
    }
    this.#chars += line.length
    this.#waiting.push(line)
    this.#wake()
  }

  /** Writes until the signal aborts, then what is left. @throws Error when the file cannot be opened at first */
  async run(signal: AbortSignal): Promise<void> {
    let file = await open(this.#path, 'a', 0o600)
    let size = (await file.stat()).size
    const end = (): void => this.#wake()
    signal.addEventListener('abort', end, { once: true })
    try {
      for (;;) {
        if (this.#waiting.length === 0) {
          if (signal.aborted) return
          await new Promise<void>((resolve) => (this.#wake = resolve))
          continue
        }
        const text = `${this.#waiting.join('\n')}\n`
        this.#waiting = []
        this.#chars = 0
        try {
          await file.appendFile(text)
          size += Buffer.byteLength(text)
          if (size >= this.#maxBytes) {
            await file.close()
            await this.#rotate()
            file = await open(this.#path, 'a', 0o600)
            size = 0
          }
        } catch (error) {
          log.error('events not written', { path: this.#path, chars: text.length, error })
        }
        if (this.#dropped > 0) {
          log.error('events dropped: the disk is slower than the requests', { path: this.#path, dropped: this.#dropped })
          this.#dropped = 0
        }
      }
    } finally {
      signal.removeEventListener('abort', end)
      await file.close().catch(() => undefined) // Nothing is left to write.
    }
  }

  async #rotate(): Promise<void> {
    await rm(`${this.#path}.${this.#backups}`, { force: true })
    for (let i = this.#backups - 1; i >= 0; i--) {
      const from = i === 0 ? this.#path : `${this.#path}.${i}`
      if (await stat(from).catch(() => undefined)) await rename(from, `${this.#path}.${i + 1}`)
    }
  }
}
