/** When a pod has to leave a node whose taints have the effect NoExecute: Kubernetes' rule of tolerations. Pure. */
import type { Pod, Taint } from '../../api/gen/types.ts'
import { tolerates } from '../../api/node-match.ts'

/** How long the pod may stay, ms, counted from when the taints were seen: 0 for one they are too much for; undefined: it may stay. */
export function mayStayMs(pod: Readonly<Pod>, taints: readonly Taint[] = []): number | undefined {
  let least: number | undefined
  for (const taint of taints) {
    if (taint.effect !== 'NoExecute') continue
    const used = pod.spec?.tolerations?.find((t) => tolerates(t, taint))
    if (!used) return 0
    if (used.tolerationSeconds !== undefined) least = Math.min(least ?? Infinity, Math.max(0, used.tolerationSeconds * 1000))
  }
  return least
}
