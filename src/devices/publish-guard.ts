/**
 * Takes oversized PUBLISH packets out of an MQTT byte stream before anything buffers them: a device that sends 100 MB costs
 * no memory, keeps its connection, and gets its acknowledgement, so that it does not send the same again for ever.
 * Follows packet borders only; chunks of ordinary packets pass untouched. Used by the embedded broker.
 */

/** A packet that was cut out. */
export interface Oversized {
  readonly topic: string
  readonly bytes: number
  readonly qos: number
  /** For QoS 1 and 2; the broker acknowledges it. */
  readonly messageId: number | undefined
}

/** Longest topic looked at, bytes; MQTT allows 65535, nobody needs it. */
const TOPIC_MAX = 1024

interface Cutting {
  readonly first: number
  readonly bytes: number
  readonly head: number[]
}

/** One connection's filter; feed it every chunk in order. */
export class PublishGuard {
  readonly #max: number
  readonly #found: (oversized: Oversized) => void
  /** Bytes of the current packet's fixed header seen so far, when it is cut by a chunk's end. */
  #header: number[] = []
  /** Bytes of the current packet's body still to come. */
  #left = 0
  #cutting: Cutting | undefined

  /** @param maxBytes largest packet body that passes */
  constructor(maxBytes: number, found: (oversized: Oversized) => void) {
    this.#max = maxBytes
    this.#found = found
  }

  /** What of the chunk may go on; null when nothing. */
  filter(chunk: Buffer): Buffer | null {
    if (this.#passes(chunk)) return chunk
    const pass: Buffer[] = []
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const body = chunk.subarray(at, at + this.#left)
        if (this.#cutting) this.#cut(this.#cutting, body)
        else pass.push(body)
        at += body.length
        this.#left -= body.length
        if (this.#left === 0 && this.#cutting) this.#finish(this.#cutting)
        continue
      }
      this.#header.push(chunk[at++] as number)
      const length = remainingLength(this.#header)
      if (length === undefined) continue // held back until it is known whether the packet may pass
      if (this.#oversized(this.#header[0] as number, length)) this.#cutting = { first: this.#header[0] as number, bytes: length, head: [] }
      else pass.push(Buffer.from(this.#header))
      this.#header = []
      this.#left = length
    }
    return pass.length === 0 ? null : Buffer.concat(pass)
  }

  /** The usual case without copies: nothing held back, and the chunk ends on a border or in a body that passes. */
  #passes(chunk: Buffer): boolean {
    if (this.#cutting || this.#header.length > 0) return false
    let at = this.#left
    while (at < chunk.length) {
      const header = [chunk[at++] as number]
      let length: number | undefined
      while (length === undefined && at < chunk.length) {
        header.push(chunk[at++] as number)
        length = remainingLength(header)
      }
      if (length === undefined || this.#oversized(header[0] as number, length)) return false
      at += length
    }
    this.#left = at - chunk.length
    return true
  }

  #oversized(first: number, length: number): boolean {
    return first >> 4 === 3 && length > this.#max
  }

  #cut(cutting: Cutting, body: Buffer): void {
    for (let i = 0; i < body.length && cutting.head.length < TOPIC_MAX + 4; i++) cutting.head.push(body[i] as number)
  }

  #finish({ first, bytes, head }: Cutting): void {
    this.#cutting = undefined
    const buffer = Buffer.from(head)
    const topicLength = buffer.length >= 2 ? buffer.readUInt16BE(0) : 0
    const qos = (first >> 1) & 3
    const whole = topicLength <= TOPIC_MAX && buffer.length >= topicLength + 4
    this.#found({
      topic: buffer.toString('utf8', 2, 2 + Math.min(topicLength, TOPIC_MAX)),
      bytes: bytes - 2 - topicLength - (qos > 0 ? 2 : 0),
      qos,
      messageId: qos > 0 && whole ? buffer.readUInt16BE(2 + topicLength) : undefined,
    })
  }
}

/** The MQTT variable-length field after the first byte; undefined while more bytes are needed. A malformed one passes as 0: the broker refuses it. */
function remainingLength(header: readonly number[]): number | undefined {
  let value = 0
  for (let i = 1; i < header.length; i++) {
    const byte = header[i] as number
    value += (byte & 127) * 128 ** (i - 1)
    if ((byte & 128) === 0) return value
    if (i === 4) return 0
  }
  return undefined
}
