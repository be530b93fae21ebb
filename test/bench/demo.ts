/** Section `demo`: runs examples/red-light-camera once and samples its server and agents while it plays. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../tools/files.ts'
import { ran } from '../e2e/site.ts'
import { memoryOf, memoryText, pidsWith, quantile, type Figures, type Memory } from './measure.ts'
import { sleep } from './site.ts'

const DIR = '/var/lib/skerry-demo'
const EVERY_MS = 3_000

interface Played {
  readonly seed: number
  readonly violations: { readonly truth: number; readonly found: number; readonly false: number }
  readonly bytes: { readonly framesAtCamera: number; readonly sentToServer: number }
  readonly offline: { readonly seconds: number; readonly spooled: number; readonly lost: number; readonly duplicated: number }
  readonly offlineRebootMs: number
  readonly twin: { readonly sets: number; readonly p50Ms: number; readonly p99Ms: number }
  readonly update: { readonly lost: number; readonly duplicated: number }
  readonly seconds: number
}

/** The whole story once; its processes are found by their command line and sampled every few seconds. */
export async function demo(): Promise<Figures> {
  const bundled = await ran(join(ROOT, 'bin/node'), ['tools/bundle.ts'])
  if (bundled.code !== 0) throw new Error(`bundle the program: ${bundled.err}`)
  const child = spawn(join(ROOT, 'bin/node'), [join(ROOT, 'examples/red-light-camera/demo/main.ts'), '--once'], { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined } })
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const seen = { server: [] as Memory[], agent: [] as Memory[] }
  for (let over = false; !over; ) {
    over = (await Promise.race([ended.then(() => true), sleep(EVERY_MS).then(() => false)])) === true
    for (const role of ['server', 'agent'] as const) for (const pid of over ? [] : programs(role)) seen[role].push(...sample(pid))
  }
  const code = await ended
  const last = out.trim().split('\n').at(-1) ?? ''
  if (code !== 0 || !last.startsWith('{')) throw new Error(`play the demo: exit code ${code}: ${out.slice(-2000)}`)
  const r = JSON.parse(last) as Played
  const middle = (role: 'server' | 'agent'): string => {
    const at = (key: keyof Memory, q: number): number => quantile(seen[role].map((m) => m[key]), q)
    return `${memoryText({ rss: at('rss', 0.5), pss: at('pss', 0.5), private: at('private', 0.5) })} (most ${at('rss', 1)}, ${at('pss', 1)}, ${at('private', 1)})`
  }
  return {
    method: `the demo with seed ${r.seed}, ${r.seconds} s; median and most of a sample every ${EVERY_MS / 1000} s of all agents, cameras' and apps' processes apart; bytes from the interface counters`,
    rows: [
      { what: 'server memory in the demo', ours: middle('server') },
      { what: 'agent memory in the demo, camera and app on most nodes', ours: middle('agent'), others: 'EdgeCore 83-91 MB RSS idle (measured)' },
      { what: 'violations', ours: `${r.violations.found} of ${r.violations.truth} found, ${r.violations.false} false` },
      { what: 'bytes of frames at the cameras, bytes to the server', ours: `${(r.bytes.framesAtCamera / 1e6).toFixed(1)} MB, ${(r.bytes.sentToServer / 1e6).toFixed(2)} MB: 1/${Math.round(r.bytes.framesAtCamera / r.bytes.sentToServer)}` },
      { what: 'desired value set to reported', ours: `p50 ${r.twin.p50Ms} ms, p99 ${r.twin.p99Ms} ms over ${r.twin.sets}` },
      { what: 'offline reboot to app serving', ours: `${r.offlineRebootMs} ms`, aim: '<= 10 s with 8 pods', others: 'EdgeCore 60.6 s for one pod, K3s never (measured)' },
      { what: `records over ${r.offline.seconds} s without link, and over the update`, ours: `${r.offline.spooled} waited; lost ${r.offline.lost} and ${r.update.lost}, doubled ${r.offline.duplicated} and ${r.update.duplicated}` },
    ],
  }
}

/** Processes of the demo in a role, by their own command line (not by that of the tool that started them). */
function programs(role: 'server' | 'agent'): number[] {
  return pidsWith(`--data-dir ${DIR}/`).filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      return words[0]?.endsWith('/node') === true && words.includes(role)
    } catch {
      return false // It ended meanwhile.
    }
  })
}

function sample(pid: number): Memory[] {
  try {
    return [memoryOf(pid)]
  } catch {
    return [] // It ended meanwhile.
  }
}
