/** What the tunnel's tests share: a root, a TLS front door with a hub behind it, and a relay that can cut, stall and count. Tests only. */
import { createServer as createTcp, connect as connectTcp, type Socket, type Server as TcpServer } from 'node:net'
import { createServer as createTls, type TLSSocket } from 'node:tls'
import { systemClock } from '../../src/base/clock.ts'
import { createCa, createKey, createKeyAndCsr, issue, type KeyedCert } from '../../src/base/pki.ts'
import type { NodeHandler } from '../../src/base/stream.ts'
import type { Credentials } from '../../src/tunnel/dial.ts'
import { createHub, type HubOptions } from '../../src/tunnel/hub.ts'
import { runLink, type LinkOptions, type LinkStatus } from '../../src/tunnel/link.ts'
import type { Hub } from '../../src/tunnel/ports.ts'
import { until as untilNamed } from './until.ts'

export const LINK = 'test-link/1'
export const H2 = 'test-h2/1'

export interface TestPki {
  readonly ca: KeyedCert
  readonly server: KeyedCert
  client(node: string): Promise<Credentials>
}

export async function testPki(now = Date.now()): Promise<TestPki> {
  const ca = await createCa({ cn: 'test root', years: 10, now })
  const key = await createKey()
  const certPem = await issue({ ca, publicKeyPem: key.publicKeyPem, cn: 'server', sans: { dns: ['localhost'], ip: ['127.0.0.1'] }, usage: 'server', days: 30, now })
  return {
    ca,
    server: { certPem, keyPem: key.keyPem },
    async client(node) {
      const made = await createKeyAndCsr({ cn: node })
      return { caPem: ca.certPem, keyPem: made.keyPem, certPem: await issue({ ca, csrPem: made.csrPem, cn: node, usage: 'client', days: 30, now }) }
    },
  }
}

export interface FrontDoor {
  readonly url: string
  readonly port: number
  close(): Promise<void>
}

/** Listens with TLS; sockets of ALPN `LINK` go to `onLink` with their certificate's CN, others to `onOther`. */
export async function frontDoor(pki: TestPki, onLink: (socket: TLSSocket, node: string) => void, onOther?: (socket: TLSSocket) => void, port = 0): Promise<FrontDoor> {
  const sockets = new Set<Socket>()
  const server = createTls(
    { cert: pki.server.certPem, key: pki.server.keyPem, ca: pki.ca.certPem, requestCert: true, rejectUnauthorized: false, ALPNProtocols: [LINK, H2, 'http/1.1'] },
    (socket) => {
      if (socket.alpnProtocol !== LINK) return onOther ? onOther(socket) : void socket.destroy()
      if (!socket.authorized) return void socket.destroy()
      onLink(socket, String(socket.getPeerCertificate().subject.CN))
    },
  )
  server.on('connection', (s: Socket) => {
    sockets.add(s)
    s.on('error', () => undefined).once('close', () => sockets.delete(s))
  })
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((r) => server.listen(port, '127.0.0.1', r))
  const at = (server.address() as { port: number }).port
  return {
    url: `https://127.0.0.1:${at}`,
    port: at,
    close: () =>
      new Promise<void>((r) => {
        server.close(() => r())
        for (const s of sockets) s.destroy()
      }),
  }
}

/** A relay in front of a port: `cut` resets connections and has nobody listen, `stall` swallows bytes without a word. */
export class Relay implements AsyncDisposable {
  bytes = 0
  #server!: TcpServer
  #target: number
  #pairs = new Set<[Socket, Socket]>()
  #mode: 'pass' | 'stall' = 'pass'
  port = 0

  private constructor(target: number) {
    this.#target = target
  }

  static async create(target: number): Promise<Relay> {
    const relay = new Relay(target)
    relay.#server = createTcp({ allowHalfOpen: false }, (near) => relay.#pair(near))
    await new Promise<void>((r) => relay.#server.listen(0, '127.0.0.1', r))
    relay.port = (relay.#server.address() as { port: number }).port
    return relay
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`
  }

  pass(): void {
    this.#mode = 'pass'
    if (!this.#server.listening) this.#server.listen(this.port, '127.0.0.1')
  }

  cut(): void {
    this.#server.close()
    this.breakAll()
  }

  stall(): void {
    this.#mode = 'stall'
  }

  breakAll(): void {
    for (const [a, b] of this.#pairs) {
      a.destroy()
      b.destroy()
    }
  }

  #pair(near: Socket): void {
    const far = connectTcp(this.#target, '127.0.0.1')
    const pair: [Socket, Socket] = [near, far]
    this.#pairs.add(pair)
    const born = this.#mode
    for (const [from, to] of [[near, far], [far, near]] as const) {
      from.setNoDelay(true)
      from.on('error', () => undefined)
      from.on('data', (chunk: Buffer) => {
        // A connection that lived through a stall stays dead, as one behind a NAT that forgot it.
        if (this.#mode === 'stall' || born === 'stall' || stalled) return void (stalled = true)
        this.bytes += chunk.length
        if (!to.write(chunk)) {
          from.pause()
          to.once('drain', () => from.resume())
        }
      })
      from.once('close', () => {
        if (!stalled) to.destroy()
        this.#pairs.delete(pair)
      })
    }
    let stalled = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.breakAll()
    // One that was cut has nothing to close.
    await new Promise<void>((r) => this.#server.close(() => r()))
  }
}

export interface RunningLink extends AsyncDisposable {
  readonly states: LinkStatus[]
  stop(): Promise<void>
}

export function startLink(url: string | (() => readonly string[]), credentials: LinkOptions['credentials'] | Credentials, handler: NodeHandler, extra: Partial<LinkOptions> = {}): RunningLink {
  const abort = new AbortController()
  const states: LinkStatus[] = []
  const run = runLink({
    servers: typeof url === 'string' ? () => [url] : url,
    credentials: typeof credentials === 'function' ? credentials : () => credentials,
    alpn: LINK,
    handler,
    clock: systemClock,
    ...extra,
    signal: abort.signal,
    onState: (s) => states.push(s),
  })
  const stop = async (): Promise<void> => {
    abort.abort()
    await run
  }
  return { states, stop, [Symbol.asyncDispose]: stop }
}

/** The kit's `until` for a condition that says itself what it waits for. */
export async function until(check: () => boolean, ms = 5_000, what = String(check)): Promise<void> {
  await untilNamed(what, check, ms)
}

export function testHub(options: Partial<HubOptions> = {}): Hub {
  return createHub({ clock: systemClock, ...options })
}
