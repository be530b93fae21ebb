/**
 * The only error language on the wire: `metav1.Status`. The server throws {@link ApiError}; {@link toStatus} is the one funnel that
 * turns anything thrown into a Status (unknown failures say nothing of themselves); the client turns it back with {@link fromStatus}.
 * Message texts are Kubernetes' own, because tools and people know them.
 */
import { AppError } from '../base/errors.ts'
import type { ErrorCode } from '../base/errors.ts'
import type { Status, StatusCause } from './gen/types.ts'
import { qualifiedResource } from './resource.ts'

export type { Status, StatusCause }

/** An API refusal; `status` is exactly what the caller gets. */
export class ApiError extends AppError {
  readonly status: Status
  constructor(status: Status, options: { cause?: unknown } = {}) {
    const retryable = RETRY_CODES.has(status.code ?? 500)
    super(codeOf(status), status.message ?? 'the API refused without a message', { ...options, retryable })
    this.name = 'ApiError'
    this.status = status
  }
}

const RETRY_CODES: ReadonlySet<number> = new Set([429, 500, 502, 503, 504])

const CODE_OF_REASON: Readonly<Record<string, ErrorCode>> = {
  NotFound: 'not-found', AlreadyExists: 'exists', Conflict: 'conflict', Invalid: 'invalid', BadRequest: 'invalid', Unauthorized: 'unauthorized',
  Forbidden: 'forbidden', Expired: 'compacted', Gone: 'compacted', Timeout: 'timeout', ServerTimeout: 'unavailable', TooManyRequests: 'unavailable',
  ServiceUnavailable: 'unavailable', RequestEntityTooLarge: 'too-large', MethodNotAllowed: 'unsupported', NotAcceptable: 'unsupported',
  UnsupportedMediaType: 'unsupported', InternalError: 'internal',
}
const CODE_OF_HTTP: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid', 401: 'unauthorized', 403: 'forbidden', 404: 'not-found', 405: 'unsupported', 406: 'unsupported', 409: 'conflict', 410: 'compacted',
  413: 'too-large', 415: 'unsupported', 422: 'invalid', 429: 'unavailable', 502: 'unavailable', 503: 'unavailable', 504: 'timeout',
}

function codeOf(status: Status): ErrorCode {
  return CODE_OF_REASON[status.reason ?? ''] ?? CODE_OF_HTTP[status.code ?? 0] ?? 'internal'
}

/** The error a Status means, for clients. */
export function fromStatus(status: Status): ApiError {
  return new ApiError(status)
}

/** Names a resource in messages; a ResourceDef is one. */
export interface ResourceName {
  readonly group: string
  readonly resource: string
  readonly kind?: string
}

function failure(code: number, reason: string, message: string, details?: Status['details']): ApiError {
  return new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, ...(details && { details }), code })
}

function details(of: ResourceName, name: string, more: Partial<NonNullable<Status['details']>> = {}): NonNullable<Status['details']> {
  return { ...(name !== '' && { name }), ...(of.group !== '' && { group: of.group }), kind: of.resource, ...more }
}

export const notFound = (of: ResourceName, name: string): ApiError =>
  failure(404, 'NotFound', `${qualifiedResource(of)} "${name}" not found`, details(of, name))

/** No such path: what a request for an unknown resource gets. */
export const pathNotFound = (): ApiError => failure(404, 'NotFound', 'the server could not find the requested resource', {})

export const alreadyExists = (of: ResourceName, name: string): ApiError =>
  failure(409, 'AlreadyExists', `${qualifiedResource(of)} "${name}" already exists`, details(of, name))

/** The object moved on since it was read; the caller reads again and retries. */
export const conflict = (of: ResourceName, name: string, why = MODIFIED): ApiError =>
  failure(409, 'Conflict', `Operation cannot be fulfilled on ${qualifiedResource(of)} "${name}": ${why}`, details(of, name))
const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again'

/** Server-side apply: another manager owns the field; each cause names one owner and one field. */
export function applyConflict(causes: readonly StatusCause[]): ApiError {
  const byOwner = Map.groupBy(causes, (c) => c.message ?? '')
  const [only] = causes
  const text =
    causes.length === 1
      ? `Apply failed with 1 conflict: ${only?.message}: ${only?.field}`
      : `Apply failed with ${causes.length} conflicts: ${[...byOwner]
          .map(([owner, list]) => `${owner.replace('conflict', 'conflicts')}:\n${list.map((c) => `- ${c.field}`).join('\n')}`)
          .join('\n')}`
  return failure(409, 'Conflict', text, { causes: [...causes] })
}

/** Validation failed; each cause becomes a part of the message, as Kubernetes prints field errors. */
export function invalid(of: ResourceName & { readonly kind: string }, name: string, causes: readonly FieldError[]): ApiError {
  const texts = [...new Set(causes.map((c) => `${c.field}: ${c.message}`))]
  const kind = of.group === '' ? of.kind : `${of.kind}.${of.group}`
  const list = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`
  return failure(422, 'Invalid', `${kind} "${name}" is invalid: ${list}`, {
    ...details(of, name),
    kind: of.kind,
    causes: causes.map((c) => ({ reason: c.reason, message: c.message, field: c.field })),
  })
}

export const badRequest = (message: string): ApiError => failure(400, 'BadRequest', message)

export const unauthorized = (message = 'Unauthorized'): ApiError => failure(401, 'Unauthorized', message)

/** `pods "web" is forbidden: why`; with no name the resource alone. */
export function forbidden(of: ResourceName, name: string, why: string): ApiError {
  const subject = name === '' ? qualifiedResource(of) : `${qualifiedResource(of)} "${name}"`
  return failure(403, 'Forbidden', of.resource === '' ? `forbidden: ${why}` : `${subject} is forbidden: ${why}`, details(of, name))
}

export const methodNotAllowed = (of: ResourceName, verb: string): ApiError =>
  failure(405, 'MethodNotAllowed', `${verb} is not supported on resources of kind "${qualifiedResource(of)}"`, details(of, ''))

export const unsupportedMediaType = (accepted: readonly string[], state = 'the body of the request was in an unknown format'): ApiError =>
  failure(415, 'UnsupportedMediaType', `${state} - accepted media types include: ${accepted.join(', ')}`, {})

/** The resourceVersion or continue token is compacted away. */
export const expired = (message = 'The resourceVersion for the provided watch is too old.'): ApiError => failure(410, 'Expired', message)

export const gone = (message: string): ApiError => failure(410, 'Gone', message)

export const tooLarge = (message = 'Request entity too large: limit is 3145728'): ApiError => failure(413, 'RequestEntityTooLarge', message)

export const tooManyRequests = (message: string, retryAfterSeconds = 1): ApiError =>
  failure(429, 'TooManyRequests', message, { retryAfterSeconds })

export const timeout = (message: string, retryAfterSeconds = 0): ApiError => failure(504, 'Timeout', message, { retryAfterSeconds })

/** A `resourceVersion` ahead of this server: kubectl and clients retry on this cause. */
export const tooLargeResourceVersion = (asked: number, current: number): ApiError =>
  failure(504, 'Timeout', `Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  })

export const unavailable = (message = 'the server is currently unable to handle the request'): ApiError => failure(503, 'ServiceUnavailable', message)

/** Name generation ran out of tries, or another passing trouble. */
export const serverTimeout = (of: ResourceName, verb: string, retryAfterSeconds = 1): ApiError =>
  failure(500, 'ServerTimeout', `The ${verb} operation against ${qualifiedResource(of)} could not be completed at this time, please try again.`, {
    ...details(of, ''),
    retryAfterSeconds,
  })

/** Tells nothing of what went wrong beyond `message`; the log has the cause. */
export const internalError = (message: string, cause?: unknown): ApiError =>
  new ApiError(failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] }).status, { cause })

/** What a successful delete answers. */
export function deleted(of: ResourceName, name: string, uid: string | undefined): Status {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details: details(of, name, uid === undefined ? {} : { uid }) }
}

/**
 * The Status for anything thrown. An AppError of another area keeps its message when it is about the caller (invalid, too large,
 * …); what is about the inside of the server is answered as an internal error without its text.
 */
export function toStatus(error: unknown): Status {
  if (error instanceof ApiError) return error.status
  if (error instanceof AppError) {
    switch (error.code) {
      case 'invalid':
        return badRequest(error.message).status
      case 'unauthorized':
        return unauthorized().status
      case 'forbidden':
        return failure(403, 'Forbidden', error.message).status
      case 'not-found':
        return failure(404, 'NotFound', error.message).status
      case 'exists':
        return failure(409, 'AlreadyExists', error.message).status
      case 'conflict':
        return failure(409, 'Conflict', error.message).status
      case 'compacted':
        return expired().status
      case 'too-large':
        return tooLarge(error.message).status
      case 'timeout':
        return timeout(error.message).status
      case 'full':
      case 'unavailable':
        return unavailable(error.message).status
      case 'unsupported':
        return failure(405, 'MethodNotAllowed', error.message).status
      case 'corrupt':
      case 'internal':
        break
    }
  }
  return internalError('the request could not be handled; the server log has the reason').status
}

/** One thing wrong with one field. `reason` is a FieldValue… word of metav1. */
export interface FieldError {
  readonly field: string
  readonly reason: string
  readonly message: string
}

const show = (value: unknown): string => {
  if (value === undefined) return 'null'
  const text = JSON.stringify(value)
  return text.length > 1000 ? `${text.slice(0, 1000)}...` : text
}

export const fieldRequired = (field: string, detail = ''): FieldError => ({
  field, reason: 'FieldValueRequired', message: `Required value${detail && `: ${detail}`}`,
})
export const fieldInvalid = (field: string, value: unknown, detail: string): FieldError => ({
  field, reason: 'FieldValueInvalid', message: `Invalid value: ${show(value)}: ${detail}`,
})
export const fieldDuplicate = (field: string, value: unknown): FieldError => ({
  field, reason: 'FieldValueDuplicate', message: `Duplicate value: ${show(value)}`,
})
export const fieldNotFound = (field: string, value: unknown): FieldError => ({ field, reason: 'FieldValueNotFound', message: `Not found: ${show(value)}` })
export const fieldForbidden = (field: string, detail: string): FieldError => ({ field, reason: 'FieldValueForbidden', message: `Forbidden: ${detail}` })
/** `supported` in the order in which Kubernetes names the values. */
export const fieldNotSupported = (field: string, value: unknown, supported: readonly string[]): FieldError => ({
  field, reason: 'FieldValueNotSupported', message: `Unsupported value: ${show(value)}: supported values: ${supported.map((s) => `"${s}"`).join(', ')}`,
})
export const fieldTooLong = (field: string, max: number): FieldError => ({
  field, reason: 'FieldValueTooLong', message: `Too long: may not be more than ${max} bytes`,
})
export const fieldTooMany = (field: string, count: number, max: number): FieldError => ({
  field, reason: 'FieldValueTooMany', message: `Too many: ${count}: must have at most ${max} items`,
})
export const fieldTypeInvalid = (field: string, value: unknown, detail: string): FieldError => ({
  field, reason: 'FieldValueTypeInvalid', message: `Invalid value: ${show(value)}: ${detail}`,
})
