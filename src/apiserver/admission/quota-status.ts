/** Keeps `status.hard` and `status.used` of quotas: counted again after each write in a namespace that has some, all at start. */
import { KINDS } from '../../api/kinds.ts'
import { quantityText } from '../../api/quantity.ts'
import { hasCode, isAbort } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { SELF } from '../bootstrap.ts'
import type { Call, Core } from '../core.ts'
import { changeObject } from '../verbs/write.ts'
import type { QuotaSpec } from './quota-usage.ts'
import { quotasIn, quotaState, usedOf } from './resource-quota.ts'

const log = logger('apiserver.quota')
/** Writes come in bursts; their count is shown at most this often, ms. */
const PAUSE_MS = 200
/** All are counted again this often, ms, as by Kubernetes: what others wrote into a status is put right then. */
const RESYNC_MS = 300_000

/** Runs until the signal aborts. */
export async function keepQuotaStatus(core: Core, signal: AbortSignal): Promise<void> {
  const state = quotaState(core)
  const all = (): void => {
    for (const entry of core.cache.resource('resourcequotas').scan()) state.dirty.add(entry.namespace)
  }
  all()
  const end = (): void => state.wake()
  signal.addEventListener('abort', end, { once: true })
  try {
    while (!signal.aborted) {
      if (state.dirty.size === 0) {
        const timer = core.clock.timer('quotas counted again', RESYNC_MS, () => {
          all()
          state.wake()
        })
        await new Promise<void>((resolve) => (state.wake = resolve))
        timer.cancel()
      }
      if (signal.aborted) return
      await core.cache.refresh()
      const namespaces = [...state.dirty]
      state.dirty.clear()
      for (const namespace of namespaces) await count(core, namespace, signal)
      await core.clock.sleep(PAUSE_MS, signal)
    }
  } catch (error) {
    if (!isAbort(error) && !signal.aborted) throw error
  } finally {
    signal.removeEventListener('abort', end)
  }
}

async function count(core: Core, namespace: string, signal: AbortSignal): Promise<void> {
  for (const quota of quotasIn(core, namespace)) {
    const spec = (quota.spec ?? {}) as QuotaSpec
    const used = Object.fromEntries(Object.entries(usedOf(core, namespace, spec, 'none')).map(([name, q]) => [name, quantityText(q)]))
    const status = { hard: { ...spec.hard }, used }
    if (JSON.stringify(quota.status) === JSON.stringify(status)) continue
    const def = KINDS.ResourceQuota
    const info = { isResource: true as const, verb: 'update' as const, group: def.group, version: def.version, namespace, resource: def.resource, name: quota.metadata.name, subresource: 'status', rest: '' }
    const call: Call = { def, info, user: SELF, query: new URLSearchParams(), headers: {}, body: undefined, accepted: { shape: 'object', yaml: false }, signal, warnings: [] }
    try {
      await changeObject(core, call, async (current) => ({ ...current, status }))
    } catch (error) {
      // Gone meanwhile, or written by another: the next write in the namespace counts again.
      if (!hasCode(error, 'not-found') && !hasCode(error, 'conflict')) log.error('status of a quota not written', { namespace, quota: quota.metadata.name, error })
    }
  }
}
