/** Lists of a Job's indexes as text: `0,2-5`. */

interface Indexes {
  readonly total: number
  readonly intervals: readonly (readonly [from: number, to: number])[]
  /** What is wrong with the text; the rest means nothing then. */
  readonly wrong?: string
}

/** Reads a list whose indexes are below `completions` and grow. */
export function parseIndexes(text: string, completions: number): Indexes {
  const intervals: [number, number][] = []
  const wrong = (why: string): Indexes => ({ total: 0, intervals: [], wrong: why })
  let last: number | undefined
  let total = 0
  for (const part of text === '' ? [] : text.split(',')) {
    const ends = part.split('-')
    if (ends.length > 2) return wrong(`the fragment "${part}" violates the requirement that an index interval can have at most two parts separated by '-'`)
    for (const end of ends) {
      if (!/^[+-]?\d+$/.test(end)) return wrong(`cannot convert string to integer for index: "${end}"`)
      if (Number(end) >= completions) return wrong(`too large index: "${end}"`)
    }
    const [from = 0, to = from] = ends.map(Number)
    if (ends.length === 2 && from >= to) return wrong(`non-increasing order, previous: ${from}, current: ${to}`)
    if (last !== undefined && last >= from) return wrong(`non-increasing order, previous: ${last}, current: ${from}`)
    last = to
    total += to - from + 1
    intervals.push([from, to])
  }
  return { total, intervals }
}

/** The first index that stands in both lists. */
export function overlap(a: Indexes, b: Indexes): number | undefined {
  for (const [from, to] of a.intervals) {
    const other = b.intervals.find(([f, t]) => from <= t && f <= to)
    if (other) return Math.max(from, other[0])
  }
  return undefined
}
