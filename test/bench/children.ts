/** Sections that older benchmarks measure in processes of their own: store beside etcd, API, tunnel beside raw TLS. */
import { join } from 'node:path'
import { ROOT } from '../../tools/files.ts'
import { ran } from '../e2e/site.ts'
import { ms, type Effort, type Figures, type Row } from './measure.ts'

/** Runs a benchmark of this folder; the JSON of its last line. @throws Error with what it said when it failed */
export async function lastJson(script: string, args: readonly string[]): Promise<unknown> {
  const r = await ran(join(ROOT, 'bin/node'), [join(ROOT, 'test/bench', script), ...args], { timeoutMs: 240_000 })
  const last = r.out.trim().split('\n').at(-1) ?? ''
  if (r.code !== 0 || !last.startsWith('{')) throw new Error(`run test/bench/${script}: exit code ${r.code}: ${r.err || r.out}`)
  return JSON.parse(last)
}

/** The store in process, etcd over gRPC, on one disk. */
export async function store(effort: Effort): Promise<Figures> {
  const table = (await lastJson('store.ts', [String(effort.seconds)])) as Record<string, Record<string, string>>
  const rows = Object.entries(table).map(([what, by]): Row => {
    const peer = Object.keys(by).find((k) => k !== 'sqlite')
    return { what, ours: by['sqlite'] ?? '', others: peer === undefined ? 'etcd is not installed here' : `${peer.replace(' Version:', '')}: ${by[peer] ?? ''}` }
  })
  return { method: `test/bench/store.ts: ${effort.seconds} s a figure, values of 0.7 KB, every write fsynced before its answer; SQLite in process as our API server has it, etcd over gRPC on loopback as a kube-apiserver has it`, rows }
}

/** What a kube-apiserver 1.32 with etcd did on the same kind of machine. */
const PEER: Record<string, { what: string; peer: number; aim: string; unit: string }> = {
  post1: { what: 'POST, 1 client', peer: 341, aim: '>= 2x', unit: ' a second' },
  post16: { what: 'POST, 16 clients', peer: 1032, aim: '>= 5x', unit: ' a second' },
  get1: { what: 'GET, 1 client', peer: 626, aim: '>= 3x', unit: ' a second' },
  get16: { what: 'GET, 16 clients', peer: 1867, aim: '>= 5x', unit: ' a second' },
  patch16: { what: 'PATCH, 16 clients', peer: 1081, aim: '>= 4x', unit: ' a second' },
  delete16: { what: 'DELETE, 16 clients', peer: 1104, aim: '>= 4x', unit: ' a second' },
  list1: { what: 'LIST of 2,200 objects', peer: 27, aim: '>= 150', unit: ' a second' },
  watchP50Ms: { what: '100 watchers x 100 events, p50', peer: 4.2, aim: '<= 2 ms', unit: ' ms' },
  watchP99Ms: { what: '100 watchers x 100 events, p99', peer: 16, aim: '<= 6 ms', unit: ' ms' },
  rssAfterMb: { what: 'RSS at the very end of that', peer: 353, aim: '<= 160 MB', unit: ' MB' },
  rssSettledMb: { what: 'RSS 25 s later', peer: 353, aim: '<= 160 MB', unit: ' MB' },
}

/** The API over TLS. */
export async function api(effort: Effort): Promise<Figures> {
  const result = (await lastJson('apiserver.ts', ['--seconds', String(effort.seconds)])) as Record<string, number>
  const bare: Record<string, number | undefined> = { watchP50Ms: result['bareP50Ms'], watchP99Ms: result['bareP99Ms'] }
  const rows = Object.entries(PEER).map(([key, { what, peer, aim, unit }]): Row => {
    const ours = result[key] ?? Number.NaN
    const factor = unit === ' a second' ? `, ours ${(ours / peer).toFixed(1)}x` : ''
    const floor = bare[key] === undefined ? '' : `; an https server of Node's that only passes the bytes on ${bare[key]}${unit} (in the same run)`
    const made = key === 'rssAfterMb' ? `, after ${result['objects']} objects had been there at once` : ''
    return { what, ours: `${ours}${unit}${made}`, aim, others: `${peer}${unit} (measured)${factor}${floor}` }
  })
  const { objects, watches } = effort.scale
  const scale = (await lastJson('apiserver.ts', ['--scale', '--objects', String(objects), '--watches', String(watches)])) as Record<string, number>
  const much = `${objects.toLocaleString('en')} objects of 2 KB, ${watches.toLocaleString('en')} watches over TLS`
  rows.push({ what: `${much}: RSS`, ours: `${scale['rssPagedMb']} MB`, aim: '<= 1200 MB' })
  rows.push({ what: 'pages of 500 of them meanwhile', ours: `p50 ${ms(scale['pageP50Ms'] ?? Number.NaN)}, p99 ${ms(scale['pageP99Ms'] ?? Number.NaN)}`, aim: 'p99 <= 200 ms' })
  return { method: `test/bench/apiserver.ts: the bundled server in a process of its own, one client program beside it on the same two cores, TLS, ConfigMaps of 0.7 KB, ${effort.seconds} s a row after a second of each verb (in the very first second a server took ${result['postFirst']} POSTs of 16 clients), SQLite with every acknowledged write fsynced; others: kube-apiserver 1.32 with etcd, one client program, same kind of machine (RSS of both together)`, rows }
}

interface TunnelResult {
  readonly mib: number
  readonly rawTlsMiBPerS: number
  readonly tunnelMiBPerS: number
  readonly ratio: number
  readonly roundTripMs: { readonly p50: number; readonly p99: number }
  readonly duringCopyMs: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly idle: { readonly detectMs: number; readonly bytesPerHour: number }
}

/** The node's connection beside raw TLS. */
export async function tunnel(effort: Effort): Promise<Figures> {
  const r = (await lastJson('tunnel.ts', [String(effort.tunnelMib)])) as TunnelResult
  return {
    method: `test/bench/tunnel.ts: ${effort.tunnelMib} MiB from node to server, both on the same two cores; raw TLS moves as much in the same run`,
    rows: [
      { what: 'copy over the tunnel', ours: `${r.tunnelMiBPerS} MiB a second`, aim: '>= 0.5x raw TLS', others: `raw TLS ${r.rawTlsMiBPerS} MiB a second: ours ${r.ratio}x` },
      { what: 'round trip of a small request', ours: `p50 ${ms(r.roundTripMs.p50)}, p99 ${ms(r.roundTripMs.p99)}` },
      { what: 'the same while the copy runs', ours: `p50 ${ms(r.duringCopyMs.p50)}, p99 ${ms(r.duringCopyMs.p99)}`, aim: 'heartbeat p99 <= 200 ms' },
      { what: `heartbeats of an idle hour (dead noticed in ${r.idle.detectMs / 1000} s)`, ours: `${Math.round(r.idle.bytesPerHour / 1000)} kB with packet headers`, aim: 'part of the 100 kB an hour' },
    ],
  }
}
