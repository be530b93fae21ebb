/** Lifecycle hooks: postStart and preStop by command, HTTP or sleep. */
import type { LifecycleHandler } from '../../api/gen/types.ts'
import { abortable } from '../../base/abort.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { ask, check, type CheckTarget } from './checks.ts'

/**
 * Runs a hook to its end, at most `target.timeoutSeconds` (0: no limit, as a postStart hook has none). A hook by HTTP has worked when there
 * was an answer, whatever its status, as with a kubelet. @throws AppError `internal` with what was seen, or the signal's reason
 */
export async function runHook(hook: LifecycleHandler, target: CheckTarget, clock: Clock, signal?: AbortSignal): Promise<void> {
  if (hook.sleep) return await clock.sleep((target.timeoutSeconds > 0 ? Math.min(hook.sleep.seconds, target.timeoutSeconds) : hook.sleep.seconds) * 1000, signal)
  const seen = await abortable(hook.httpGet ? viaHttp(hook.httpGet, target) : check(hook, target), signal)
  if (!seen.ok) throw new AppError('internal', `run hook: ${seen.output || 'it failed'}`)
}

async function viaHttp(action: NonNullable<LifecycleHandler['httpGet']>, target: CheckTarget): Promise<{ ok: boolean; output: string }> {
  const agent = 'kube-lifecycle/1.35'
  let answer = await ask(action, target, agent)
  // Hooks that say HTTPS were once called by HTTP: who never served HTTPS still works.
  if ('failure' in answer && answer.plain && action.scheme === 'HTTPS') answer = await ask({ ...action, scheme: 'HTTP' }, target, agent)
  return 'failure' in answer ? { ok: false, output: `Get "${answer.url}": ${answer.failure}` } : { ok: true, output: '' }
}
