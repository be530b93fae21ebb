/**
 * delete and deletecollection: removed now, or marked for later (finalizers, a pod's grace time: the node confirms with
 * grace 0), as `deletion.ts` decides, by compare-and-swap.
 */
import type { ApiResponse } from '../../api/contract.ts'
import { badRequest, conflict, deleted, forbidden, notFound } from '../../api/status.ts'
import { hasCode } from '../../base/errors.ts'
import { readObject } from '../body.ts'
import { answer, isDryRun, type Call, type Core } from '../core.ts'
import { markDeleted, removable, type DeleteOptions } from '../deletion.ts'
import { hasConverter, inVersion, textsOf } from '../conversion.ts'
import { encodeList, encodeOne, objectOf, type Stored } from '../encode.ts'
import { keyOf, storageName } from '../resources.ts'
import { selection } from '../selection.ts'
import { checkDeleteOptions, checkListOptions, flag, wholeNumber } from './options.ts'

/** Namespaces the cluster cannot live without. */
const IMMORTAL = new Set(['default', 'kube-system', 'kube-public'])
/** Kinds whose delete answers the object as it was; the others answer a Status. */
const RETURNS_OBJECT = new Set(['pods', 'services', 'persistentvolumeclaims', 'persistentvolumes', 'serviceaccounts', 'podtemplates', 'resourcequotas', 'replicationcontrollers'])

/** DELETE of one object: answers it as it is on its way out, or a Status when it is gone. */
export async function deleteOne(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  const options = await deleteOptions(call)
  const name = info.name as string
  const { stored, gone } = await removeObject(core, call, name, options)
  const object = objectOf(def, stored)
  // 202 tells who asked to see the dependents go first that they are still going.
  const status = !gone && (options.propagationPolicy === 'Foreground' || options.orphanDependents === false) ? 202 : 200
  if (!gone || RETURNS_OBJECT.has(def.resource)) return answer(call, status, encodeOne(call, stored, core.clock.now()))
  return answer(call, 200, JSON.stringify(deleted(def, name, object.metadata.uid)))
}

/** DELETE of what a list with the same selectors would show; answers that list. */
export async function deleteCollection(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info, query } = call
  const options = await deleteOptions(call)
  checkListOptions(query, false)
  const limit = wholeNumber(query.get('limit')) ?? 0
  const select = selection(def, query)
  await core.cache.refresh()
  const removed: Stored[] = []
  for (const entry of [...core.cache.resource(storageName(def)).scan(keyOf(def, info.namespace))]) {
    if (select && !select.matches(entry)) continue
    if (limit > 0 && removed.length >= limit) break
    const one = { ...call, info: { ...info, name: entry.name, namespace: def.namespaced ? entry.namespace : undefined } }
    try {
      removed.push((await removeObject(core, one, entry.name, options)).stored)
    } catch (error) {
      // Someone else removed it meanwhile: that is what was asked for.
      if (!hasCode(error, 'not-found')) throw error
    }
  }
  return answer(call, 200, encodeList(call, removed, { revision: core.cache.revision }, core.clock.now()))
}

/** Marks or removes one object. @throws ApiError 404, 409 (preconditions), 403 for what must stay */
export async function removeObject(core: Core, call: Call, name: string, options: DeleteOptions): Promise<{ stored: Stored; gone: boolean }> {
  const { def, info, query } = call
  const key = keyOf(def, info.namespace, name)
  if (def.resource === 'namespaces' && def.group === '' && IMMORTAL.has(name)) throw forbidden(def, name, 'this namespace may not be deleted')
  const dryRun = isDryRun(query) || (options.dryRun ?? []).length > 0
  for (;;) {
    const current = await core.cache.read(key)
    if (!current) throw notFound(def, name)
    const seen = hasConverter(def) ? ((await inVersion(core, def, [current], call.signal))[0] as Stored) : current
    const old = objectOf(def, seen)
    const { uid, resourceVersion } = options.preconditions ?? {}
    if (uid !== undefined && uid !== old.metadata.uid) {
      throw conflict(def, name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`)
    }
    if (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion) {
      throw conflict(def, name, `Precondition failed: ResourceVersion in precondition: ${resourceVersion}, ResourceVersion in object meta: ${old.metadata.resourceVersion}`)
    }
    await core.admission.validate({ core, call, verb: 'delete', object: old, old })
    const next = markDeleted(def, old, options, core.clock.now())
    const gone = removable(def, next)
    const { text, shown } = await textsOf(core, def, next, call.signal)
    if (dryRun || (!gone && text === current.text)) return { stored: dryRun && gone ? seen : { text: shown, revision: current.revision }, gone }
    const event = { core, call, verb: 'delete' as const, object: next, old }
    try {
      const revision = gone ? await core.store.delete(key, current.revision) : await core.store.put(key, text, current.revision)
      await core.admission.after(gone ? event : { ...event, verb: 'update' }, revision)
      return { stored: { text: gone ? seen.text : shown, revision }, gone }
    } catch (error) {
      if (hasCode(error, 'not-found')) throw notFound(def, name)
      if (!hasCode(error, 'conflict')) throw error
    }
  }
}

/** Options from the body, or from the query where tools put them. @throws ApiError 400 */
async function deleteOptions(call: Call): Promise<DeleteOptions> {
  const { sent = {} } = await readObject(call)
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) throw badRequest('the body of a delete must be a DeleteOptions object')
  const { query } = call
  const { kind } = sent as { kind?: string }
  if (kind !== undefined && kind !== 'DeleteOptions') throw badRequest('decoded object cannot be converted to DeleteOptions')
  const grace = wholeNumber(query.get('gracePeriodSeconds'))
  const policy = query.get('propagationPolicy') || undefined
  const orphan = flag(query, 'orphanDependents')
  const dryRun = query.getAll('dryRun')
  const options: DeleteOptions = {
    ...(grace === undefined ? {} : { gracePeriodSeconds: grace }),
    ...(policy === undefined ? {} : { propagationPolicy: policy }),
    ...(orphan === undefined ? {} : { orphanDependents: orphan }),
    ...(dryRun.length === 0 ? {} : { dryRun }),
    ...(sent as DeleteOptions),
  }
  checkDeleteOptions(options)
  if (options.gracePeriodSeconds !== undefined && options.gracePeriodSeconds !== null && !Number.isInteger(options.gracePeriodSeconds)) {
    throw badRequest(`gracePeriodSeconds: Invalid value: ${JSON.stringify(options.gracePeriodSeconds)}: must be a whole number of seconds`)
  }
  return options
}
