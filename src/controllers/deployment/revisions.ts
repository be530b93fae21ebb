/** Revisions as `kubectl rollout history` and `undo` read them: annotations on ReplicaSets, and which old ones are kept. Pure. */
import type { Deployment, ReplicaSet } from '../../api/gen/types.ts'
import { sameTemplate } from './template.ts'
import { byAge, DESIRED, limits, MAX, wantedOf } from './replicas.ts'

export const REVISION = 'deployment.kubernetes.io/revision'
const HISTORY = 'deployment.kubernetes.io/revision-history'
const NOT_COPIED = new Set(['kubectl.kubernetes.io/last-applied-configuration', REVISION, HISTORY, DESIRED, MAX, 'deprecated.deployment.rollback.to'])
/** Longest revision history of one ReplicaSet, characters. */
const HISTORY_MAX = 2000
const NO_LIMIT = 2 ** 31 - 1

/** The revision a Deployment or ReplicaSet carries; 0 when none. */
export function revisionOf(object: Readonly<{ metadata?: { annotations?: Record<string, string> } }>): number {
  const n = Number(object.metadata?.annotations?.[REVISION] ?? 0)
  return Number.isSafeInteger(n) ? n : 0
}

/** The ReplicaSet of the current template (the oldest, should there be several) and the rest. */
export function splitSets(d: Readonly<Deployment>, sets: readonly ReplicaSet[]): { current: ReplicaSet | undefined; old: ReplicaSet[] } {
  const current = sets.toSorted(byAge).find((s) => sameTemplate(s.spec?.template, d.spec?.template))
  return { current, old: sets.filter((s) => s !== current) }
}

/** The number the current ReplicaSet should carry: behind all old ones. */
export function nextRevision(old: readonly ReplicaSet[]): number {
  return Math.max(0, ...old.map(revisionOf)) + 1
}

/** Annotations that a ReplicaSet of the current template should have: the deployment's own, revision, history, sizes. */
export function annotationsFor(d: Readonly<Deployment>, set: Readonly<ReplicaSet> | undefined, revision: number): Record<string, string> {
  const had = set?.metadata?.annotations ?? {}
  const out: Record<string, string> = { ...had }
  for (const [key, value] of Object.entries(d.metadata?.annotations ?? {})) if (!NOT_COPIED.has(key)) out[key] = value
  const before = set ? revisionOf(set) : 0
  if (before < revision) {
    out[REVISION] = String(revision)
    if (before > 0) {
      const history = [...(had[HISTORY] ?? '').split(',').filter((r) => r !== ''), String(before)]
      while (history.join().length > HISTORY_MAX) history.shift()
      out[HISTORY] = history.join()
    }
  }
  return { ...out, ...(set ? {} : sizeAnnotations(d)) }
}

/** What the sizes of a ReplicaSet are relative to; written whenever it is scaled. */
export function sizeAnnotations(d: Readonly<Deployment>): Record<string, string> {
  return { [DESIRED]: String(wantedOf(d)), [MAX]: String(wantedOf(d) + limits(d).maxSurge) }
}

/** Old, empty ReplicaSets beyond `revisionHistoryLimit`, oldest revision first. */
export function outdated(d: Readonly<Deployment>, old: readonly ReplicaSet[]): ReplicaSet[] {
  const limit = d.spec?.revisionHistoryLimit ?? 10
  if (limit === NO_LIMIT) return []
  const alive = old.filter((s) => s.metadata?.deletionTimestamp === undefined)
  return alive
    .toSorted((a, b) => revisionOf(a) - revisionOf(b) || byAge(a, b))
    .slice(0, Math.max(0, alive.length - limit))
    .filter((s) => wantedOf(s) === 0 && (s.status?.replicas ?? 0) === 0 && (s.metadata?.generation ?? 0) <= (s.status?.observedGeneration ?? 0))
}
