/**
 * Writes the rules of aggregated ClusterRoles into them, where people and tools read them. Permission itself does not wait for
 * this: `rbac.ts` resolves aggregation whenever a role changes. Servers that share a store do the same; who is second finds it done.
 */
import { KINDS } from '../../api/kinds.ts'
import { hasCode, isAbort } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { SELF } from '../bootstrap.ts'
import type { Call, Core } from '../core.ts'
import { changeObject } from '../verbs/write.ts'

const log = logger('apiserver.roles')
/** Changes come in bursts (a chart's roles); they are written at most this often, ms. */
const PAUSE_MS = 200

/** Runs until the signal aborts. */
export async function keepAggregatedRoles(core: Core, signal: AbortSignal): Promise<void> {
  const roles = core.cache.resource('clusterroles.rbac.authorization.k8s.io')
  let dirty = true
  let wake: () => void = () => undefined
  const stop = roles.subscribe(() => {
    dirty = true
    wake()
  })
  const end = (): void => wake()
  signal.addEventListener('abort', end, { once: true })
  try {
    while (!signal.aborted) {
      if (!dirty) await new Promise<void>((resolve) => (wake = resolve))
      if (signal.aborted) return
      dirty = false
      for (const [name, rules] of core.rbac.aggregated()) {
        const there = roles.get(roles.prefix + name)?.parsed().rules
        if (JSON.stringify(there ?? []) !== JSON.stringify(rules)) await write(core, name, rules, signal)
      }
      await core.clock.sleep(PAUSE_MS, signal)
    }
  } catch (error) {
    if (!isAbort(error) && !signal.aborted) throw error
  } finally {
    stop()
    signal.removeEventListener('abort', end)
  }
}

async function write(core: Core, name: string, rules: readonly object[], signal: AbortSignal): Promise<void> {
  const def = KINDS.ClusterRole
  const info = { isResource: true as const, verb: 'update' as const, group: def.group, version: def.version, namespace: undefined, resource: def.resource, name, subresource: undefined, rest: '' }
  const call: Call = { def, info, user: SELF, query: new URLSearchParams({ fieldManager: 'clusterrole-aggregation-controller' }), headers: {}, body: undefined, accepted: { shape: 'object', yaml: false }, signal, warnings: [] }
  try {
    await changeObject(core, call, async (current) => ({ ...current, rules: rules.map((rule) => ({ ...rule })) }))
  } catch (error) {
    // Gone meanwhile, or written by another: that change is looked at next.
    if (!hasCode(error, 'not-found') && !hasCode(error, 'conflict')) log.error('rules of an aggregated role not written', { role: name, error })
  }
}
