/** patch: JSON, merge, strategic merge and apply, each on the newest state. Used by the pipeline and the scale subresource. */
import type { ApiResponse } from '../../api/contract.ts'
import { PATCH_TYPES } from '../../api/contract.ts'
import { applyJsonPatch, applyMergePatch, applyStrategicPatch } from '../../api/patch/mod.ts'
import { schemaOf } from '../../api/schema-table.ts'
import { ApiError, badRequest, fieldInvalid, invalid, unsupportedMediaType } from '../../api/status.ts'
import { AppError, hasCode } from '../../base/errors.ts'
import { bodyText, mediaType, parseBody } from '../body.ts'
import { answer, type Call, type Core } from '../core.ts'
import { encodeOne } from '../encode.ts'
import { decodeObject } from '../kind-rules.ts'
import type { Obj } from '../stored-text.ts'
import { applyObject } from './apply.ts'
import { changeObject } from './write.ts'

const TYPES: readonly string[] = Object.values(PATCH_TYPES)

/** PATCH by content type. @throws ApiError 415 for a type the resource does not take, 422 for a patch that does not fit */
export async function patch(core: Core, call: Call): Promise<ApiResponse> {
  const type = mediaType(call.headers)
  if (type === PATCH_TYPES.apply || type === 'application/apply-patch+cbor') return applyObject(core, call)
  if (call.query.get('force') !== null) throw badRequest('force is only allowed with apply patches')
  const change = await patcher(call)
  const { name } = call.info
  const stored = await changeObject(core, call, async (current) => {
    const next = change(current) as Obj
    if (typeof next !== 'object' || next === null || typeof next.metadata !== 'object' || next.metadata === null) throw badRequest('the patch leaves no object with metadata')
    if (next.metadata.name !== current.metadata.name) throw badRequest(`the name of the object (${next.metadata.name}) does not match the name on the URL (${name})`)
    return decodeObject(call, next)
  })
  return answer(call, 200, encodeOne(call, stored, core.clock.now()))
}

/** Applies the call's patch to one object that is not stored as such (a Scale). */
export async function applyPatch(call: Call, object: Obj): Promise<Obj> {
  const type = mediaType(call.headers)
  // A Scale has no lists, so strategic and apply patches mean the same as a merge.
  const merge = type !== PATCH_TYPES.json
  const sent = await parseBody(bodyText(call.body), type, TYPES)
  return wrap(() => (merge ? applyMergePatch(object, sent) : applyJsonPatch(object, sent))) as Obj
}

async function patcher(call: Call): Promise<(object: Obj) => unknown> {
  const { def } = call
  const type = mediaType(call.headers)
  if (!TYPES.includes(type) || (type === PATCH_TYPES.strategic && def.custom !== undefined)) {
    throw unsupportedMediaType(def.custom ? TYPES.filter((t) => t !== PATCH_TYPES.strategic) : TYPES)
  }
  const sent = await parseBody(bodyText(call.body), type, TYPES)
  if (type === PATCH_TYPES.json) return (object) => wrap(() => applyJsonPatch(object, sent))
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) throw badRequest('the patch must be a JSON object')
  if (type === PATCH_TYPES.merge) return (object) => wrap(() => applyMergePatch(object, sent))
  const schema = schemaOf(def.schema)
  return (object) => wrap(() => applyStrategicPatch(object, sent, schema))
}

/** A JSON patch that does not fit answers 422, as Kubernetes does; a malformed one 400. */
function wrap(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    if (error instanceof AppError && !(error instanceof ApiError) && hasCode(error, 'invalid')) {
      throw invalid({ group: '', resource: '', kind: '' }, '', [fieldInvalid('patch', undefined, error.message)])
    }
    throw error
  }
}

