/** The arithmetic of a rollout, exactly Kubernetes': surge and unavailability, scaling new up and old down, proportions. Pure. */
import type { Deployment, ReplicaSet } from '../../api/gen/types.ts'

export const DESIRED = 'deployment.kubernetes.io/desired-replicas'
export const MAX = 'deployment.kubernetes.io/max-replicas'

export const wantedOf = (of: Readonly<Deployment | ReplicaSet>): number => of.spec?.replicas ?? 1
export const availableOf = (set: Readonly<ReplicaSet>): number => set.status?.availableReplicas ?? 0
export const sumOf = (sets: readonly ReplicaSet[], of: (set: ReplicaSet) => number): number => sets.reduce((sum, s) => sum + of(s), 0)
export const isRolling = (d: Readonly<Deployment>): boolean => d.spec?.strategy?.type !== 'Recreate'

/** Oldest first; equal ages by name. */
export function byAge(a: Readonly<ReplicaSet>, b: Readonly<ReplicaSet>): number {
  const x = `${a.metadata?.creationTimestamp ?? ''} ${a.metadata?.name ?? ''}`
  const y = `${b.metadata?.creationTimestamp ?? ''} ${b.metadata?.name ?? ''}`
  return x < y ? -1 : x > y ? 1 : 0
}

/** Surge rounds up, unavailability down; both 0 would stop every rollout, so then one may be unavailable. */
export function limits(d: Readonly<Deployment>): { maxSurge: number; maxUnavailable: number } {
  const replicas = wantedOf(d)
  if (!isRolling(d) || replicas === 0) return { maxSurge: 0, maxUnavailable: 0 }
  const { maxSurge = '25%', maxUnavailable = '25%' } = d.spec?.strategy?.rollingUpdate ?? {}
  const surge = resolve(maxSurge, replicas, Math.ceil)
  const unavailable = resolve(maxUnavailable, replicas, Math.floor)
  return { maxSurge: surge, maxUnavailable: surge === 0 && unavailable === 0 ? 1 : Math.min(unavailable, replicas) }
}

function resolve(value: number | string, total: number, round: (n: number) => number): number {
  const percent = typeof value === 'string' && value.endsWith('%') ? Number(value.slice(0, -1)) : undefined
  const n = percent === undefined ? Number(value) : round((percent * total) / 100)
  return Number.isFinite(n) ? Math.max(0, Math.trunc(n)) : 0
}

/** The new ReplicaSet's size now: as many as the surge allows beside what still exists. */
export function newSize(d: Readonly<Deployment>, all: readonly ReplicaSet[], current: number): number {
  if (!isRolling(d)) return wantedOf(d)
  const room = wantedOf(d) + limits(d).maxSurge - sumOf(all, wantedOf)
  return room <= 0 ? current : current + Math.min(room, wantedOf(d) - current)
}

/** New sizes of old ReplicaSets in a rolling update: unhealthy replicas go first, then as many as availability allows. */
export function shrinkOld(d: Readonly<Deployment>, current: Readonly<ReplicaSet>, old: readonly ReplicaSet[]): Map<ReplicaSet, number> {
  const sizes = new Map<ReplicaSet, number>()
  const sizeOf = (set: ReplicaSet): number => sizes.get(set) ?? wantedOf(set)
  const minAvailable = wantedOf(d) - limits(d).maxUnavailable
  const newUnavailable = wantedOf(current) - availableOf(current)
  let spare = sumOf([...old, current], wantedOf) - minAvailable - newUnavailable
  if (spare <= 0) return sizes
  const sorted = old.toSorted(byAge)
  for (const set of sorted) {
    const unhealthy = Math.min(spare, wantedOf(set) - availableOf(set))
    if (unhealthy <= 0) continue
    sizes.set(set, wantedOf(set) - unhealthy)
    spare -= unhealthy
  }
  let surplus = sumOf([...old, current], availableOf) - minAvailable
  for (const set of sorted) {
    const healthy = Math.min(sizeOf(set), surplus)
    if (healthy <= 0) continue
    sizes.set(set, sizeOf(set) - healthy)
    surplus -= healthy
  }
  return sizes
}

/** New sizes when `spec.replicas` changed in the middle of a rollout: each ReplicaSet grows or shrinks by its share. */
export function scaleProportionally(d: Readonly<Deployment>, current: ReplicaSet | undefined, old: readonly ReplicaSet[]): Map<ReplicaSet, number> {
  const sizes = new Map<ReplicaSet, number>()
  const active = [...(current ? [current] : []), ...old].filter((s) => wantedOf(s) > 0)
  const one = active.length === 0 ? (current ?? old.toSorted(byAge).at(-1)) : active.length === 1 ? active[0] : undefined
  if (one) {
    if (wantedOf(one) !== wantedOf(d)) sizes.set(one, wantedOf(d))
    return sizes
  }
  if (current && isSaturated(d, current)) {
    for (const set of old) if (wantedOf(set) > 0) sizes.set(set, 0)
    return sizes
  }
  if (!isRolling(d)) return sizes
  const ceiling = wantedOf(d) === 0 ? 0 : wantedOf(d) + limits(d).maxSurge
  const change = ceiling - sumOf(active, wantedOf)
  // The biggest first; of equals the newer one grows and the older one shrinks first.
  const sorted = active.toSorted((a, b) => wantedOf(b) - wantedOf(a) || (change > 0 ? byAge(b, a) : byAge(a, b)))
  let added = 0
  for (const set of sorted) {
    const share = change === 0 ? 0 : portion(d, set, change, added)
    sizes.set(set, wantedOf(set) + share)
    added += share
  }
  const first = sorted[0]
  if (first) sizes.set(first, Math.max(0, (sizes.get(first) ?? 0) + change - added))
  return sizes
}

function isSaturated(d: Readonly<Deployment>, set: Readonly<ReplicaSet>): boolean {
  const wanted = wantedOf(d)
  return wantedOf(set) === wanted && Number(set.metadata?.annotations?.[DESIRED] ?? -1) === wanted && availableOf(set) === wanted
}

function portion(d: Readonly<Deployment>, set: Readonly<ReplicaSet>, change: number, added: number): number {
  if (wantedOf(set) === 0) return 0
  const left = change - added
  const share = fraction(d, set)
  return change > 0 ? Math.min(share, left) : Math.max(share, left)
}

function fraction(d: Readonly<Deployment>, set: Readonly<ReplicaSet>): number {
  if (wantedOf(d) === 0) return -wantedOf(set)
  // What 100 % was when the set got its size; without the annotation, what the status said.
  const before = Number(set.metadata?.annotations?.[MAX] ?? d.status?.replicas ?? 0)
  if (before === 0) return 0
  return Math.round((wantedOf(set) * (wantedOf(d) + limits(d).maxSurge)) / before) - wantedOf(set)
}
