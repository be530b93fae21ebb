/**
 * The few calls of etcd's v3 API that the store makes, over gRPC with TLS and client certificates: unary calls by name and
 * one watch a stream. Of several endpoints one is used until it fails; then the next one is. A failure also looks whether the
 * certificates were renewed; a user's token that etcd no longer knows is asked for anew. Messages are plain objects in the
 * camelCase of `gen/descriptor.ts`; 64-bit numbers are JavaScript numbers (revisions are exact to 2^53).
 */
import { randomInt } from 'node:crypto'
import { isIP } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import * as grpc from '@grpc/grpc-js'
import protobuf from 'protobufjs/light.js'
import { AppError, type ErrorCode } from '../base/errors.ts'
import { keyFits } from '../base/pki.ts'
import { descriptor } from './gen/descriptor.ts'

/** PEM texts: whom to trust, and what to show. */
export interface EtcdTlsPems {
  readonly ca: string
  readonly cert: string | undefined
  readonly key: string | undefined
}

/** Where an etcd is, and who we are to it. */
export interface EtcdAddress {
  /** `host:port` of each member. */
  readonly endpoints: readonly string[]
  /** Without it the connection is plain. */
  readonly tls?: EtcdTlsPems | undefined
  /** Reads the PEMs again; asked when etcd cannot be reached. @throws when they cannot be read */
  readonly reload?: () => EtcdTlsPems | undefined
  /** For an etcd with authentication. The password is asked for at each login. */
  readonly user?: { readonly name: string; readonly password: () => string } | undefined
  /** All keys lie below it; ends with `/`. */
  readonly prefix: string
}

/** One key as etcd knows it; revisions are etcd's own. */
export interface KeyValue {
  readonly key: Buffer
  readonly value: Buffer
  readonly createRevision: number
  readonly modRevision: number
  readonly lease: number
}

/** `type` 1 is a delete. */
export interface WatchedEvent {
  readonly type: number
  readonly kv: KeyValue
  readonly prevKv: KeyValue | null
}

interface Header {
  readonly header: { readonly revision: number }
}
export interface RangeAnswer extends Header {
  readonly kvs: readonly KeyValue[]
  readonly count: number
}
export interface TxnAnswer extends Header {
  readonly succeeded: boolean
  readonly responses: readonly { readonly responseRange?: RangeAnswer }[]
}
interface WatchAnswer {
  readonly canceled: boolean
  readonly compactRevision: number
  readonly cancelReason: string
  readonly events: readonly WatchedEvent[]
}

/** History before `revision` (etcd's count) is gone. */
export class EtcdCompacted extends AppError {
  readonly revision: number
  constructor(revision: number) {
    super('compacted', `watch etcd: history before its revision ${revision} is gone`)
    this.revision = revision
  }
}

/** Time a call may take, ms: a majority that syncs slowly takes seconds. */
const TIMEOUT_MS = 10_000
/** etcd's largest request is 1.5 MiB, but a page of answers is many of them. */
const MAX_ANSWER = 1 << 30
/** Certificate files are looked at this often at most, ms. */
const RELOAD_MS = 1_000

const root = protobuf.Root.fromJSON(descriptor)
const CALLS = { Range: 'KV', Txn: 'KV', DeleteRange: 'KV', Compact: 'KV', LeaseGrant: 'Lease', LeaseTimeToLive: 'Lease', Authenticate: 'Auth', Alarm: 'Maintenance', Status: 'Maintenance', Defragment: 'Maintenance' } as const
export type Call = keyof typeof CALLS

/** Connections to one etcd cluster, dialled at the first call. Its owner closes it. */
export class EtcdClient {
  readonly #address: EtcdAddress
  readonly #clients = new Map<string, grpc.Client>()
  #current = 0
  #tls: EtcdTlsPems | undefined
  #reloadedAt = -Infinity
  #token: Promise<string> | undefined

  constructor(address: EtcdAddress) {
    this.#address = address
    this.#tls = address.tls
  }

  /** How messages name it. */
  get name(): string {
    return this.#address.endpoints.join(',')
  }

  get endpoints(): readonly string[] {
    return this.#address.endpoints
  }

  /**
   * One call; `T` is the answer as the .proto says it. A write that fails with `unavailable` or `timeout` may have happened.
   * @param options.again the call may be repeated on the next endpoint when one is away: reads, and writes that may happen twice
   * @throws AppError; `compacted` for a revision outside of the kept history
   */
  async call<T extends object>(name: Call, request: object, options: { timeoutMs?: number; endpoint?: string; again?: boolean } = {}): Promise<T> {
    for (let tries = 1; ; tries++) {
      const endpoint = options.endpoint ?? this.#endpoint()
      try {
        return await this.#unary<T>(endpoint, name, request, options.timeoutMs ?? TIMEOUT_MS)
      } catch (error) {
        if (!(error instanceof AppError) || error.code !== 'unavailable') throw error
        if (options.endpoint === undefined) this.#leave(endpoint)
        const renewed = this.#reload()
        if (options.again !== true || (tries >= this.endpoints.length && !renewed)) throw error
      }
    }
  }

  /**
   * Changes of all keys in the range from etcd's revision `from` on, in the order they happened, until the signal aborts.
   * @throws EtcdCompacted, AppError `unavailable` when the stream breaks
   */
  async *watch(range: { key: Buffer; rangeEnd: Buffer }, from: number, signal: AbortSignal): AsyncGenerator<readonly WatchedEvent[]> {
    if (signal.aborted) return
    const endpoint = this.#endpoint()
    const [input, output] = [type('WatchRequest'), type('WatchResponse')]
    const metadata = await this.#metadata(endpoint)
    // A member cut off from the majority ends the stream instead of staying silent.
    metadata.set('hasleader', 'true')
    const call = this.#client(endpoint).makeBidiStreamRequest<object, object>('/etcdserverpb.Watch/Watch', encoder(input), decoder(output), metadata)
    const onAbort = (): void => call.cancel()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      call.write({ createRequest: { ...range, startRevision: from, prevKv: true, fragment: true } })
      for await (const message of call) {
        const answer = message as WatchAnswer
        if (answer.canceled && answer.compactRevision > 0) throw new EtcdCompacted(answer.compactRevision)
        if (answer.canceled) this.#token = undefined // Perhaps it is that.
        if (answer.canceled) throw new AppError('unavailable', `watch etcd at ${endpoint}: it refused: ${answer.cancelReason}`)
        if (answer.events.length > 0) yield answer.events
      }
      if (!signal.aborted) throw new AppError('unavailable', `watch etcd at ${endpoint}: the stream ended`)
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof AppError) throw error
      this.#leave(endpoint)
      this.#reload()
      if (isLoginOld(error as grpc.ServiceError)) this.#token = undefined
      throw appError('watch', endpoint, error as grpc.ServiceError)
    } finally {
      signal.removeEventListener('abort', onAbort)
      call.on('error', () => {}) // Our own cancel is reported as one.
      call.cancel()
    }
  }

  /** Lifts the alarm that etcd raises when its space is used up; it does not do so by itself. */
  async disarm(): Promise<void> {
    const { alarms } = await this.call<{ alarms: readonly Buffer[] }>('Alarm', { action: 0, alarm: 0 })
    for (const alarm of alarms) {
      // An AlarmMember: the member's id, 64 bits that no number holds, goes back byte by byte; then the kind of alarm.
      const id = alarm.subarray(1, alarm.findIndex((byte, i) => i > 0 && byte < 0x80) + 1)
      await this.call('Alarm', Buffer.concat([Buffer.from([0x08, 2, 0x10]), id, Buffer.from([0x18, alarm.at(-1) ?? 0])]))
    }
  }

  close(): void {
    for (const client of this.#clients.values()) client.close()
    this.#clients.clear()
  }

  #endpoint(): string {
    // One that is known to be away is not tried with a write, which could not be repeated.
    for (let i = 1; i < this.endpoints.length; i++) {
      const known = this.#clients.get(this.endpoints[this.#current % this.endpoints.length] as string)
      if (known?.getChannel().getConnectivityState(false) !== grpc.connectivityState.TRANSIENT_FAILURE) break
      this.#current++
    }
    return this.endpoints[this.#current % this.endpoints.length] as string
  }

  /** Goes on to the next endpoint, unless another call has done so. */
  #leave(endpoint: string): void {
    if (this.endpoints[this.#current % this.endpoints.length] === endpoint) this.#current++
  }

  /** Takes renewed certificates; what is open with the former ones ends and is made again. True when there were any. */
  #reload(): boolean {
    const now = performance.now()
    if (!this.#address.reload || now - this.#reloadedAt < RELOAD_MS) return false
    this.#reloadedAt = now
    let next: EtcdTlsPems | undefined
    try {
      next = this.#address.reload()
      if (next?.cert !== undefined && next.key !== undefined && !keyFits(next.cert, next.key)) return false
    } catch {
      return false // In the midst of being replaced: looked at again with the next failure.
    }
    if (JSON.stringify(next) === JSON.stringify(this.#tls)) return false
    this.#tls = next
    this.close()
    return true
  }

  /** What every call carries: the user's token, if there is a user. */
  async #metadata(endpoint: string): Promise<grpc.Metadata> {
    const metadata = new grpc.Metadata()
    const { user } = this.#address
    if (!user) return metadata
    this.#token ??= this.#send<{ token: string }>(endpoint, 'Authenticate', { name: user.name, password: user.password() }, TIMEOUT_MS, metadata).then(({ token }) => token)
    const asked = this.#token
    try {
      metadata.set('token', await asked)
      return metadata
    } catch (error) {
      if (this.#token === asked) this.#token = undefined
      if (error instanceof AppError && error.code === 'invalid') throw new AppError('unauthorized', `log in to etcd at ${endpoint} as "${user.name}": ${error.message}; check user and password-file of --store`, { cause: error })
      throw error
    }
  }

  #client(endpoint: string): grpc.Client {
    let client = this.#clients.get(endpoint)
    if (!client) {
      const tls = this.#tls
      const pem = (text: string | undefined): Buffer | null => (text === undefined ? null : Buffer.from(text))
      const host = new URL(`http://${endpoint}`).hostname.replace(/^\[|\]$/g, '')
      // TLS has no server name that is an address; the certificate is still checked for the address.
      const byAddress = isIP(host) !== 0
      const check = byAddress ? { checkServerIdentity: (_: string, cert: PeerCertificate) => checkServerIdentity(host, cert) } : {}
      const credentials = tls ? grpc.credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert), check) : grpc.credentials.createInsecure()
      client = new grpc.Client(endpoint, credentials, {
        ...(tls && byAddress && { 'grpc.ssl_target_name_override': 'etcd' }),
        'grpc.max_receive_message_length': MAX_ANSWER,
        'grpc.max_send_message_length': MAX_ANSWER,
        // The watch keeps a call open at all times; a member that vanished without a word is noticed by these pings.
        'grpc.keepalive_time_ms': 10_000,
        'grpc.keepalive_timeout_ms': 5_000,
        'grpc.initial_reconnect_backoff_ms': 100,
        'grpc.max_reconnect_backoff_ms': 2_000,
      })
      this.#clients.set(endpoint, client)
    }
    return client
  }

  async #unary<T extends object>(endpoint: string, name: Call, request: object, timeoutMs: number): Promise<T> {
    if (!this.#address.user) return this.#send<T>(endpoint, name, request, timeoutMs, new grpc.Metadata())
    for (let tries = 1; ; tries++) {
      try {
        return await this.#send<T>(endpoint, name, request, timeoutMs, await this.#metadata(endpoint))
      } catch (error) {
        // Refused before anything was done, so a write may be repeated.
        if (tries > 1 || !(error instanceof AppError) || !isLoginOld(error.cause as grpc.ServiceError | undefined)) throw error
        this.#token = undefined
      }
    }
  }

  #send<T extends object>(endpoint: string, name: Call, request: object, timeoutMs: number, metadata: grpc.Metadata): Promise<T> {
    const service = CALLS[name]
    const method = root.lookupService(`etcdserverpb.${service}`).methods[name]
    if (!method) return Promise.reject(new AppError('internal', `call etcd: "${name}" is not in the descriptor`))
    const [input, output] = [type(method.requestType), type(method.responseType)]
    return new Promise((resolve, reject) => {
      this.#client(endpoint).makeUnaryRequest<object, object>(`/etcdserverpb.${service}/${name}`, encoder(input), decoder(output), request, metadata, { deadline: Date.now() + timeoutMs }, (error, value) => {
        if (error) reject(appError(name, endpoint, error))
        else resolve(value as T)
      })
    })
  }
}

/** A lease id that a JavaScript number holds exactly; etcd's own choice would not. */
export function leaseId(): number {
  return randomInt(1, 2 ** 48 - 1)
}

/** The first key behind all that start with `prefix`. */
export function endOf(prefix: Buffer): Buffer {
  const bytes = Buffer.from(prefix)
  for (let i = bytes.length - 1; i >= 0; i--) {
    if ((bytes[i] as number) === 0xff) continue
    bytes[i] = (bytes[i] as number) + 1
    return bytes.subarray(0, i + 1)
  }
  return Buffer.from([0]) // etcd's word for "no end"
}

function type(name: string): protobuf.Type {
  return root.lookupType(`etcdserverpb.${name}`)
}

function encoder(t: protobuf.Type): (value: object) => Buffer {
  return (value) => (Buffer.isBuffer(value) ? value : Buffer.from(t.encode(t.fromObject(value)).finish()))
}

function decoder(t: protobuf.Type): (bytes: Buffer) => object {
  return (bytes) => t.toObject(t.decode(bytes), { longs: Number, enums: Number, bytes: Buffer, defaults: true, arrays: true, objects: true })
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  [grpc.status.INVALID_ARGUMENT]: 'invalid',
  [grpc.status.DEADLINE_EXCEEDED]: 'timeout',
  [grpc.status.NOT_FOUND]: 'not-found',
  [grpc.status.PERMISSION_DENIED]: 'forbidden',
  [grpc.status.UNAUTHENTICATED]: 'unauthorized',
  // A read or compaction outside of the kept history; which side of it, the caller knows.
  [grpc.status.OUT_OF_RANGE]: 'compacted',
  [grpc.status.RESOURCE_EXHAUSTED]: 'full',
  [grpc.status.UNAVAILABLE]: 'unavailable',
  [grpc.status.CANCELLED]: 'unavailable',
  [grpc.status.UNIMPLEMENTED]: 'unsupported',
}

/** etcd does not know the token (any more): it restarted, the token's time is over, or users and roles were changed. */
function isLoginOld(error: grpc.ServiceError | undefined): boolean {
  return error?.code === grpc.status.UNAUTHENTICATED || (error?.code === grpc.status.INVALID_ARGUMENT && /revision of auth store is old/.test(error.details))
}

const WAY_OUT: Partial<Record<ErrorCode, string>> = {
  full: '; free space with "skerry store compact", or raise etcd\'s --quota-backend-bytes',
  unavailable: '; check that it runs, its address, and the ca, cert and key of --store',
  forbidden: '; give its user a role that may read and write below the prefix (root, for compact)',
  timeout: '; its majority or its disk may be slow or away',
}

function appError(call: string, endpoint: string, error: grpc.ServiceError): AppError {
  const code = CODES[error.code] ?? 'internal'
  return new AppError(code, `${call} of etcd at ${endpoint}: ${(error.details || error.message).replace(/\.? Resolution note: $/, '')}${WAY_OUT[code] ?? ''}`, { cause: error })
}
