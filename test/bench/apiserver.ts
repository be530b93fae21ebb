/**
 * The API server over TLS, in a process of its own, on SQLite with every acknowledged write fsynced: POST, GET, PATCH and
 * DELETE with 1 and 16 clients, LIST of many objects, watch fan-out, start and memory. ConfigMaps of about 0.7 KB.
 * `bin/node test/bench/apiserver.ts [--seconds 2] [--store sqlite|memory]`; prints a small table, and JSON as its last line.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request, type RequestOptions } from 'node:https'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createApiServer, listen } from '../../src/apiserver/mod.ts'
import { systemClock } from '../../src/base/clock.ts'
import { createCa, createKey, issue } from '../../src/base/pki.ts'
import { createMemoryStore, openSqliteStore } from '../../src/store/mod.ts'

interface Setup {
  readonly key: string
  readonly cert: string
  readonly ca: string
  readonly sa: { readonly privateKeyPem: string; readonly publicKeyPem: string }
  readonly path: string
  readonly store: string
}

if (process.send) await serve()
else await measure()

/** The child: serves until its parent goes. */
async function serve(): Promise<void> {
  const setup = await new Promise<Setup>((resolve) => process.once('message', (m) => resolve(m as Setup)))
  const started = performance.now()
  const store = setup.store === 'memory' ? createMemoryStore() : await openSqliteStore({ path: setup.path, clock: systemClock })
  const api = await createApiServer({ store, clock: systemClock, serviceAccountKey: setup.sa, serviceCidr: '10.43.0.0/16' })
  const { port } = await listen({ port: 0, bindAddress: '127.0.0.1', key: setup.key, cert: setup.cert, ca: setup.ca, api })
  process.send?.({ port, readyMs: performance.now() - started })
  process.on('message', () => process.send?.({ rss: process.memoryUsage().rss, cpu: process.cpuUsage() }))
  process.on('disconnect', () => process.exit(0))
}

async function measure(): Promise<void> {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '2' }, store: { type: 'string', default: 'sqlite' } } })
  const seconds = Number(values.seconds)
  const dir = mkdtempSync(join(tmpdir(), 'bench-apiserver-'))
  const [ca, server, client, sa] = await Promise.all([createCa({ cn: 'bench', years: 1 }), createKey(), createKey(), createKey()])
  const cert = await issue({ ca, publicKeyPem: server.publicKeyPem, cn: 'server', sans: { ip: ['127.0.0.1'] }, usage: 'server', days: 1 })
  const clientCert = await issue({ ca, publicKeyPem: client.publicKeyPem, cn: 'admin', o: ['system:masters'], usage: 'client', days: 1 })
  const child = fork(import.meta.filename, { execArgv: process.execArgv })
  const ready = next<{ port: number; readyMs: number }>(child)
  child.send({ key: server.keyPem, cert, ca: ca.certPem, sa: { privateKeyPem: sa.keyPem, publicKeyPem: sa.publicKeyPem }, path: join(dir, 'store.db'), store: values.store } satisfies Setup)
  const { port, readyMs } = await ready
  const agent = new Agent({ keepAlive: true, maxSockets: 256, ca: ca.certPem, cert: clientCert, key: client.keyPem })
  const call = (method: string, path: string, body?: object, type = 'application/json'): Promise<string> =>
    new Promise((resolve, reject) => {
      const options: RequestOptions = { host: '127.0.0.1', port, method, path, agent, headers: body ? { 'content-type': type } : {} }
      const req = request(options, (res) => {
        let text = ''
        res.setEncoding('utf8')
        res.on('data', (c: string) => (text += c)).on('end', () => ((res.statusCode ?? 500) < 300 ? resolve(text) : reject(new Error(`${method} ${path}: ${text}`))))
      })
      req.on('error', reject)
      req.end(body && JSON.stringify(body))
    })
  const CM = '/api/v1/namespaces/default/configmaps'
  const object = (name: string): object => ({ metadata: { name, labels: { bench: 'yes' } }, data: { text: 'x'.repeat(300), more: 'y'.repeat(100) } })
  /** Calls a second of `fn` by `clients` callers at once. */
  const rate = async (clients: number, fn: (n: number) => Promise<unknown>): Promise<number> => {
    let done = 0
    let n = 0
    const start = performance.now()
    const until = start + seconds * 1_000
    await Promise.all(
      Array.from({ length: clients }, async () => {
        while (performance.now() < until) {
          await fn(n++)
          done++
        }
      }),
    )
    return Math.round(done / ((performance.now() - start) / 1_000))
  }
  const memory = async (): Promise<number> => {
    const answer = next<{ rss: number }>(child)
    child.send('stat')
    return Math.round((await answer).rss / 1e6)
  }

  const rssIdleMb = await memory()
  let made = 0
  const results: Record<string, number> = { readyMs: Math.round(readyMs), rssIdleMb }
  for (const clients of [1, 16]) results[`post${clients}`] = await rate(clients, () => call('POST', CM, object(`p-${made++}`)))
  for (const clients of [1, 16]) results[`get${clients}`] = await rate(clients, (n) => call('GET', `${CM}/p-${n % made}`))
  results.patch16 = await rate(16, (n) => call('PATCH', `${CM}/p-${n % made}`, { data: { text: String(n) } }, 'application/merge-patch+json'))
  let gone = 0
  results.delete16 = await rate(16, async () => {
    if (gone < made) await call('DELETE', `${CM}/p-${gone++}`)
  })
  await call('DELETE', CM)
  const LIST = 2_200
  for (let at = 0; at < LIST; at += 20) await Promise.all(Array.from({ length: 20 }, (_, i) => call('POST', CM, object(`l-${at + i}`))))
  results.listBytes = (await call('GET', CM)).length
  results.list1 = await rate(1, () => call('GET', CM))

  const { p50, p99 } = await fanOut(call, agent, port, CM)
  Object.assign(results, { watchP50Ms: p50, watchP99Ms: p99, rssAfterMb: await memory() })
  child.disconnect()
  agent.destroy()
  rmSync(dir, { recursive: true })
  const model = cpus()[0]?.model ?? 'unknown'
  console.log(`API server over TLS, store ${values.store}, ${seconds} s a row, ${cpus().length} x ${model}, ${loadText()}`)
  for (const [name, value] of Object.entries(results)) console.log(`${name.padEnd(14)} ${value}`)
  console.log(JSON.stringify(results))
}

/** 100 watchers, 100 events: time from the write's start to each delivery, ms. */
async function fanOut(call: (method: string, path: string, body?: object) => Promise<string>, agent: Agent, port: number, path: string): Promise<{ p50: number; p99: number }> {
  const times: number[] = []
  const sent = new Map<string, number>()
  const { metadata } = JSON.parse(await call('GET', `${path}?limit=1`)) as { metadata: { resourceVersion: string } }
  const stops: (() => void)[] = []
  await Promise.all(
    Array.from({ length: 100 }, () => new Promise<void>((resolve, reject) => {
      const req = request({ host: '127.0.0.1', port, path: `${path}?watch=1&resourceVersion=${metadata.resourceVersion}`, agent }, (res) => {
        resolve()
        res.setEncoding('utf8')
        res.on('data', (text: string) => {
          const now = performance.now()
          for (const m of text.matchAll(/"name":"(w-\d+)"/g)) times.push(now - (sent.get(m[1] as string) ?? now))
        })
        res.on('error', () => undefined)
      })
      stops.push(() => req.destroy())
      req.on('error', reject)
      req.end()
    })),
  )
  for (let i = 0; i < 100; i++) {
    sent.set(`w-${i}`, performance.now())
    await call('POST', path, { metadata: { name: `w-${i}` }, data: {} })
    await systemClock.sleep(10)
  }
  await systemClock.sleep(200)
  for (const stop of stops) stop()
  times.sort((a, b) => a - b)
  const at = (q: number): number => Math.round((times[Math.floor(times.length * q)] ?? 0) * 10) / 10
  return { p50: at(0.5), p99: at(0.99) }
}

function next<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve) => child.once('message', (m) => resolve(m as T)))
}

function loadText(): string {
  return `load ${readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ')}`
}
