/**
 * The node connection beside raw TLS in the same run: bytes a second from node to server, round trip of a small request,
 * the same and a ping while a copy runs, and the bytes an idle hour costs. The node is a thread of its own; both ends share
 * the machine, so rates say more beside each other than alone. Prints one JSON line.
 * Usage: bin/node test/bench/tunnel.ts [MiB]
 */
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { connect as connectTls } from 'node:tls'
import type { Duplex } from 'node:stream'
import { setLogSink } from '../../src/base/log.ts'
import type { Credentials } from '../../src/tunnel/mod.ts'
import { liveness, DETECT_MS } from '../../src/tunnel/policy.ts'
import { frontDoor, Relay, startLink, testHub, testPki, until } from '../kit/tunnel.ts'

/** IP and TCP headers of one packet, with timestamps, bytes. */
const PACKET = 52
const CHUNK = Buffer.alloc(1 << 18)

setLogSink(() => undefined)
if (parentPort) node(workerData as { url: string; credentials: Credentials })
else await main(Number(process.argv[2] ?? 1024))

/** The node: answers small requests and sends as many bytes as asked; on `raw:<n>` sends n bytes on a TLS connection of its own. */
function node({ url, credentials }: { url: string; credentials: Credentials }): void {
  startLink(url, credentials, async (request, respond) => {
    const bytes = Number(request.path.slice(1))
    const out = respond(200)
    if (bytes > 0) await send(out, bytes)
    out.end('x')
  })
  parentPort?.on('message', (bytes: number) => {
    const { port } = new URL(url)
    const socket = connectTls({ port: Number(port), host: '127.0.0.1', ca: credentials.caPem, ALPNProtocols: ['http/1.1'] }, () => void send(socket, bytes).then(() => socket.end()))
  })
}

async function send(to: Duplex, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes; sent += CHUNK.length) if (!to.write(CHUNK)) await new Promise((r) => to.once('drain', r))
}

async function main(mib: number): Promise<void> {
  const pki = await testPki()
  const hub = testHub()
  const raw = Promise.withResolvers<number>()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n), (s) => {
    const started = performance.now()
    s.on('data', () => undefined).once('end', () => raw.resolve(mib / ((performance.now() - started) / 1000)))
  })
  const worker = new Worker(new URL(import.meta.url), { workerData: { url: door.url, credentials: await pki.client('a') } })
  await until(() => hub.links().length === 1)

  const ask = async (): Promise<number> => {
    const t = performance.now()
    const { stream } = await hub.open('a', { method: 'GET', path: '/0' })
    for await (const _ of stream);
    return performance.now() - t
  }
  for (let i = 0; i < 200; i++) await ask() // warm
  const idle: number[] = []
  for (let i = 0; i < 1_000; i++) idle.push(await ask())

  const started = performance.now()
  const { stream } = await hub.open('a', { method: 'GET', path: `/${mib * 1_048_576}` })
  const copy = { seconds: 0 }
  stream.on('data', () => undefined).once('end', () => {
    copy.seconds = (performance.now() - started) / 1000
  })
  const busy: number[] = []
  while (copy.seconds === 0) {
    busy.push(await ask())
    await new Promise((r) => setTimeout(r, 5))
  }
  worker.postMessage(mib * 1_048_576)
  const rawMibPerS = await raw.promise

  const bytesPerHour = await idleBytes(pki)
  const tunnelMibPerS = mib / copy.seconds
  console.log(
    JSON.stringify({
      bench: 'tunnel',
      mib,
      rawTlsMiBPerS: Math.round(rawMibPerS),
      tunnelMiBPerS: Math.round(tunnelMibPerS),
      ratio: Number((tunnelMibPerS / rawMibPerS).toFixed(2)),
      roundTripMs: { p50: quantile(idle, 0.5), p99: quantile(idle, 0.99) },
      duringCopyMs: { p50: quantile(busy, 0.5), p99: quantile(busy, 0.99), max: quantile(busy, 1) },
      idle: { detectMs: DETECT_MS, bytesPerHour },
    }),
  )
  await worker.terminate()
  await hub[Symbol.asyncDispose]()
  await door.close()
}

/** Bytes of ten pings counted at a relay, with three packets' headers each, over an hour of the default interval. */
async function idleBytes(pki: Awaited<ReturnType<typeof testPki>>): Promise<number> {
  await using hub = testHub({ detectMs: 200 })
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  await using relay = await Relay.create(door.port)
  await using link = startLink(relay.url, await pki.client('b'), async (_r, respond) => void respond(200).end())
  await until(() => link.states.at(-1)?.phase === 'connected')
  let pings = 0
  let from = 0
  hub.onChange(() => {
    if (++pings === 2) from = relay.bytes
  })
  await until(() => pings === 12)
  const perPing = (relay.bytes - from) / 10 + 3 * PACKET
  await door.close()
  return Math.round((3_600_000 / liveness(DETECT_MS).pingMs) * perPing)
}

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Number((sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? 0).toFixed(2))
}
