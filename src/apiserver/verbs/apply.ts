/** Server-side apply: the body is the whole intent of one field manager. Creates what does not exist. */
import type { ApiResponse } from '../../api/contract.ts'
import { apiVersionOf } from '../../api/kinds.ts'
import { serverSideApply, typeProblems } from '../../api/patch/mod.ts'
import { isObject } from '../../api/patch/merge-patch.ts'
import { ApiError, badRequest } from '../../api/status.ts'
import { hasCode } from '../../base/errors.ts'
import { cloneJson } from '../../base/json.ts'
import { bodyText, duplicateKeys, parseBody } from '../body.ts'
import { answer, stamp, type Call, type Core } from '../core.ts'
import { encodeOne } from '../encode.ts'
import { decodeObject } from '../kind-rules.ts'
import { schemaFor, versionsOf, writerOf } from '../managed-fields.ts'
import type { Obj } from '../stored-text.ts'
import { checkWriteOptions, flag } from './options.ts'
import { changeObject, createObject } from './write.ts'

/** PATCH with an apply body. @throws ApiError 409 naming each conflict and its owner */
export async function applyObject(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query } = call
  checkWriteOptions(call, 'PatchOptions', true)
  const applied = await appliedBody(call, apiVersionOf(def), def.kind)
  checkTyped(call, applied, schemaFor(def))
  const force = flag(query, 'force') ?? false
  const merge = (live: Obj | undefined): Obj => {
    const writer = writerOf(call, stamp(core))
    return decodeObject(call, serverSideApply(live, cloneJson(applied), schemaFor(def), writer, force, versionsOf(core.resources, def)))
  }
  try {
    const stored = await changeObject(core, call, async (current) => merge(current), { applied: true })
    return answer(call, 200, encodeOne(call, stored, core.clock.now()))
  } catch (error) {
    if (!hasCode(error, 'not-found') || info.subresource !== undefined || !(error instanceof ApiError) || error.status.details?.name !== info.name) throw error
  }
  const stored = await createObject(core, { ...call, info: { ...info, verb: 'create' } }, merge(undefined), { applied: true })
  return answer(call, 201, encodeOne(call, stored, core.clock.now()))
}

/** The body of an apply: of this version, kind and name. @throws ApiError 400 */
export async function appliedBody(call: Call, apiVersion: string, kind: string): Promise<Obj> {
  const { info, query, warnings } = call
  const text = bodyText(call.body)
  const sent = await parseBody(text, 'application/yaml')
  const mode = query.get('fieldValidation') || 'Warn'
  const doubled = mode === 'Ignore' ? undefined : await duplicateKeys(text)
  if (doubled !== undefined && mode === 'Strict') throw badRequest(`error strict decoding YAML: error converting YAML to JSON: ${doubled}`)
  if (doubled !== undefined) warnings.push(doubled)
  if (!isObject(sent)) throw badRequest(`error decoding YAML: the body is ${sent === null || sent === undefined ? 'empty' : `a ${Array.isArray(sent) ? 'list' : typeof sent}`}, not an object`)
  const applied = sent as Obj
  if ((applied.apiVersion ?? '') !== apiVersion) throw badRequest(`Incorrect version specified in apply patch. Specified patch version: ${String(applied.apiVersion ?? '')}, expected: ${apiVersion}`)
  if (applied.kind !== kind) throw badRequest(`Incorrect kind specified in apply patch. Specified patch kind: ${String(applied.kind ?? '')}, expected: ${kind}`)
  if (applied.metadata !== undefined && applied.metadata !== null && !isObject(applied.metadata)) throw badRequest('error decoding YAML: metadata is not an object')
  const { name, namespace } = applied.metadata ?? {}
  if (name !== undefined && name !== info.name) throw badRequest(`the name of the object (${name}) does not match the name on the URL (${info.name})`)
  if (namespace && info.namespace && namespace !== info.namespace) throw badRequest(`the namespace of the object (${namespace}) does not match the namespace on the request (${info.namespace})`)
  applied.metadata = { ...applied.metadata, name: info.name as string, ...(info.namespace !== undefined && { namespace: info.namespace }) }
  return applied
}

/** @throws ApiError for fields that cannot be merged: of another type, not in the schema, list items that cannot be told apart */
export function checkTyped(call: Call, applied: Obj, schema: Parameters<typeof typeProblems>[1]): void {
  const problems = typeProblems(applied, schema)
  if (problems.length === 0) return
  const { info } = call
  const text = problems.length === 1 ? problems[0] : ['errors:', ...problems.map((p) => `  ${p}`)].join('\n')
  const message = `failed to create typed patch object (${info.namespace ?? ''}/${info.name}; ${applied.apiVersion}, Kind=${applied.kind}): ${text}`
  // Kubernetes answers this with 500 and no reason; clients show the message as it stands.
  throw new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, code: 500 })
}
