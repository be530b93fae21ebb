/** Server-side apply: the body is the whole intent of one field manager. Creates what does not exist. */
import type { ApiResponse } from '../../api/contract.ts'
import { apiVersionOf } from '../../api/kinds.ts'
import { serverSideApply } from '../../api/patch/mod.ts'
import { badRequest } from '../../api/status.ts'
import { hasCode } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'
import { bodyText, parseBody } from '../body.ts'
import { answer, stamp, type Call, type Core } from '../core.ts'
import { encodeOne } from '../encode.ts'
import { decodeObject } from '../kind-rules.ts'
import { schemaFor, writerOf } from '../managed-fields.ts'
import { isTrue } from '../request-info.ts'
import type { Obj } from '../stored-text.ts'
import { changeObject, createObject } from './write.ts'

/** PATCH with an apply body. @throws ApiError 409 naming each conflict and its owner */
export async function applyObject(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query } = call
  if (!query.get('fieldManager')) throw badRequest('PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch')
  const applied = (await parseBody(bodyText(call.body), 'application/yaml')) as Obj
  const name = info.name as string
  // Types, kind and unknown fields are judged on a copy: defaults are nobody's intent.
  const checked = decodeObject(call, cloneJson(applied))
  if (checked.metadata.name !== undefined && checked.metadata.name !== name) {
    throw badRequest(`the name of the object (${checked.metadata.name}) does not match the name on the URL (${name})`)
  }
  Object.assign(applied, { apiVersion: apiVersionOf(def), kind: def.kind, metadata: { ...applied.metadata, name } })
  const merge = (live: Obj | undefined): Obj =>
    decodeObject(call, serverSideApply(live, cloneJson(applied), schemaFor(def), writerOf(call, stamp(core)), isTrue(query.get('force'))))
  try {
    const stored = await changeObject(core, call, async (current) => merge(current), { applied: true })
    return answer(call, 200, encodeOne(call, stored, core.clock.now()))
  } catch (error) {
    if (!hasCode(error, 'not-found') || info.subresource !== undefined) throw error
  }
  const stored = await createObject(core, { ...call, info: { ...info, verb: 'create' } }, merge(undefined), { applied: true })
  return answer(call, 201, encodeOne(call, stored, core.clock.now()))
}
