/** Turns a node's refusal of a stream into the error a client gets. */
import { AppError, type ErrorCode } from '../../base/errors.ts'
import type { NodeStream } from '../../base/stream.ts'

const BY_STATUS: Record<number, ErrorCode> = { 400: 'invalid', 401: 'unauthorized', 403: 'forbidden', 404: 'not-found', 409: 'conflict', 501: 'unsupported', 503: 'unavailable', 504: 'timeout' }
const MAX_TEXT = 4_096

/** Returns the stream of an accepted answer. @throws AppError with the node's own words for any other status */
export async function accepted(answer: NodeStream, node: string): Promise<NodeStream['stream']> {
  if (answer.status >= 200 && answer.status < 300) return answer.stream
  let text = ''
  try {
    for await (const chunk of answer.stream as AsyncIterable<Buffer>) {
      text += chunk.toString()
      if (text.length > MAX_TEXT) break
    }
  } catch {
    // a refusal cut short still refuses
  }
  answer.stream.destroy()
  const words = text.slice(0, MAX_TEXT).trim()
  throw new AppError(BY_STATUS[answer.status] ?? 'unavailable', words === '' ? `node '${node}' answered ${answer.status}` : words)
}
