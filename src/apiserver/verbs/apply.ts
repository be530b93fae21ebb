/** Server-side apply: the body is the whole intent of one field manager. Creates what does not exist. */
import type { ApiResponse } from '../../api/contract.ts'
import { applyMergePatch } from '../../api/patch/mod.ts'
import { badRequest } from '../../api/status.ts'
import { hasCode } from '../../base/errors.ts'
import { bodyText, parseBody } from '../body.ts'
import { answer, type Call, type Core } from '../core.ts'
import { encodeOne } from '../encode.ts'
import { decodeObject } from '../kind-rules.ts'
import type { Obj } from '../stored-text.ts'
import { changeObject, createObject } from './write.ts'

export async function applyObject(core: Core, call: Call): Promise<ApiResponse> {
  const { info, query } = call
  if (!query.get('fieldManager')) throw badRequest('fieldManager is required for apply patch')
  const sent = decodeObject(call, await parseBody(bodyText(call.body), 'application/yaml'))
  if (sent.metadata.name !== undefined && sent.metadata.name !== info.name) {
    throw badRequest(`the name of the object (${sent.metadata.name}) does not match the name on the URL (${info.name})`)
  }
  try {
    const stored = await changeObject(core, call, async (current) => applyMergePatch(current, sent) as Obj)
    return answer(call, 200, encodeOne(call, stored, core.clock.now()))
  } catch (error) {
    if (!hasCode(error, 'not-found') || info.subresource !== undefined) throw error
    const stored = await createObject(core, { ...call, info: { ...info, verb: 'create' } }, { ...sent, metadata: { ...sent.metadata, name: info.name as string } })
    return answer(call, 201, encodeOne(call, stored, core.clock.now()))
  }
}
