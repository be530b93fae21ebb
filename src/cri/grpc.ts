/**
 * One gRPC channel to a runtime's unix socket: unary calls and server streams by name, errors as AppError.
 * Messages are plain objects in the camelCase of `gen/descriptor.ts`; 64-bit numbers are JavaScript numbers (times in
 * nanoseconds lose their last 256 ns, sizes are exact to 2^53). Used by `containerd.ts` and its parts.
 */
import * as grpc from '@grpc/grpc-js'
import protobuf from 'protobufjs/light.js'
import { AppError, type ErrorCode } from '../base/errors.ts'
import { descriptor } from './gen/descriptor.ts'

const root = protobuf.Root.fromJSON(descriptor)

/** Wire names of the services, and where their messages stand in the descriptor. */
const SERVICES = {
  runtime: { wire: 'runtime.v1.RuntimeService', messages: 'runtime.v1' },
  image: { wire: 'runtime.v1.ImageService', messages: 'runtime.v1' },
  events: { wire: 'containerd.services.events.v1.Events', messages: 'containerd' },
  containers: { wire: 'containerd.services.containers.v1.Containers', messages: 'containerd' },
  tasks: { wire: 'containerd.services.tasks.v1.Tasks', messages: 'containerd' },
} as const
export type Service = keyof typeof SERVICES

/** Time a unary call may take when its caller names none, ms. A sandbox on a slow SD card takes tens of seconds. */
const DEFAULT_TIMEOUT_MS = 120_000
/** Largest message either way, bytes; containerd's own limit. */
const MAX_MESSAGE = 16 << 20

export interface CallOptions {
  /** @default 120 s; 0 is no limit */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}

interface Method {
  readonly path: string
  readonly encode: (value: object) => Buffer
  readonly decode: (bytes: Buffer) => object
}

/** A connection to one runtime, dialled at the first call and again whenever it was lost. Its owner closes it. */
export class GrpcChannel {
  readonly address: string
  readonly #client: grpc.Client
  readonly #methods = new Map<string, Method>()

  /** @param address path of the unix socket; nothing is dialled before the first call */
  constructor(address: string) {
    this.address = address
    this.#client = new grpc.Client(`unix:${address}`, grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': MAX_MESSAGE,
      'grpc.max_send_message_length': MAX_MESSAGE,
      // A restarted containerd is back within a second; the default backoff would wait up to two minutes.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      // A channel without calls keeps its connection: reopening costs more than the idle socket.
      'grpc.client_idle_timeout_ms': 2_147_483_647,
    })
  }

  /** One call. `T` is the answer's shape as the .proto says it. @throws AppError */
  unary<T extends object>(service: Service, name: string, request: object, options: CallOptions = {}): Promise<T> {
    const method = this.#method(service, name)
    const { signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    return new Promise<T>((resolve, reject) => {
      const call = this.#client.makeUnaryRequest<object, object>(
        method.path,
        method.encode,
        method.decode,
        request,
        metadata(service),
        timeoutMs === 0 ? {} : { deadline: Date.now() + timeoutMs },
        (error, value) => {
          signal?.removeEventListener('abort', onAbort)
          if (!error) resolve(value as T)
          else reject(signal?.aborted ? (signal.reason as Error) : appError(name, error))
        },
      )
      const onAbort = (): void => call.cancel()
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** A server stream until it ends or the signal aborts (then it ends quietly). @throws AppError when it breaks */
  async *stream<T extends object>(service: Service, name: string, request: object, signal: AbortSignal): AsyncGenerator<T> {
    const method = this.#method(service, name)
    signal.throwIfAborted()
    const call = this.#client.makeServerStreamRequest<object, object>(method.path, method.encode, method.decode, request, metadata(service))
    const onAbort = (): void => call.cancel()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      for await (const value of call) yield value as T
    } catch (error) {
      if (!signal.aborted) throw appError(name, error as grpc.ServiceError)
    } finally {
      signal.removeEventListener('abort', onAbort)
      call.cancel()
    }
  }

  close(): void {
    this.#client.close()
  }

  #method(service: Service, name: string): Method {
    const key = `${service}/${name}`
    let method = this.#methods.get(key)
    if (!method) {
      const { wire, messages } = SERVICES[service]
      const definition = root.lookupService(`${messages}.${wire.slice(wire.lastIndexOf('.') + 1)}`).methods[name]
      if (!definition) throw new AppError('internal', `call ${key}: no such method in the descriptor`)
      method = {
        path: `/${wire}/${name}`,
        encode: encoder(`${messages}.${definition.requestType}`),
        decode: decoder(`${messages}.${definition.responseType}`),
      }
      this.#methods.set(key, method)
    }
    return method
  }
}

/** Decodes one message of the descriptor, e.g. what an event's Any holds. */
export function decodeMessage<T extends object>(type: string, bytes: Uint8Array): T {
  return decoder(type)(Buffer.from(bytes)) as T
}

function encoder(type: string): (value: object) => Buffer {
  const t = root.lookupType(type)
  return (value) => Buffer.from(t.encode(t.fromObject(value)).finish())
}

function decoder(type: string): (bytes: Buffer) => object {
  const t = root.lookupType(type)
  return (bytes) => t.toObject(t.decode(bytes), { longs: Number, enums: Number, bytes: Buffer, defaults: true, arrays: true, objects: true })
}

/** containerd's own services need the namespace; CRI ignores it. */
function metadata(service: Service): grpc.Metadata {
  const m = new grpc.Metadata()
  if (service !== 'runtime' && service !== 'image') m.set('containerd-namespace', 'k8s.io')
  return m
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  [grpc.status.INVALID_ARGUMENT]: 'invalid',
  [grpc.status.DEADLINE_EXCEEDED]: 'timeout',
  [grpc.status.NOT_FOUND]: 'not-found',
  [grpc.status.ALREADY_EXISTS]: 'exists',
  [grpc.status.PERMISSION_DENIED]: 'forbidden',
  [grpc.status.UNAUTHENTICATED]: 'unauthorized',
  [grpc.status.RESOURCE_EXHAUSTED]: 'full',
  [grpc.status.FAILED_PRECONDITION]: 'conflict',
  [grpc.status.UNIMPLEMENTED]: 'unsupported',
  [grpc.status.UNAVAILABLE]: 'unavailable',
}

function appError(call: string, error: grpc.ServiceError): AppError {
  // The stack of a gRPC error names only grpc-js; its details are the runtime's own words.
  return new AppError(CODES[error.code] ?? 'internal', `${call} of the container runtime failed: ${error.details || error.message}`)
}
