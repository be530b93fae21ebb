/** Counters, gauges and histograms with units in their names, written out in the Prometheus text format. Bounded: label sets are fixed by the code. */

type Labels = Readonly<Record<string, string>>

export interface Counter {
  add(n?: number, labels?: Labels): void
  /** Adds to one series, for callers that count often: the labels are written out once. */
  at(labels: Labels): (n?: number) => void
}
export interface Gauge {
  set(value: number, labels?: Labels): void
}
export interface Histogram {
  observe(value: number, labels?: Labels): void
  /** Observes for one series, as `Counter.at`. */
  at(labels: Labels): (value: number) => void
}

/** Seconds buckets that fit API calls and pod starts. */
export const SECONDS_BUCKETS: readonly number[] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/**
 * The metrics of one process or part. Making a family of a name again replaces the former one. Nothing is dropped or reset: the
 * caller keeps label values to a fixed set (never a pod's or device's name).
 */
export class Metrics {
  readonly #families = new Map<string, { help: string; type: string; lines: () => string[] }>()

  counter(name: string, help: string): Counter {
    const values = this.#simple(name, help, 'counter')
    const at = (labels: Labels): ((n?: number) => void) => {
      const k = key(labels)
      return (n = 1) => void values.set(k, (values.get(k) ?? 0) + n)
    }
    return { add: (n, labels = {}) => at(labels)(n), at }
  }

  gauge(name: string, help: string): Gauge {
    const values = this.#simple(name, help, 'gauge')
    return { set: (value, labels = {}) => void values.set(key(labels), value) }
  }

  histogram(name: string, help: string, buckets: readonly number[] = SECONDS_BUCKETS): Histogram {
    const series = new Map<string, { counts: number[]; sum: number; count: number }>()
    this.#families.set(name, {
      help,
      type: 'histogram',
      lines: () =>
        [...series].flatMap(([k, s]) => [
          ...buckets.map((b, i) => `${name}_bucket${withLabel(k, 'le', String(b))} ${s.counts[i]}`),
          `${name}_bucket${withLabel(k, 'le', '+Inf')} ${s.count}`,
          `${name}_sum${k} ${s.sum}`,
          `${name}_count${k} ${s.count}`,
        ]),
    })
    const at = (labels: Labels): ((value: number) => void) => {
      const k = key(labels)
      return (value) => {
        let s = series.get(k)
        if (!s) series.set(k, (s = { counts: buckets.map(() => 0), sum: 0, count: 0 }))
        for (let i = buckets.length - 1; i >= 0 && value <= (buckets[i] as number); i--) s.counts[i] = (s.counts[i] ?? 0) + 1
        s.sum += value
        s.count++
      }
    }
    return { observe: (value, labels = {}) => at(labels)(value), at }
  }

  /** The Prometheus text exposition of all families. */
  text(): string {
    let out = ''
    for (const [name, f] of this.#families) out += `# HELP ${name} ${f.help}\n# TYPE ${name} ${f.type}\n${f.lines().join('\n')}\n`
    return out
  }

  #simple(name: string, help: string, type: string): Map<string, number> {
    const values = new Map<string, number>()
    this.#families.set(name, { help, type, lines: () => [...values].map(([k, v]) => `${name}${k} ${v}`) })
    return values
  }
}

function key(labels: Labels): string {
  const entries = Object.entries(labels).map(([k, v]) => `${k}=${JSON.stringify(v)}`)
  return entries.length === 0 ? '' : `{${entries.join(',')}}`
}

function withLabel(k: string, name: string, value: string): string {
  const label = `${name}=${JSON.stringify(value)}`
  return k === '' ? `{${label}}` : `${k.slice(0, -1)},${label}}`
}
