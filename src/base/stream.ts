/**
 * The neutral port between the node connection and its users: open one request to a named node and get its answer with a
 * byte stream both ways. The tunnel implements it; the API server uses it for logs, exec and port-forward; neither knows
 * the other. A refused or failed open fails that stream alone, never the session.
 */
import type { Duplex } from 'node:stream'

export interface NodeRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Path with query, e.g. `/containerLogs/default/web/main?follow=true`. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
}

/** The node's acknowledgement: its status, and the body both ways. The opener must read or destroy `stream`; one that is cut fails its reader, it never just ends. */
export interface NodeStream {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly stream: Duplex
}

export interface NodeDialer {
  /**
   * Opens a stream to `node`. Resolves when the node has answered with a status (so a dial is acknowledged).
   * Throws AppError `unavailable` when the node has no link now, `timeout` when it does not answer.
   */
  open(node: string, request: NodeRequest, signal?: AbortSignal): Promise<NodeStream>
}

export interface LinkState {
  readonly node: string
  readonly connectedAtMs: number
  /** Last proof of life: any byte or ping answer, ms wall clock. */
  readonly lastSeenMs: number
  readonly remote: string
}

/** Which nodes are connected now; the server's heartbeat source. */
export interface NodeLinks {
  links(): readonly LinkState[]
  /** Called on every connect, loss (state undefined) and (coalesced) proof of life. Returns how to stop. */
  onChange(fn: (node: string, state: LinkState | undefined) => void): () => void
}

/** The node's side: answers one request. `respond` must be called once, then the stream is the caller's to use. */
export type NodeHandler = (request: NodeRequest, respond: (status: number, headers?: Record<string, string>) => Duplex) => Promise<void>

/**
 * Frames on a multiplexed exec/attach/port-forward stream: 1 byte channel, 4 bytes length (big endian), payload.
 * Channel numbers are Kubernetes' remotecommand ones.
 */
export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const

/** Largest payload of one frame, bytes; the reader refuses more, so a liar cannot make it allocate. */
export const MAX_FRAME = 1 << 20

/** Encodes one frame. @throws RangeError when the payload is over {@link MAX_FRAME} */
export function encodeFrame(channel: number, payload: Uint8Array): Buffer {
  if (payload.length > MAX_FRAME) throw new RangeError(`encode frame: payload of ${payload.length} bytes is over ${MAX_FRAME}`)
  const out = Buffer.allocUnsafe(5 + payload.length)
  out[0] = channel
  out.writeUInt32BE(payload.length, 1)
  out.set(payload, 5)
  return out
}

/** Decodes frames from chunks of any size. `push` returns the frames completed by the chunk. */
export class FrameDecoder {
  #rest: Buffer = Buffer.alloc(0)

  push(chunk: Uint8Array): { channel: number; payload: Buffer }[] {
    this.#rest = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk])
    const frames: { channel: number; payload: Buffer }[] = []
    let at = 0
    while (this.#rest.length - at >= 5) {
      const length = this.#rest.readUInt32BE(at + 1)
      if (length > MAX_FRAME) throw new RangeError(`decode frame: length ${length} is over ${MAX_FRAME}`)
      if (this.#rest.length - at - 5 < length) break
      frames.push({ channel: this.#rest[at] as number, payload: this.#rest.subarray(at + 5, at + 5 + length) })
      at += 5 + length
    }
    this.#rest = this.#rest.subarray(at)
    return frames
  }
}
