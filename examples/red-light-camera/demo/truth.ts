/** Holds what the app found against what the cameras know happened. Pure. */

export interface Truth {
  readonly camera: string
  readonly epoch: string
  readonly frame: number
  readonly lane: number
}

export interface Found extends Truth {
  readonly id: string
}

export interface Verdict {
  readonly truth: number
  readonly found: number
  readonly false: number
  readonly missed: readonly Truth[]
  readonly wrong: readonly Found[]
  /** Records beyond the first of one event. */
  readonly duplicated: number
}

/** Frames by which truth and finding may differ: the car's front is read off a noisy picture. */
const NEAR = 2

/** Matches each true violation with at most one record of the same camera, start and lane. */
export function judge(truth: readonly Truth[], records: readonly Found[]): Verdict {
  const left = [...records]
  const missed: Truth[] = []
  let duplicated = 0
  for (const t of truth) {
    const near = left.filter((f) => f.camera === t.camera && f.epoch === t.epoch && f.lane === t.lane && Math.abs(f.frame - t.frame) <= NEAR)
    if (near.length === 0) missed.push(t)
    duplicated += Math.max(0, near.length - 1)
    for (const n of near) left.splice(left.indexOf(n), 1)
  }
  return { truth: truth.length, found: truth.length - missed.length, false: left.length, missed, wrong: left, duplicated }
}

/** True when each camera's records of one start stand in the order in which they happened. */
export function inOrder(records: readonly Found[]): boolean {
  const last = new Map<string, number>()
  for (const r of records) {
    const key = `${r.camera}/${r.epoch}`
    if (r.frame < (last.get(key) ?? 0)) return false
    last.set(key, r.frame)
  }
  return true
}

/** The q-th quantile (0..1) of some numbers; NaN of none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}
