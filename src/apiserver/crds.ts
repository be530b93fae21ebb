/**
 * CRDs live: a definition is accepted when it is written (names, conditions), served from the moment its write is answered,
 * and on deletion its instances go first. Names that another resource of the group holds are refused in the conditions.
 */
import type { CustomResourceDefinition } from '../api/gen/types.ts'
import { resourceFromCrd } from '../api/crd.ts'
import { KINDS, type ResourceDef } from '../api/kinds.ts'
import { hasCode, isAbort } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { SELF } from './bootstrap.ts'
import { CLEANUP, condition, couldBeAccepted, isTrue, type Crd } from './crd-status.ts'
import type { Call, Core } from './core.ts'
import { storageName } from './resources.ts'
import type { CacheEntry } from './watch-cache.ts'
import { removeObject } from './verbs/delete.ts'
import { changeObject } from './verbs/write.ts'

const log = logger('apiserver.crds')
const DEF: ResourceDef = KINDS.CustomResourceDefinition
/** How often deletion of instances is looked at again while some hold finalizers, ms. */
const RETRY_MS = 1_000

/** By the entry they came from, so that what is compiled for a definition lasts as long as it does not change. */
const rows = new WeakMap<CacheEntry, ResourceDef[]>()

function rowsOf(entry: CacheEntry): ResourceDef[] {
  let found = rows.get(entry)
  if (!found) {
    const crd = entry.parsed(true) as unknown as CustomResourceDefinition
    const uniform = new Set(crd.spec.versions.map((v) => JSON.stringify(v.schema))).size === 1
    found = resourceFromCrd(crd).map((d) => (d.custom ? { ...d, custom: { ...d.custom, since: entry.revision, uniform } } : d))
    rows.set(entry, found)
  }
  return found
}

/** Serves what the stored definitions say, now and after each change. Returns how to stop. */
export function serveDefinitions(core: Core): () => void {
  const cache = core.cache.resource(storageName(DEF))
  const refresh = (): void => {
    const defs: ResourceDef[] = []
    for (const entry of cache.scan()) {
      const crd = entry.parsed(true) as unknown as Crd
      if (!isTrue(crd, 'Established')) continue
      try {
        defs.push(...rowsOf(entry))
      } catch (error) {
        log.error('definition cannot be served', { crd: entry.name, error })
      }
    }
    core.resources.setCustom(defs)
  }
  refresh()
  return cache.subscribe(refresh)
}

/**
 * Removes the instances of definitions that are being deleted, then lets the definitions go; a definition that waited for names
 * another held is accepted once they are free. Until the signal aborts.
 */
export async function cleanDefinitions(core: Core, signal: AbortSignal): Promise<void> {
  const cache = core.cache.resource(storageName(DEF))
  let wake: (() => void) | undefined
  // What changes while a round is under way asks for another one.
  let dirty = false
  const stop = cache.subscribe(() => {
    dirty = true
    wake?.()
  })
  const end = (): void => wake?.()
  signal.addEventListener('abort', end, { once: true })
  try {
    while (!signal.aborted) {
      dirty = false
      const all = [...cache.scan()].map((e) => e.parsed(true) as unknown as Crd)
      const dying = all.filter((c) => c.metadata.deletionTimestamp && c.metadata.finalizers?.includes(CLEANUP))
      let left = false
      for (const crd of all.filter((c) => !c.metadata.deletionTimestamp && couldBeAccepted(core, c))) {
        try {
          await changeObject(core, internalCall(DEF, undefined, crd.metadata.name as string, signal), async (current) => current)
        } catch (error) {
          if (isAbort(error) || signal.aborted) return
          log.error('definition cannot be accepted, trying again', { crd: crd.metadata.name, error })
          left = true
        }
      }
      for (const crd of dying) {
        try {
          left = !(await cleanOne(core, crd, signal)) || left
        } catch (error) {
          if (isAbort(error) || signal.aborted) return
          log.error('instances cannot be deleted, trying again', { crd: crd.metadata.name, error })
          left = true
        }
      }
      const timer = left ? core.clock.timer('crd-cleanup', RETRY_MS, () => wake?.()) : undefined
      if (!signal.aborted && !dirty) await new Promise<void>((resolve) => (wake = resolve))
      wake = undefined
      timer?.cancel()
    }
  } finally {
    stop()
    signal.removeEventListener('abort', end)
  }
}

/** True when the definition may go and was let go. */
async function cleanOne(core: Core, crd: Crd, signal: AbortSignal): Promise<boolean> {
  const mine = core.resources.custom.filter((d) => d.custom?.crd === crd.metadata.name)
  // In the version they are stored in, objects need nobody to convert them.
  const def = mine.find((d) => d.version === d.custom?.storageVersion) ?? mine[0]
  if (def) {
    if (!isTrue(crd, 'Terminating')) await tell(core, crd, condition(core, crd, 'Terminating', 'True', 'InstanceDeletionInProgress', 'CustomResource deletion is in progress'), signal)
    const instances = [...core.cache.resource(storageName(def)).scan()]
    for (const entry of instances) {
      const namespace = def.namespaced ? entry.namespace : undefined
      await removeObject(core, internalCall(def, namespace, entry.name, signal), entry.name, {}).catch((error: unknown) => {
        if (!hasCode(error, 'not-found')) throw error
      })
    }
    if (instances.length > 0) {
      await core.cache.refresh()
      if (core.cache.resource(storageName(def)).size > 0) return false
    }
  }
  await changeObject(core, internalCall(DEF, undefined, crd.metadata.name as string, signal), async (current) => {
    current.metadata.finalizers = (current.metadata.finalizers ?? []).filter((f) => f !== CLEANUP)
    return current
  }).catch((error: unknown) => {
    if (!hasCode(error, 'not-found')) throw error
  })
  return true
}

async function tell(core: Core, crd: Crd, said: ReturnType<typeof condition>, signal: AbortSignal): Promise<void> {
  const call = internalCall(DEF, undefined, crd.metadata.name as string, signal)
  await changeObject(core, { ...call, info: { ...call.info, subresource: 'status' } }, async (current) => {
    const next = current as Crd
    next.status = { ...next.status, conditions: [...(next.status?.conditions ?? []).filter((c) => c.type !== said.type), said] }
    return next
  })
}

/** A call of the server itself on one object, for its own background work. */
function internalCall(def: ResourceDef, namespace: string | undefined, name: string, signal: AbortSignal): Call {
  const info = { isResource: true as const, verb: 'update' as const, group: def.group, version: def.version, namespace, resource: def.resource, name, subresource: undefined, rest: '' }
  return { def, info, user: SELF, query: new URLSearchParams(), headers: {}, body: undefined, accepted: { shape: 'object', yaml: false }, signal, warnings: [] }
}

