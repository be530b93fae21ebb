/**
 * The one error class callers catch by meaning: a `code` from a short list and whether trying again can help.
 * Message grammar: the act that failed, colon, the state seen, then the way out; no final period.
 */

/** What went wrong, in words every area shares. */
export type ErrorCode =
  | 'invalid' // the caller's input is wrong; the message names the value seen
  | 'unauthorized' // no or bad credentials
  | 'forbidden' // known caller, not allowed
  | 'not-found'
  | 'exists'
  | 'conflict' // the state moved on since it was read
  | 'compacted' // the revision asked for is no longer kept
  | 'unavailable' // the other side is away; try later
  | 'timeout'
  | 'too-large'
  | 'full' // a bounded buffer or disk is full
  | 'corrupt' // stored bytes do not check
  | 'unsupported'
  | 'internal'

const RETRYABLE: ReadonlySet<ErrorCode> = new Set(['unavailable', 'timeout', 'full'])

/**
 * An expected failure. `message` follows the file's grammar and may be shown to users as it is, so no secrets in it;
 * `cause` is the failure below it, which {@link messageOf} appends. `retryable`: the same call may succeed later as it is.
 */
export class AppError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean
  /** @param options.retryable when another try would be wrong though the code is retryable, or the reverse. @default by code */
  constructor(code: ErrorCode, message: string, options: { cause?: unknown; retryable?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AppError'
    this.code = code
    this.retryable = options.retryable ?? RETRYABLE.has(code)
  }
}

/** True for an error that carries this code, anywhere down its cause chain. */
export function hasCode(error: unknown, code: ErrorCode): boolean {
  for (let e = error; e instanceof Error; e = e.cause) if (e instanceof AppError && e.code === code) return true
  return false
}

/** True when the work was called off by a signal, so that nobody reports it as a failure. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || (error as { code?: unknown }).code === 'ABORT_ERR')
}

/** A readable one-line text of any thrown thing, with its causes. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof AggregateError && error.errors.length > 0) {
    return [...new Set(error.errors.map(messageOf))].join('; ')
  }
  const message = error.message || error.name
  const cause = error.cause === undefined ? '' : messageOf(error.cause)
  // A message that was made of its cause's words does not say them twice.
  return cause === '' || message.includes(cause) ? message : `${message}: ${cause}`
}
