/**
 * The options of a request (`CreateOptions`, `ListOptions`, ... in its query) checked as Kubernetes checks them, before the verb
 * runs. Pure. Used by the verbs.
 */
import { fieldForbidden, fieldInvalid, fieldRequired, fieldTooLong, badRequest, invalid, type FieldError } from '../../api/status.ts'
import type { Call } from '../core.ts'
import type { DeleteOptions } from '../deletion.ts'
import { MAX_MANAGER } from '../managed-fields.ts'
import { notAcceptable } from '../negotiate.ts'
import { isTrue } from '../request-info.ts'

const VALIDATION = ['Ignore', 'Warn', 'Strict', '']
const POLICIES = ['Foreground', 'Background', 'Orphan']

/** The options of a write. @throws ApiError 422 `CreateOptions.meta.k8s.io "" is invalid: ...` */
export function checkWriteOptions(call: Call, kind: 'CreateOptions' | 'UpdateOptions' | 'PatchOptions', apply = false): void {
  const { query } = call
  if (query.size === 0 && !apply) return
  const manager = query.get('fieldManager') ?? ''
  const validation = query.get('fieldValidation') ?? ''
  refuse(kind, [
    ...(apply && manager === '' ? [fieldRequired('fieldManager', 'is required for apply patch')] : []),
    ...managerErrors(manager),
    ...(kind === 'PatchOptions' && !apply && query.get('force') !== null ? [fieldForbidden('force', 'may not be specified for non-apply patch')] : []),
    ...dryRunErrors(query.getAll('dryRun')),
    ...(VALIDATION.includes(validation) ? [] : [unsupported('fieldValidation', validation, ['', 'Ignore', 'Strict', 'Warn'])]),
  ])
}

/** @throws ApiError 422 */
export function checkDeleteOptions(options: DeleteOptions): void {
  const { propagationPolicy: policy, orphanDependents: orphan } = options
  const has = policy !== undefined && policy !== null
  refuse('DeleteOptions', [
    ...(has && orphan !== undefined && orphan !== null ? [fieldInvalid('propagationPolicy', policy, 'orphanDependents and deletionPropagation cannot be both set')] : []),
    ...(has && !POLICIES.includes(policy) ? [unsupported('propagationPolicy', policy, [...POLICIES, 'nil'])] : []),
    ...dryRunErrors(options.dryRun ?? []),
  ])
}

/** What a list or watch may ask for together. @throws ApiError 422; 400 for numbers that are none */
export function checkListOptions(query: URLSearchParams, watching: boolean): void {
  if (query.size === 0) return
  for (const name of ['limit', 'timeoutSeconds']) wholeNumber(query.get(name))
  const match = query.get('resourceVersionMatch') ?? ''
  const initial = query.get('sendInitialEvents')
  if (match === '' && initial === null) return
  refuse('ListOptions', watching ? watchErrors(match, initial, query) : listErrors(match, initial, query))
}

function listErrors(match: string, initial: string | null, query: URLSearchParams): FieldError[] {
  const field = 'resourceVersionMatch'
  const version = query.get('resourceVersion') ?? ''
  return [
    ...(match !== '' && version === '' ? [fieldForbidden(field, 'resourceVersionMatch is forbidden unless resourceVersion is provided')] : []),
    ...(match !== '' && query.get('continue') ? [fieldForbidden(field, 'resourceVersionMatch is forbidden when continue is provided')] : []),
    ...(match !== '' && match !== 'Exact' && match !== 'NotOlderThan' ? [unsupported(field, match, ['Exact', 'NotOlderThan', ''])] : []),
    ...(match === 'Exact' && version === '0' ? [fieldForbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')] : []),
    ...(initial !== null ? [fieldForbidden('sendInitialEvents', 'sendInitialEvents is forbidden for list')] : []),
  ]
}

function watchErrors(match: string, initial: string | null, query: URLSearchParams): FieldError[] {
  const field = 'resourceVersionMatch'
  return [
    ...(initial !== null && match !== 'NotOlderThan' ? [fieldForbidden(field, 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan')] : []),
    ...(match !== '' && initial === null ? [fieldForbidden(field, 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided')] : []),
    ...(match !== '' && match !== 'NotOlderThan' ? [unsupported(field, match, ['NotOlderThan'])] : []),
    ...(match !== '' && query.get('continue') ? [fieldForbidden(field, 'resourceVersionMatch is forbidden when continue is provided')] : []),
  ]
}

/** @throws ApiError 400 for rows that cannot be made, 406 for metadata of one where there is a list, or of a list where there is one */
export function checkTable({ accepted, query, info, def }: Pick<Call, 'accepted' | 'query' | 'info' | 'def'>): void {
  if (accepted.partial === 'one' && info.verb === 'list') throw notAcceptable(`you requested PartialObjectMetadata, but the requested object is a list (${goType(def, 'List')})`)
  if (accepted.partial === 'list' && info.verb === 'get') throw notAcceptable(`you requested PartialObjectMetadataList, but the requested object is not a list (${goType(def)})`)
  if (accepted.shape !== 'table') return
  const asked = query.get('includeObject') ?? ''
  if (!['', 'None', 'Metadata', 'Object'].includes(asked)) throw badRequest(`unrecognized includeObject value: ${JSON.stringify(asked)}`)
}

/** A whole number of a query; undefined when it is not given. @throws ApiError 400 */
export function wholeNumber(text: string | null): number | undefined {
  if (text === null || text === '') return undefined
  if (!/^[+-]?\d{1,18}$/.test(text)) throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`)
  return Number(text)
}

/** A boolean of a query; undefined when it is not given. */
export function flag(query: URLSearchParams, name: string): boolean | undefined {
  const text = query.get(name)
  return text === null || text === '' ? undefined : isTrue(text)
}

/** What Kubernetes calls it in Go: the group's package and the type. */
function goType({ custom, group, kind }: Call['def'], suffix = ''): string {
  return custom ? `*unstructured.Unstructured${suffix}` : `*${group.split('.')[0] || 'core'}.${kind}${suffix}`
}

function managerErrors(manager: string): FieldError[] {
  if (Buffer.byteLength(manager) > MAX_MANAGER) return [fieldTooLong('fieldManager', MAX_MANAGER)]
  const bad = /\p{C}/u.exec(manager)
  if (!bad) return []
  const code = (bad[0].codePointAt(0) as number).toString(16).toUpperCase().padStart(4, '0')
  return [fieldInvalid('fieldManager', manager, `invalid character U+${code} (at position ${Buffer.byteLength(manager.slice(0, bad.index))})`)]
}

function dryRunErrors(values: readonly string[]): FieldError[] {
  return values.every((v) => v === 'All') ? [] : [unsupported('dryRun', values, ['All'])]
}

function unsupported(field: string, value: unknown, supported: readonly string[]): FieldError {
  return { field, reason: 'FieldValueNotSupported', message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.map((s) => `"${s}"`).join(', ')}` }
}

function refuse(kind: string, errors: readonly FieldError[]): void {
  if (errors.length > 0) throw invalid({ group: 'meta.k8s.io', resource: '', kind }, '', errors)
}
