/**
 * One gRPC channel to a runtime's unix socket: unary calls and server streams by name, errors as AppError.
 * Messages are plain objects in the camelCase of `gen/descriptor.ts`; 64-bit numbers are JavaScript numbers (times in
 * nanoseconds lose their last 256 ns, sizes are exact to 2^53). Used by `containerd.ts` and its parts.
 */
import protobuf from 'protobufjs/light.js'
import { AppError } from '../base/errors.ts'
import { GrpcTransport } from './grpc-transport.ts'
import { descriptor } from './gen/descriptor.ts'

const root = protobuf.Root.fromJSON(descriptor)

/** Wire names of the services, and where their messages stand in the descriptor. */
const SERVICES = {
  runtime: { wire: 'runtime.v1.RuntimeService', messages: 'runtime.v1' },
  image: { wire: 'runtime.v1.ImageService', messages: 'runtime.v1' },
  events: { wire: 'containerd.services.events.v1.Events', messages: 'containerd' },
  containers: { wire: 'containerd.services.containers.v1.Containers', messages: 'containerd' },
  snapshots: { wire: 'containerd.services.snapshots.v1.Snapshots', messages: 'containerd' },
  tasks: { wire: 'containerd.services.tasks.v1.Tasks', messages: 'containerd' },
} as const
export type Service = keyof typeof SERVICES

/** Time a unary call may take when its caller names none, ms. A sandbox on a slow SD card takes tens of seconds. */
const DEFAULT_TIMEOUT_MS = 120_000
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
  readonly #transport: GrpcTransport
  readonly #methods = new Map<string, Method>()

  /** @param address path of the unix socket; nothing is dialled before the first call */
  constructor(address: string) {
    this.address = address
    this.#transport = new GrpcTransport(address)
  }

  /** One call. `T` is the answer's shape as the .proto says it. @throws AppError */
  async unary<T extends object>(service: Service, name: string, request: object, options: CallOptions = {}): Promise<T> {
    const { signal, timeoutMs = DEFAULT_TIMEOUT_MS } = options
    const method = this.#method(service, name)
    return method.decode(await this.#transport.unary({ path: method.path, message: method.encode(request), headers: headersOf(service), timeoutMs, signal })) as T
  }

  /** A server stream until it ends or the signal aborts (then it ends quietly). @throws AppError when it breaks */
  async *stream<T extends object>(service: Service, name: string, request: object, signal: AbortSignal): AsyncGenerator<T> {
    signal.throwIfAborted()
    const method = this.#method(service, name)
    try {
      for await (const message of this.#transport.stream({ path: method.path, message: method.encode(request), headers: headersOf(service), timeoutMs: 0, signal })) {
        yield method.decode(message) as T
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  close(): void {
    this.#transport.close()
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
function headersOf(service: Service): Record<string, string> {
  return service === 'runtime' || service === 'image' ? {} : { 'containerd-namespace': 'k8s.io' }
}
