/** patch: JSON, merge, strategic merge and apply, each on the newest state. Used by the pipeline and the scale subresource. */
import type { ApiResponse } from '../../api/contract.ts'
import { PATCH_TYPES } from '../../api/contract.ts'
import { applyJsonPatch, applyMergePatch, applyStrategicPatch } from '../../api/patch/mod.ts'
import { isObject } from '../../api/patch/merge-patch.ts'
import { schemaOf } from '../../api/schema-table.ts'
import type { Schema } from '../../api/schema-types.ts'
import { ApiError, badRequest, fieldInvalid, invalid, unsupportedMediaType } from '../../api/status.ts'
import { AppError, hasCode } from '../../base/errors.ts'
import { bodyText, mediaType, parseBody } from '../body.ts'
import { answer, type Call, type Core } from '../core.ts'
import { encodeOne } from '../encode.ts'
import { decodeObject } from '../kind-rules.ts'
import type { Obj } from '../stored-text.ts'
import { applyObject } from './apply.ts'
import { checkWriteOptions } from './options.ts'
import { changeObject, checkNames } from './write.ts'

const TYPES: readonly string[] = Object.values(PATCH_TYPES)

/** PATCH by content type. @throws ApiError 415 for a type the resource does not take, 422 for a patch that does not fit */
export async function patch(core: Core, call: Call): Promise<ApiResponse> {
  if (mediaType(call.headers) === PATCH_TYPES.apply) return applyObject(core, call)
  checkWriteOptions(call, 'PatchOptions')
  const change = await patchOf(call, call.def.custom ? undefined : schemaOf(call.def.schema))
  const type = mediaType(call.headers)
  const stored = await changeObject(core, call, async (current) => {
    const next = change(current)
    const patched = JSON.stringify(next)
    try {
      const object = decodeObject(call, next)
      checkNames(call, object)
      return object
    } catch (error) {
      throw type === PATCH_TYPES.strategic ? unfit(error, goText(await parseBody(bodyText(call.body), type, TYPES))) : refused(error, patched)
    }
  })
  return answer(call, 200, encodeOne(call, stored, core.clock.now()))
}

/**
 * What the call's patch makes of an object, which stays as it is.
 * @param schema undefined for kinds that have no strategic merge (custom ones)
 * @throws ApiError 415, 400 for a patch that cannot be read
 */
export async function patchOf(call: Call, schema: Schema | undefined): Promise<(object: Obj) => unknown> {
  const type = mediaType(call.headers)
  const accepted = TYPES.filter((t) => schema || t !== PATCH_TYPES.strategic)
  if (!accepted.includes(type) || type === PATCH_TYPES.apply) throw unsupportedMediaType(accepted)
  const sent = await parseBody(bodyText(call.body), type, TYPES)
  if (type === PATCH_TYPES.json) {
    if (!Array.isArray(sent)) throw badRequest(`json: cannot unmarshal ${sent === null ? 'null' : typeof sent} into Go value of type jsonpatch.Patch`)
    return (object) => rejecting(() => applyJsonPatch(object, sent))
  }
  if (!isObject(sent)) throw badRequest(type === PATCH_TYPES.merge ? 'Invalid JSON Patch' : 'invalid JSON document')
  if (type === PATCH_TYPES.merge) return (object) => applyMergePatch(object, sent)
  return (object) => strategic(() => applyStrategicPatch(object, sent, schema as Schema))
}

/** Lists that cannot be merged, and directives that do not exist: Kubernetes answers 500 and no reason. */
function strategic(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof AppError) || !/^(map: |unknown patch type)/.test(error.message)) throw error
    throw new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message: error.message, code: 500 }, { cause: error })
  }
}

/** A JSON patch that does not fit the object: Kubernetes' one text for all of them. */
function rejecting(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof AppError) || error instanceof ApiError || !hasCode(error, 'invalid')) throw error
    const message = 'the server rejected our request due to an error in our request'
    throw new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason: 'Invalid', details: {}, code: 422 }, { cause: error })
  }
}

/** What the patch leaves is no object of the kind: said of the patch, not of a body. */
function refused(error: unknown, patched: string, say = (reason: string): string => reason): unknown {
  const found = error instanceof ApiError && error.status.code === 400 ? /cannot be handled as an? [^:]*: (.*)$/s.exec(error.message) : null
  return found ? invalid({ group: '', resource: '', kind: '' }, '', [fieldInvalid('patch', patched, say(found[1] as string))]) : error
}

/** The same of a strategic merge patch, which Kubernetes reads by another way, with words of its own. */
function unfit(error: unknown, sent: string): unknown {
  return refused(error, sent, (reason) => {
    const [, from = '', to = ''] = /cannot unmarshal (\S+) into Go .* of type (\S+)$/.exec(reason) ?? []
    if (to === '') return reason
    if (to.startsWith('[]')) return `cannot restore slice from ${from === 'object' ? 'map' : from}`
    if (to.startsWith('map[')) return `cannot restore map from ${from === 'array' ? 'slice' : from}`
    return to.includes('.') ? `cannot restore struct from: ${from === 'array' ? 'slice' : from}` : `unrecognized type: ${to}`
  })
}

/** A value as Go prints it: `map[spec:map[replicas:many]]`. */
function goText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goText).join(' ')}]`
  if (isObject(value)) return `map[${Object.keys(value).toSorted().map((k) => `${k}:${goText(value[k])}`).join(' ')}]`
  return value === null ? '<nil>' : String(value)
}
