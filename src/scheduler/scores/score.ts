/** What a score is: a pure function that rates each node for a pod, 0 (worst) to 100, the whole field at once. */
import type { Pod } from '../../api/gen/types.ts'
import type { NodeView } from '../snapshot.ts'

export type Score = (pod: Readonly<Pod>, nodes: readonly NodeView[]) => readonly number[]

/** Spreads raw values over 0..100; `reverse` when less is better. All equal is 0 for more-is-better and 100 for less. */
export function normalize(raw: readonly number[], reverse: boolean): number[] {
  const most = Math.max(0, ...raw)
  return raw.map((n) => {
    const share = most === 0 ? 0 : (n / most) * 100
    return reverse ? 100 - share : share
  })
}
