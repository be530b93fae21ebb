/**
 * Puts, gets, lists and watch latency of the SQLite store, beside a real etcd on the same disk with the same client program.
 * etcd answers over gRPC on loopback, as it does for a Kubernetes API server; our store is called in process, as our API
 * server does. Both fsync before they acknowledge. Prints a table, and JSON as its last line.
 * Run: `bin/node test/bench/store.ts [seconds per figure, default 3]`.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { credentials, loadPackageDefinition, type ClientDuplexStream, type ServiceClientConstructor } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { openSqliteStore } from '../../src/store/mod.ts'

const SECONDS = Number(process.argv[2] ?? 3)
const VALUE = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'bench' }, data: { text: 'x'.repeat(620) } })
const LISTED = 2200

/** What is measured, the same for both. `create` fails when the key exists. */
interface Subject {
  create(key: string): Promise<unknown>
  get(key: string): Promise<unknown>
  list(prefix: string): Promise<number>
  /** Calls `seen` for each change under the prefix; resolves when the watch stands. */
  watch(prefix: string, seen: (key: string) => void): Promise<void>
  /** Resident memory that the store costs, bytes. */
  memory(): number
  close(): Promise<void>
}

async function sqlite(directory: string): Promise<Subject> {
  const before = process.memoryUsage.rss()
  const store = await openSqliteStore({ path: join(directory, 'state.db') })
  const stop = new AbortController()
  return {
    create: (key) => store.put(key, VALUE, 0),
    get: (key) => store.get(key),
    list: async (prefix) => (await store.list(prefix)).entries.length,
    watch: async (prefix, seen) => {
      const { revision } = await store.get('/')
      void (async () => {
        for await (const events of store.watch(prefix, revision, stop.signal)) for (const e of events) seen(e.key)
      })()
    },
    memory: () => process.memoryUsage.rss() - before,
    close: async () => {
      stop.abort()
      await store[Symbol.asyncDispose]()
    },
  }
}

async function etcd(directory: string): Promise<Subject> {
  const url = 'http://127.0.0.1:23790'
  const server = spawn(
    'etcd',
    ['--data-dir', join(directory, 'etcd'), '--listen-client-urls', url, '--advertise-client-urls', url, '--listen-peer-urls', 'http://127.0.0.1:23800', '--initial-advertise-peer-urls', 'http://127.0.0.1:23800', '--initial-cluster', 'default=http://127.0.0.1:23800'],
    { stdio: 'ignore' },
  )
  const proto = loadPackageDefinition(loadSync(fileURLToPath(new URL('./etcd-kv.proto', import.meta.url)), { keepCase: true, longs: Number })) as unknown as {
    etcdserverpb: { KV: ServiceClientConstructor; Watch: ServiceClientConstructor }
  }
  const kv = new proto.etcdserverpb.KV('127.0.0.1:23790', credentials.createInsecure())
  const watcher = new proto.etcdserverpb.Watch('127.0.0.1:23790', credentials.createInsecure())
  await new Promise<void>((resolve, reject) => kv.waitForReady(Date.now() + 10_000, (e) => (e ? reject(e) : resolve())))
  const call = <T>(method: 'Range' | 'Txn', request: object): Promise<T> =>
    new Promise((resolve, reject) => (kv[method] as (r: object, done: (e: Error | null, v: T) => void) => void).call(kv, request, (e: Error | null, v: T) => (e ? reject(e) : resolve(v))))
  const end = (prefix: string): Buffer => {
    const bytes = Buffer.from(prefix)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) + 1
    return bytes
  }
  let stream: ClientDuplexStream<object, { created: boolean; events: { kv: { key: Buffer } }[] }> | undefined
  return {
    create: (key) =>
      call('Txn', { compare: [{ result: 0, target: 2, key: Buffer.from(key), mod_revision: 0 }], success: [{ request_put: { key: Buffer.from(key), value: Buffer.from(VALUE) } }] }),
    get: (key) => call('Range', { key: Buffer.from(key) }),
    list: async (prefix) => (await call<{ kvs: { value: Buffer }[] }>('Range', { key: Buffer.from(prefix), range_end: end(prefix) })).kvs.map((e) => e.value.toString()).length,
    watch: (prefix, seen) =>
      new Promise((resolve) => {
        const opened = (stream = (watcher.Watch as () => NonNullable<typeof stream>).call(watcher))
        opened.on('error', () => {})
        opened.on('data', (r: { created: boolean; events: { kv: { key: Buffer } }[] }) => (r.created ? resolve() : r.events.forEach((e) => seen(e.kv.key.toString()))))
        opened.write({ create_request: { key: Buffer.from(prefix), range_end: end(prefix) } })
      }),
    memory: () => 1024 * Number(spawnSync('ps', ['-o', 'rss=', '-p', String(server.pid)], { encoding: 'utf8' }).stdout),
    close: async () => {
      stream?.cancel()
      kv.close()
      watcher.close()
      const ended = new Promise((resolve) => server.once('exit', resolve))
      server.kill()
      await ended
    },
  }
}

/** Calls `work` from `parallel` loops for SECONDS; calls a second and latencies in ms. */
async function rate(parallel: number, work: (i: number) => Promise<unknown>): Promise<{ perSecond: number; p50: number; p99: number }> {
  const times: number[] = []
  const begin = performance.now()
  let next = 0
  const loop = async (): Promise<void> => {
    while (performance.now() - begin < SECONDS * 1000) {
      const at = performance.now()
      await work(next++)
      times.push(performance.now() - at)
    }
  }
  await Promise.all(Array.from({ length: parallel }, loop))
  times.sort((a, b) => a - b)
  const at = (q: number): number => times[Math.floor(times.length * q)] ?? 0
  return { perSecond: times.length / ((performance.now() - begin) / 1000), p50: at(0.5), p99: at(0.99) }
}

async function measure(subject: Subject): Promise<Record<string, string>> {
  const row: Record<string, string> = {}
  const show = (r: { perSecond: number; p50: number; p99: number }): string => `${Math.round(r.perSecond)}/s p50 ${r.p50.toFixed(2)} p99 ${r.p99.toFixed(2)} ms`
  for (let i = 0; i < LISTED; i += 50) await Promise.all(Array.from({ length: 50 }, (_, j) => subject.create(`/list/${String(i + j).padStart(6, '0')}`)))
  row['create, 1 writer'] = show(await rate(1, (i) => subject.create(`/one/${i}`)))
  row['create, 64 writers'] = show(await rate(64, (i) => subject.create(`/many/${i}`)))
  row['get, 1 reader'] = show(await rate(1, (i) => subject.get(`/list/${String(i % LISTED).padStart(6, '0')}`)))
  row['get, 64 readers'] = show(await rate(64, (i) => subject.get(`/list/${String(i % LISTED).padStart(6, '0')}`)))
  row[`list ${LISTED}`] = show(await rate(1, () => subject.list('/list/')))
  const waiting = new Map<string, () => void>()
  await subject.watch('/watched/', (key) => waiting.get(key)?.())
  row['write to watch event'] = show(
    await rate(1, async (i) => {
      const seen = new Promise<void>((resolve) => waiting.set(`/watched/${i}`, resolve))
      await Promise.all([subject.create(`/watched/${i}`), seen])
      waiting.delete(`/watched/${i}`)
    }),
  )
  row['memory after all'] = `${Math.round(subject.memory() / 2 ** 20)} MB`
  return row
}

const directory = mkdtempSync(join(tmpdir(), 'skerry-bench-'))
try {
  console.log(`machine: ${cpus().length} x ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GB, Linux ${release()}, Node ${process.version}`)
  console.log(`method: ${SECONDS} s a figure, values of ${VALUE.length} bytes, every create fsynced before its answer; sqlite in process, etcd over gRPC on loopback`)
  const table: Record<string, Record<string, string>> = {}
  const subjects: [string, (d: string) => Promise<Subject>][] = [['sqlite', sqlite]]
  const version = spawnSync('etcd', ['--version'], { encoding: 'utf8' }).stdout?.split('\n')[0]
  if (version) subjects.push([version, etcd])
  else console.log('etcd is not installed here (Debian: etcd-server), so it is left out')
  for (const [name, open] of subjects) {
    const subject = await open(directory)
    for (const [what, result] of Object.entries(await measure(subject))) (table[what] ??= {})[name] = result
    await subject.close()
  }
  console.table(table)
  console.log(JSON.stringify(table))
} finally {
  rmSync(directory, { recursive: true, force: true })
}
