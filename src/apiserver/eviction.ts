/**
 * The eviction of pods: deleted when no PodDisruptionBudget speaks against it, refused with 429 and the budget's figures when one does.
 * What happens is decided in pure functions; {@link evict} acts on it. Used by the subresources, loaded when first asked for.
 */
import type { ApiResponse } from '../api/contract.ts'
import type { Eviction, Pod, PodDisruptionBudget } from '../api/gen/types.ts'
import { KINDS } from '../api/kinds.ts'
import { labelSelectorOf, matchesLabels } from '../api/selectors.ts'
import { ApiError, badRequest, forbidden, notFound, tooManyRequests } from '../api/status.ts'
import { readObject } from './body.ts'
import { SELF } from './bootstrap.ts'
import { answer, isDryRun, stamp, type Call, type Core } from './core.ts'
import type { DeleteOptions } from './deletion.ts'
import { objectOf } from './encode.ts'
import { keyOf } from './resources.ts'
import type { Obj } from './stored-text.ts'
import { removeObject } from './verbs/delete.ts'
import { checkDeleteOptions, checkWriteOptions } from './verbs/options.ts'
import { changeObject } from './verbs/write.ts'
import { admitSent } from './webhooks/admission.ts'

const REFUSED = 'Cannot evict pod as it would violate the pod\'s disruption budget.'
/** Evictions that a budget may wait to see happen. */
const MAX_DISRUPTED = 2_000
const BUDGETS = KINDS.PodDisruptionBudget

/** POST of an Eviction. @throws ApiError 400, 403, 404, 429, 500 for a pod of several budgets */
export async function evict(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  checkWriteOptions(call, 'CreateOptions')
  const name = info.name as string
  const sent = ((await readObject(call)).sent ?? {}) as Partial<Eviction>
  const told = sent.metadata?.name
  if (told !== undefined && told !== '' && told !== name) throw badRequest('name in URL does not match name in Eviction object')
  const eviction = { ...sent, kind: 'Eviction', apiVersion: 'policy/v1', metadata: { ...sent.metadata, name, namespace: info.namespace as string } } as Obj & Eviction
  await admitSent(core, call, eviction, 'policy', 'Eviction')
  const asked = (eviction.deleteOptions ?? {}) as DeleteOptions
  checkDeleteOptions(asked)
  const dryRun = isDryRun(call.query) || (asked.dryRun?.length ?? 0) > 0
  const current = await core.cache.read(keyOf(def, info.namespace, name))
  if (!current) throw notFound(def, name)
  const pod = objectOf(def, current) as Obj & Pod
  const budget = budgetOf(pod, counts(pod) ? budgets(core, info.namespace as string) : [])
  if (budget && !exempt(pod, budget)) {
    await change(core, { ...call, def: BUDGETS }, budget.metadata?.name as string, (b) => spend(b as PodDisruptionBudget, name, dryRun, stamp(core)) as Obj)
  }
  // The reason stays readable for as long as the pod takes to end.
  if (!dryRun) await change(core, call, name, (p) => toldOf(p as Obj & Pod, stamp(core)))
  // Its webhooks have seen the eviction; the delete is the server's own.
  await removeObject(core, { ...call, user: SELF }, name, { ...asked, ...(dryRun ? { dryRun: ['All'] } : {}), preconditions: { uid: pod.metadata.uid as string, ...asked.preconditions } })
  return answer(call, 201, JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 }))
}

function budgets(core: Core, namespace: string): PodDisruptionBudget[] {
  const all = core.cache.resource('poddisruptionbudgets.policy')
  return [...all.scan(`${all.prefix}${namespace}/`)].map((entry) => entry.parsed() as PodDisruptionBudget)
}

/** A write of the server's own to a status. */
async function change(core: Core, call: Call, name: string, next: (current: Obj) => Obj): Promise<void> {
  const info = { ...call.info, group: call.def.group, resource: call.def.resource, verb: 'update' as const, name, subresource: 'status' }
  await changeObject(core, { ...call, info, user: SELF }, async (current) => next(current))
}

/** False for a pod that serves nobody: it ended, never began or is going already, and no budget counts it. */
export function counts(pod: Pod): boolean {
  const phase = pod.status?.phase
  return phase !== 'Succeeded' && phase !== 'Failed' && phase !== 'Pending' && !pod.metadata?.deletionTimestamp
}

/** The one budget that selects a pod. @throws ApiError 500 for several */
export function budgetOf(pod: Pod, all: readonly PodDisruptionBudget[]): PodDisruptionBudget | undefined {
  const [first, second] = all.filter((b) => matchesLabels(labelSelectorOf(b.spec?.selector), pod.metadata?.labels))
  if (!second) return first
  const message = 'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.'
  throw new ApiError({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, code: 500 })
}

/** True for a pod that is not healthy, when its budget lets such pods go without counting them. */
export function exempt(pod: Pod, budget: PodDisruptionBudget): boolean {
  if (pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')) return false
  const { currentHealthy = 0, desiredHealthy = 0 } = budget.status ?? {}
  return budget.spec?.unhealthyPodEvictionPolicy === 'AlwaysAllow' || (desiredHealthy > 0 && currentHealthy >= desiredHealthy)
}

/** The budget with one disruption less and the pod noted. @throws ApiError 403, 429 */
export function spend(budget: PodDisruptionBudget, pod: string, dryRun: boolean, now: string): PodDisruptionBudget {
  const name = budget.metadata?.name as string
  const status = budget.status ?? { currentHealthy: 0, desiredHealthy: 0, disruptionsAllowed: 0, expectedPods: 0 }
  const { disruptionsAllowed: allowed = 0, disruptedPods = {} } = status
  if ((status.observedGeneration ?? 0) < (budget.metadata?.generation ?? 0)) throw refused(`The disruption budget ${name} is still being processed by the server.`, 10)
  if (allowed < 0) throw forbidden(BUDGETS, name, 'pdb disruptions allowed is negative')
  if (Object.keys(disruptedPods).length > MAX_DISRUPTED) throw forbidden(BUDGETS, name, 'DisruptedPods map too big - too many evictions not confirmed by PDB controller')
  const failed = status.conditions?.find((c) => c.type === 'DisruptionAllowed' && c.reason === 'SyncFailed')
  if (allowed === 0) {
    throw refused(
      failed
        ? `The disruption budget ${name} does not allow evicting pods currently because it failed sync: ${failed.message}`
        : `The disruption budget ${name} needs ${status.desiredHealthy} healthy pods and has ${status.currentHealthy} currently`,
      0,
    )
  }
  if (dryRun) return budget
  const rest = (status.conditions ?? []).filter((c) => c.type !== 'DisruptionAllowed')
  const none = { type: 'DisruptionAllowed', status: 'False', reason: 'InsufficientPods', message: '', lastTransitionTime: now, observedGeneration: status.observedGeneration }
  return {
    ...budget,
    status: {
      ...status,
      disruptionsAllowed: allowed - 1,
      ...(allowed === 1 ? { conditions: [...rest, none] } : {}),
      disruptedPods: { ...disruptedPods, [pod]: now },
    },
  } as PodDisruptionBudget
}

function refused(message: string, retryAfterSeconds: number): ApiError {
  const { status } = tooManyRequests(REFUSED, retryAfterSeconds)
  return new ApiError({ ...status, details: { ...(retryAfterSeconds > 0 ? { retryAfterSeconds } : {}), causes: [{ reason: 'DisruptionBudget', message }] } })
}

function toldOf(pod: Obj & Pod, now: string): Obj {
  const told = { type: 'DisruptionTarget', status: 'True', reason: 'EvictionByEvictionAPI', message: 'Eviction API: evicting', lastTransitionTime: now }
  const rest = (pod.status?.conditions ?? []).filter((c) => c.type !== told.type)
  return { ...pod, status: { ...pod.status, conditions: [...rest, told] } }
}
