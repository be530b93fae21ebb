/**
 * The embedded MQTT broker (aedes, MQTT 3.1 and 3.1.1) and what drivers see of it, an {@link MqttLink}. It lives in the MQTT
 * driver's worker, is started when the first device needs it, and hands messages to the driver inside the process.
 *
 * - A QoS 1 message is acknowledged to the device only after every driver that wants it has taken it, and a connection is not
 *   read further until then: a slow disk slows the device, it loses nothing.
 * - A pod, known by its address, neither hears nor says anything on topics of devices of other namespaces.
 * - Bounds: clients, packet size (oversized ones are cut out of the stream unread), retained topics, a slow subscriber is
 *   disconnected. Sessions are always clean: what a device should know is sent again when it is back.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { Aedes, type Client } from 'aedes'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { isReserved, mayMatch, namespaceOf } from './app-topics.ts'
import { PublishGuard } from './publish-guard.ts'
import { TopicTrie } from './topics.ts'

const log = logger('devices.broker')

/** A message as a driver gets it. The broker (or the library) acknowledges it when the returned promise resolves. */
export interface MqttHandler {
  /** Namespace of the device; pods of others neither hear nor say anything on its topics. */
  readonly namespace: string
  message(topic: string, payload: Uint8Array): Promise<void> | void
  /** A message on this topic was refused before it was read. */
  refused(what: string): void
}

/** A way to a broker, embedded or not. */
export interface MqttLink {
  /** Also delivers what is retained. Returns how to stop. */
  subscribe(filter: string, handler: MqttHandler): Promise<() => void>
  /** Resolves when the broker has it (QoS 1). */
  publish(topic: string, payload: string | Uint8Array, options?: { readonly retain?: boolean }): Promise<void>
  /** Calls `fn` when the broker goes away or comes back. Returns how to stop. */
  onState(fn: (up: boolean, why: string) => void): () => void
  close(): Promise<void>
}

export interface BrokerOptions {
  /** Address to listen on. @default '0.0.0.0' */
  readonly host?: string
  /** @default 1883 */
  readonly port?: number
  /** Largest payload, bytes. @default 4 MiB */
  readonly maxPayloadBytes?: number
  /** @default 512 */
  readonly maxClients?: number
  /** Topics whose last message is kept, and their bytes together. @default 4096 and 8 MiB */
  readonly maxRetained?: number
  readonly maxRetainedBytes?: number
}

/** What the broker asks and tells its owner. */
export interface BrokerOwner {
  /** Namespace of the pod with this address; undefined for devices and everyone else. */
  namespaceAt(ip: string): Promise<string | undefined>
  /** Whether anyone listens to the topics of `app-topics.ts` now; told again for each new listener. */
  listening(anyone: boolean): void
}

export interface Broker extends MqttLink {
  readonly port: number
}

/** Starts the broker. @throws AppError `unavailable` when it cannot listen, saying which address and the way out */
export async function startBroker(options: BrokerOptions = {}, owner?: BrokerOwner): Promise<Broker> {
  const { host = '0.0.0.0', port = 1883, maxPayloadBytes = 4 << 20, maxClients = 512, maxRetained = 4096, maxRetainedBytes = 8 << 20 } = options
  const taps = new TopicTrie<MqttHandler>()
  const retained = new Map<string, number>()
  let retainedBytes = 0
  let clients = 0
  const podOf = new WeakMap<Client, string | undefined>()
  const listeners = new Set<Client>()

  /** Pods keep to the devices of their namespace; devices and other clients do not get to see what is for pods. */
  const mayUse = (client: Client | null, topic: string): boolean => {
    const mine = client ? podOf.get(client) : undefined
    const ours = namespaceOf(topic)
    if (ours !== undefined) return mine === ours
    return mine === undefined || taps.match(topic).every((h) => h.namespace === mine)
  }

  /** Says whether this message may be kept as the topic's last one. */
  const mayRetain = (topic: string, bytes: number): boolean => {
    const was = retained.get(topic)
    if (bytes === 0) {
      retained.delete(topic)
      retainedBytes -= was ?? 0
      return true
    }
    if ((was === undefined && retained.size >= maxRetained) || retainedBytes - (was ?? 0) + bytes > maxRetainedBytes) return false
    retained.set(topic, bytes)
    retainedBytes += bytes - (was ?? 0)
    return true
  }

  const broker = await Aedes.createBroker({
    drainTimeout: 10_000,
    connectTimeout: 10_000,
    preConnect(_client, packet, done) {
      if (clients >= maxClients) return done(new Error(`the broker serves ${maxClients} clients already`), false)
      packet.clean = true
      done(null, true)
    },
    authenticate(client, _username, _password, done) {
      void identify(client, owner, podOf, done)
    },
    authorizeForward: (client, packet) => (mayUse(client, packet.topic) ? packet : null),
    authorizePublish(client, packet, done) {
      if (packet.topic.startsWith('$SYS/') || isReserved(packet.topic)) return done(new Error(`nobody but the node publishes on "${packet.topic}"`))
      if (!mayUse(client, packet.topic)) return done(new Error(`topic "${packet.topic}" belongs to a device of another namespace`))
      const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload
      if (packet.retain && !mayRetain(packet.topic, payload.length)) {
        packet.retain = false
        log.warn('message not retained: too many', { topic: packet.topic, client: client?.id })
      }
      const handlers = taps.match(packet.topic)
      if (handlers.length === 0) return done(null)
      // Called for all of a chunk's messages in order, so that handlers see them in order; `done` is what acknowledges.
      void acknowledgeAfter(handlers.map(async (h) => h.message(packet.topic, payload)), packet.topic, done)
    },
  })
  broker.on('clientError', (client, error) => log.debug('client failed', { client: client.id, error }))
  broker.on('connectionError', (_client, error) => log.debug('connection failed', { error }))

  broker.on('subscribe', (subscriptions, client) => {
    if (!subscriptions.some((s) => mayMatch(s.topic))) return
    listeners.add(client)
    owner?.listening(true)
  })
  broker.on('clientDisconnect', (client) => {
    if (listeners.delete(client) && listeners.size === 0) owner?.listening(false)
  })

  const server = createServer((socket) => {
    clients++
    socket.once('close', () => clients--)
    socket.setNoDelay(true)
    guard(socket, maxPayloadBytes + 1024, (topic, bytes) => {
      const what = `message of ${bytes} bytes on topic "${topic}" is over ${maxPayloadBytes}: send less at once`
      for (const handler of taps.match(topic)) handler.refused(what)
      log.warn('message refused: too large', { topic, bytes })
    })
    broker.handle(socket)
  })
  server.maxConnections = maxClients * 2
  try {
    await listen(server, host, port)
  } catch (error) {
    await new Promise<void>((resolve) => broker.close(resolve))
    throw error
  }
  const address = server.address()

  return {
    port: typeof address === 'object' && address ? address.port : port,
    async subscribe(filter, handler) {
      const remove = taps.add(filter, handler)
      const persistence = (broker as unknown as { persistence: { createRetainedStream(filter: string): AsyncIterable<{ topic: string; payload: Buffer }> } }).persistence
      for await (const packet of persistence.createRetainedStream(filter)) await handler.message(packet.topic, packet.payload)
      return remove
    },
    publish: (topic, payload, { retain = false } = {}) =>
      new Promise((resolve, reject) => {
        broker.publish({ cmd: 'publish', topic, payload: Buffer.from(payload), qos: 1, retain, dup: false }, (error) => (error ? reject(error) : resolve()))
      }),
    onState: () => () => undefined,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      await new Promise<void>((resolve) => broker.close(resolve))
      await closed
    },
  }
}

async function identify(client: Client, owner: BrokerOwner | undefined, podOf: WeakMap<Client, string | undefined>, done: (error: null, ok: boolean) => void): Promise<void> {
  const ip = (client.conn as Socket).remoteAddress ?? ''
  podOf.set(client, await owner?.namespaceAt(ip.replace(/^::ffff:/, '')))
  done(null, true)
}

async function acknowledgeAfter(kept: readonly Promise<void>[], topic: string, done: (error: null) => void): Promise<void> {
  for (const result of await Promise.allSettled(kept)) if (result.status === 'rejected') log.error('driver failed on a message', { topic, error: result.reason })
  done(null)
}

/** Cuts oversized messages out of what the broker reads from the socket, and acknowledges them. */
function guard(socket: Socket, maxPacket: number, refused: (topic: string, bytes: number) => void): void {
  const filter = new PublishGuard(maxPacket, ({ topic, bytes, qos, messageId }) => {
    refused(topic, bytes)
    // PUBACK for QoS 1; a QoS 2 sender gets PUBREC and then PUBCOMP from the broker for its PUBREL.
    if (messageId !== undefined) socket.write(Buffer.from([qos === 2 ? 0x50 : 0x40, 2, messageId >> 8, messageId & 255]))
  })
  const read = socket.read.bind(socket)
  socket.read = (size?: number): Buffer | null => {
    const chunk = read(size) as Buffer | null
    return chunk === null ? null : filter.filter(chunk)
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'the port is taken: stop the other broker, choose another port, or name the other broker in protocol.configData.brokerUrl' : messageOf(error)
      reject(new AppError('unavailable', `start MQTT broker on ${host}:${port}: ${why}`, { cause: error }))
    })
    server.listen(port, host, resolve)
  })
}
