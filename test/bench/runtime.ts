/**
 * Pod start by containerd alone: sandbox, create, start of a container whose image is present, through CRI, one after
 * another. The floor under "pod create to Ready". Prints one JSON object: `bin/node test/bench/runtime.ts [pods] [at once]`.
 * Needs root and containerd; makes its own instance and leaves nothing.
 */
import { readFileSync } from 'node:fs'
import { setLogSink, textSink } from '../../src/base/log.ts'
import { cannotRunContainers, Instance } from '../kit/containerd.ts'

const IMAGE = 'docker.io/library/bench:1'

/** The q-th quantile (0..1) of unsorted values, by the nearest rank. */
function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? 0)
}

/** Resident memory of a process in MiB: all, and what it shares with nobody. */
function memory(pid: number): { rssMiB: number; privateMiB: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0)
  return { rssMiB: Math.round(kib('Rss') / 1024), privateMiB: Math.round((kib('Private_Clean') + kib('Private_Dirty')) / 1024) }
}

export interface RuntimeFigures {
  readonly pods: number
  readonly startContainerdMs: number
  readonly podStartMs: { readonly p50: number; readonly p99: number }
  readonly burst: { readonly pods: number; readonly allMs: number }
  readonly containerd: { readonly rssMiB: number; readonly privateMiB: number }
}

/** Measures on this machine. @param pods one after another @param burst at once */
export async function benchRuntime(pods: number, burst: number): Promise<RuntimeFigures> {
  const instance = await Instance.make('bench', '10.199.10.0/24')
  try {
    const began = performance.now()
    const own = await instance.boot()
    const startContainerdMs = Math.round(performance.now() - began)
    await instance.image(IMAGE, 'while :; do sleep 1000; done')
    const idle = memory((JSON.parse(readFileSync(own.paths.pidFile, 'utf8')) as { pid: number }).pid)
    const times: number[] = []
    for (let n = 0; n < pods; n++) {
      const start = performance.now()
      const { sandbox } = await instance.pod(IMAGE)
      times.push(performance.now() - start)
      await own.runtime.sandboxes.remove(sandbox)
    }
    const start = performance.now()
    await Promise.all(Array.from({ length: burst }, () => instance.pod(IMAGE)))
    const allMs = Math.round(performance.now() - start)
    return { pods, startContainerdMs, podStartMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99) }, burst: { pods: burst, allMs }, containerd: idle }
  } finally {
    await instance.remove()
  }
}

if (import.meta.main) {
  setLogSink(textSink('warn'))
  const why = cannotRunContainers()
  if (why) throw new Error(`measure pod starts: ${why}`)
  const [pods = 30, burst = 10] = process.argv.slice(2).map(Number)
  console.log(JSON.stringify(await benchRuntime(pods, burst)))
}
