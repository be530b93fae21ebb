/**
 * Room for a pod that the system needs, on a node that has none: which pods go for it. The kubelet's critical pod admission, in its
 * order: as few and as small Guaranteed pods as can be, then Burstable, then BestEffort. Pure.
 */
import type { Pod } from '../../api/gen/types.ts'
import { isCritical } from '../node/eviction.ts'
import { countOf, misfit, shortages, stranger, type Room, type Shortage } from './fit.ts'
import { uidOf } from './names.ts'
import { qosOf } from './quantities.ts'
import type { Verdict } from './status.ts'

/** Why a pod went. */
export const PREEMPTED: Verdict = { reason: 'Preempting', message: 'Preempted in order to admit critical pod', disrupts: 'Pod was preempted by Kubelet to accommodate a critical pod.' }

type Need = Pick<Shortage, 'resource' | 'short'>

/**
 * What comes of a pod that wants in: undefined, it may come; a verdict, it may not; or pods that end for it, after which it may come.
 * `leaving` are pods that end already: there may be none to name beside them.
 */
export function admission(pod: Readonly<Pod>, room: Room, leaving: ReadonlySet<string>): Verdict | readonly Readonly<Pod>[] | undefined {
  if (!isCritical(pod) || shortages(pod, room).length === 0) return misfit(pod, room)
  const elsewhere = stranger(pod, room)
  if (elsewhere) return elsewhere
  const staying = room.others.filter((p) => !leaving.has(uidOf(p)))
  const needs = shortages(pod, { ...room, others: staying })
  const found = victims(needs, staying.filter((p) => mayGo(pod, p)))
  if (Array.isArray(found)) return found
  const message = `Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: ${found}`
  return { reason: 'UnexpectedAdmissionError', message: `Pod was rejected: ${message}`, refused: true }
}

/** Whether a pod may go for another. */
function mayGo(wants: Readonly<Pod>, p: Readonly<Pod>): boolean {
  if (!isCritical(p)) return true
  const [more, less] = [wants.spec?.priority, p.spec?.priority]
  return more !== undefined && less !== undefined && more > less
}

/** The pods that go, or what all of them could not free, in the kubelet's form. */
function victims(needs: readonly Need[], pods: readonly Readonly<Pod>[]): readonly Readonly<Pod>[] | string {
  const [low, middle, high] = (['BestEffort', 'Burstable', 'Guaranteed'] as const).map((qos) => pods.filter((p) => qosOf(p.spec) === qos)) as [Readonly<Pod>[], Readonly<Pod>[], Readonly<Pod>[]]
  const left = without(needs, pods)
  if (left.length > 0) return `[${left.map((n) => `(res: ${n.resource}, q: ${n.short}), `).join('')}]`
  const guaranteed = nearest(high, without(needs, [...low, ...middle]))
  const burstable = nearest(middle, without(needs, [...low, ...guaranteed]))
  return [...nearest(low, without(needs, [...burstable, ...guaranteed])), ...burstable, ...guaranteed]
}

/** What is still needed when these pods have gone. */
function without(needs: readonly Need[], pods: readonly Readonly<Pod>[]): readonly Need[] {
  return needs.map(({ resource, short }) => ({ resource, short: short - pods.reduce((sum, p) => sum + countOf(p, resource), 0) })).filter((n) => n.short > 0)
}

/** One pod after another that comes closest to what is needed, the smaller one where two are as close. */
function nearest(pods: readonly Readonly<Pod>[], needs: readonly Need[]): readonly Readonly<Pod>[] {
  const rest = [...pods]
  const chosen: Readonly<Pod>[] = []
  let open = needs
  while (open.length > 0 && rest.length > 0) {
    const away = (p: Readonly<Pod>): number => open.reduce((sum, n) => sum + (Math.max(0, n.short - countOf(p, n.resource)) / n.short) ** 2, 0)
    const best = rest.reduce((a, b) => (away(b) < away(a) || (away(b) === away(a) && smaller(b, a)) ? b : a))
    rest.splice(rest.indexOf(best), 1)
    chosen.push(best)
    open = without(open, [best])
  }
  return chosen
}

function smaller(a: Readonly<Pod>, b: Readonly<Pod>): boolean {
  const by = ['memory', 'cpu'].find((r) => countOf(a, r) !== countOf(b, r))
  return by !== undefined && countOf(a, by) < countOf(b, by)
}
