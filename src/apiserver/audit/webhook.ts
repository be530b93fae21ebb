/**
 * The audit log sent to a web service in batches (`EventList` of `audit.k8s.io/v1`), in the background: no request waits for it.
 * Full buffer, or a batch that nobody takes in {@link TRIES} tries: events are dropped, counted and told.
 */
import type { Clock } from '../../base/clock.ts'
import { isAbort, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { AuditSink } from './log.ts'

const log = logger('apiserver.audit')
/** Kubernetes' own figures: events a batch, ms until a smaller one goes, events and characters that wait. */
const BATCH = 400
const BATCH_MS = 30_000
const MAX_EVENTS = 10_000
const MAX_CHARS = 16 << 20
const TRIES = 5
/** Wait before the second try, ms; it grows by half each time. */
const BACKOFF_MS = 10_000

export interface AuditWebhookOptions {
  readonly clock: Clock
  /** Posts one EventList. @throws Error when it was not taken */
  readonly send: (text: string, signal: AbortSignal) => Promise<void>
}

/** Takes lines at once, sends them in {@link AuditWebhook.run}. */
export class AuditWebhook implements AuditSink {
  readonly #o: AuditWebhookOptions
  #waiting: string[] = []
  #chars = 0
  #dropped = 0
  #wake: () => void = () => undefined

  constructor(options: AuditWebhookOptions) {
    this.#o = options
  }

  write(line: string): void {
    if (this.#waiting.length >= MAX_EVENTS || this.#chars + line.length > MAX_CHARS) {
      this.#dropped++
      return
    }
    this.#chars += line.length
    this.#waiting.push(line)
    if (this.#waiting.length === 1 || this.#waiting.length >= BATCH) this.#wake()
  }

  /** Sends until the signal aborts; what is left then gets one try. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#o
    const end = (): void => this.#wake()
    signal.addEventListener('abort', end, { once: true })
    try {
      while (!signal.aborted) {
        if (this.#waiting.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
        if (this.#waiting.length < BATCH && !signal.aborted) {
          await new Promise<void>((resolve) => {
            const timer = clock.timer('audit-batch', BATCH_MS, resolve)
            this.#wake = () => {
              if (this.#waiting.length < BATCH && !signal.aborted) return
              timer.cancel()
              resolve()
            }
          })
        }
        while (this.#waiting.length > 0 && !signal.aborted) await this.#sendBatch(signal, TRIES)
      }
      while (this.#waiting.length > 0) await this.#sendBatch(AbortSignal.timeout(2_000), 1)
    } finally {
      signal.removeEventListener('abort', end)
    }
  }

  async #sendBatch(signal: AbortSignal, tries: number): Promise<void> {
    const batch = this.#waiting.splice(0, BATCH)
    for (const line of batch) this.#chars -= line.length
    const text = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[${batch.join(',')}]}`
    for (let attempt = 1, wait = BACKOFF_MS; ; attempt++, wait *= 1.5) {
      try {
        await this.#o.send(text, signal)
        break
      } catch (error) {
        if (attempt >= tries) {
          this.#dropped += batch.length
          log.error('audit events not sent', { events: batch.length, tries: attempt, error: messageOf(error) })
          break
        }
        try {
          await this.#o.clock.sleep(wait, signal)
        } catch (stopped) {
          if (!isAbort(stopped)) throw stopped
          // The server ends: one more try, with what else waits.
          this.#waiting.unshift(...batch)
          for (const line of batch) this.#chars += line.length
          return
        }
      }
    }
    if (this.#dropped > 0) {
      log.error('audit events dropped: the web service takes fewer than there are requests', { dropped: this.#dropped })
      this.#dropped = 0
    }
  }
}
