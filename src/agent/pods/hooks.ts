/** Lifecycle hooks: postStart and preStop by command, HTTP or sleep. */
import type { LifecycleHandler } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { check, type CheckTarget } from './checks.ts'

/** Runs a hook to its end, at most `target.timeoutSeconds`. @throws AppError `internal` with what was seen */
export async function runHook(hook: LifecycleHandler, target: CheckTarget, clock: Clock, signal?: AbortSignal): Promise<void> {
  if (hook.sleep) return await clock.sleep(Math.min(hook.sleep.seconds, target.timeoutSeconds) * 1000, signal)
  const { output, ok } = await check(hook, target)
  if (!ok) throw new AppError('internal', `run hook: ${output || 'it failed'}`)
}
