/**
 * The API server over TLS, bundled and in a process of its own as a user runs it, on SQLite with every acknowledged write
 * fsynced: POST, GET, PATCH and DELETE with 1 and 16 clients, LIST of many objects, watch fan-out, start, memory, idle CPU.
 * ConfigMaps of about 0.7 KB. The rates come after each verb was asked for a second, as V8 compiles while it runs; the first second of POSTs
 * is told too. Beside the fan-out runs the same through bare TLS, which is the floor here. `--scale`: instead 100,000 objects of 2 KB and 5,000 watches over TLS, memory and pages meanwhile.
 * `bin/node test/bench/apiserver.ts [--seconds 2] [--bundle DIR | --source] [--scale] [--v8 FLAG]`; prints a small table, and
 * JSON as its last line.
 */
import { fork } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bundleInto, caller, startServerProcess, type Call, type ServerProcess } from './server-process.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '2' },
    port: { type: 'string', default: '7840' },
    bundle: { type: 'string' },
    source: { type: 'boolean', default: false },
    scale: { type: 'boolean', default: false },
    objects: { type: 'string', default: '100000' },
    watches: { type: 'string', default: '5000' },
    v8: { type: 'string', multiple: true, default: [] },
  },
})
const OWN_BUNDLE = 'dist/bench'
const CM = '/api/v1/namespaces/default/configmaps'
const seconds = Number(values.seconds)

const bundle = values.source ? undefined : (values.bundle ?? bundleInto(OWN_BUNDLE))
const server = await startServerProcess(Number(values.port), bundle, values.v8)
const results: Record<string, number> = {}
let agent: Agent | undefined
try {
  agent = server.agent(256)
  const call = caller(server.port, agent)
  if (values.scale) await scale(server, call)
  else await load(server, call)
} finally {
  agent?.destroy()
  await server.stop()
  if (!values.source && values.bundle === undefined) rmSync(OWN_BUNDLE, { recursive: true, force: true })
}
console.log(`API server over TLS, ${values.source ? 'sources' : 'bundle'}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, load ${readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ')}`)
for (const [name, value] of Object.entries(results)) console.log(`${name.padEnd(16)} ${value}`)
console.log(JSON.stringify(results))

async function load(server: ServerProcess, call: Call): Promise<void> {
  results.readyMs = Math.round(server.readyMs)
  await sleep(5_000)
  results.rssIdleMb = server.rssMb()
  const cpuBefore = server.cpuSeconds()
  await sleep(10_000)
  results.idleCpuPercent = Math.round((server.cpuSeconds() - cpuBefore) * 100) / 10
  await warm(call)
  let made = 0
  for (const clients of [1, 16]) await rate(`post${clients}`, clients, () => call('POST', CM, object(`p-${made++}`)))
  results.objects = made
  results.rssPostMb = server.rssMb()
  for (const clients of [1, 16]) await rate(`get${clients}`, clients, (n) => call('GET', `${CM}/p-${n % made}`))
  await rate('patch16', 16, (n) => call('PATCH', `${CM}/p-${n % made}`, { data: { text: String(n) } }, 'application/merge-patch+json'))
  results.rssPatchMb = server.rssMb()
  let gone = 0
  // When all are gone before the time is over the rate is that of the deletes there were.
  await rate('delete16', 16, () => (gone < made ? call('DELETE', `${CM}/p-${gone++}`) : undefined))
  results.rssDeleteMb = server.rssMb()
  await call('DELETE', CM)
  const LIST = 2_200
  for (let at = 0; at < LIST; at += 20) await Promise.all(Array.from({ length: 20 }, (_, i) => call('POST', CM, object(`l-${at + i}`))))
  results.listBytes = (await call('GET', CM)).length
  await rate('list1', 1, () => call('GET', CM))
  const { metadata } = JSON.parse(await call('GET', `${CM}?limit=1`)) as { metadata: { resourceVersion: string } }
  let event = ''
  const watch = (onData: (data: Buffer) => void): Promise<() => void> => openWatch(server.port, `${CM}?watch=1&resourceVersion=${metadata.resourceVersion}`, agent as Agent, (data) => {
    event ||= data.toString('latin1')
    onData(data)
  })
  const { p50, p99 } = await fanOut(watch, (name) => call('POST', CM, { metadata: { name }, data: {} }))
  Object.assign(results, { watchP50Ms: p50, watchP99Ms: p99, rssAfterMb: server.rssMb() })
  await bareFanOut(event)
  await sleep(25_000)
  results.rssSettledMb = server.rssMb()
}

function object(name: string, chars = 300): object {
  return { metadata: { name, labels: { bench: 'yes' } }, data: { text: 'x'.repeat(chars), more: 'y'.repeat(100) } }
}

/** Calls a second of `fn` by `clients` callers at once, and the server's CPU time a call, µs; undefined from `fn` ends early. */
async function rate(name: string, clients: number, fn: (n: number) => Promise<unknown> | undefined, during = seconds): Promise<void> {
  const cpu = server.cpuSeconds()
  let done = 0
  let n = 0
  const start = performance.now()
  const until = start + during * 1_000
  await Promise.all(
    Array.from({ length: clients }, async () => {
      for (let work = fn(n++); work !== undefined; work = performance.now() < until ? fn(n++) : undefined) {
        await work
        done++
      }
    }),
  )
  if (name === '') return
  results[name] = Math.round(done / ((performance.now() - start) / 1_000))
  results[`${name}CpuUs`] = Math.round(((server.cpuSeconds() - cpu) / done) * 1e6)
}

/** A second of each verb, all of which is gone afterwards. */
async function warm(call: Call): Promise<void> {
  let made = 0
  let gone = 0
  await rate('postFirst', 16, () => call('POST', CM, object(`f-${made++}`)), 1)
  await rate('', 16, (n) => call('GET', `${CM}/f-${n % made}`), 1)
  await rate('', 16, (n) => call('PATCH', `${CM}/f-${n % made}`, { data: { text: String(n) } }, 'application/merge-patch+json'), 1)
  await rate('', 16, () => (gone < made ? call('DELETE', `${CM}/f-${gone++}`) : undefined), 1)
  await call('DELETE', CM)
}

/** Opens a watch on `path`; `onData` gets what arrives. Returns how to stop. */
function openWatch(port: number, path: string, through: Agent, onData?: (data: Buffer) => void): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, path, agent: through }, (res) => {
      resolve(() => req.destroy())
      res.on('error', () => undefined)
      if (onData) res.on('data', onData)
      else res.resume()
    })
    req.on('error', reject)
    req.end()
  })
}

/** 100 watchers, 100 events: time from the write's start to each delivery, ms. `watch` opens one, `write` makes an object of this name. */
async function fanOut(watch: (onData: (data: Buffer) => void) => Promise<() => void>, write: (name: string) => Promise<unknown>): Promise<{ p50: number; p99: number }> {
  const times: number[] = []
  const sent = new Map<string, number>()
  // Watchers share one thread with each other, so each does as little as it can.
  const name = Buffer.from('"name":"w-')
  const onData = (data: Buffer): void => {
    const now = performance.now()
    for (let at = data.indexOf(name); at >= 0; at = data.indexOf(name, at + 1)) {
      const from = at + name.length
      times.push(now - (sent.get(data.toString('latin1', from, data.indexOf(34, from))) ?? now))
    }
  }
  const stops = await Promise.all(Array.from({ length: 100 }, () => watch(onData)))
  for (let i = 0; i < 100; i++) {
    sent.set(String(i), performance.now())
    await write(`w-${i}`)
    await sleep(10)
  }
  await sleep(200)
  for (const stop of stops) stop()
  if (times.length !== 10_000) throw new Error(`watch: ${times.length} events arrived of 10000`)
  times.sort((a, b) => a - b)
  return { p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
}

/** The same with bytes like those of `event` through an https server that does nothing else: what the connections alone cost. */
async function bareFanOut(event: string): Promise<void> {
  const bare = fork(join(import.meta.dirname, 'bare-watch.ts'))
  const own = new Agent({ keepAlive: true, maxSockets: 256, rejectUnauthorized: false })
  try {
    const port = await new Promise<number>((resolve, reject) => bare.once('message', resolve as (port: unknown) => void).once('exit', (code) => reject(new Error(`bare server: it ended with ${code}`))))
    const call = caller(port, own)
    const text = event.replace(/^[^{]*/, '').split('\n')[0] ?? ''
    // Once to warm up, as the API server was.
    for (let round = 0; round < 2; round++) {
      const { p50, p99 } = await fanOut((onData) => openWatch(port, '/', own, onData), (name) => call('POST', '/', JSON.parse(text.replace(/"name":"w-[^"]*"/, `"name":"${name}"`)) as object))
      Object.assign(results, { bareP50Ms: p50, bareP99Ms: p99 })
    }
  } finally {
    own.destroy()
    bare.kill()
  }
}

/** Many objects in 50 namespaces, many watches (each of one namespace), and pages read while objects change. */
async function scale(server: ServerProcess, call: Call): Promise<void> {
  const [objects, watches] = [Number(values.objects), Number(values.watches)]
  const NAMESPACES = 50
  const place = (n: number): string => `/api/v1/namespaces/s-${n % NAMESPACES}/configmaps`
  for (let n = 0; n < NAMESPACES; n++) await call('POST', '/api/v1/namespaces', { metadata: { name: `s-${n}` } })
  let next = 0
  const started = performance.now()
  await Promise.all(Array.from({ length: 32 }, async () => {
    for (let n = next++; n < objects; n = next++) await call('POST', place(n), object(`o-${n}`, 1_500))
  }))
  results.fillSeconds = Math.round((performance.now() - started) / 1_000)
  results.rssFilledMb = server.rssMb()
  const many = server.agent(Infinity)
  const { metadata } = JSON.parse(await call('GET', '/api/v1/configmaps?limit=1')) as { metadata: { resourceVersion: string } }
  let open = 0
  let events = 0
  await Promise.all(Array.from({ length: 32 }, async () => {
    for (let n = open++; n < watches; n = open++) await openWatch(server.port, `${place(n)}?watch=1&resourceVersion=${metadata.resourceVersion}`, many, (data) => void (events += data.toString().split('\n').length - 1))
  }))
  results.rssWatchedMb = server.rssMb()
  const times: number[] = []
  const reading = new AbortController()
  let writes = 0
  const writer = (async () => {
    for (let n = 0; !reading.signal.aborted; n++) {
      await call('PATCH', `${place(n)}/o-${n}`, { data: { text: String(n) } }, 'application/merge-patch+json')
      writes++
      await sleep(20)
    }
  })()
  for (let round = 0; round < 2; round++) {
    let token = ''
    do {
      const from = performance.now()
      const page = await call('GET', `/api/v1/configmaps?limit=500${token === '' ? '' : `&continue=${token}`}`)
      times.push(performance.now() - from)
      token = /"continue":"([^"]+)"/.exec(page.slice(0, 500))?.[1] ?? ''
    } while (token !== '')
  }
  results.rssPagedMb = server.rssMb()
  reading.abort()
  await writer
  times.sort((a, b) => a - b)
  Object.assign(results, { pages: times.length, pageP50Ms: quantile(times, 0.5), pageP99Ms: quantile(times, 0.99), writes, events })
  many.destroy()
}

function quantile(sorted: readonly number[], q: number): number {
  return Math.round((sorted[Math.floor(sorted.length * q)] ?? 0) * 10) / 10
}
