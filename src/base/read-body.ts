/** Bodies of HTTP requests, whole and within a limit; HTTP/1.1 and HTTP/2 alike. Used by every door but the Kubernetes API's own. */
import { AppError } from './errors.ts'

/** What of a request is needed here. */
export interface BodySource extends AsyncIterable<unknown> {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
}

/**
 * @param act what is being done, for the message
 * @throws AppError `too-large` over `limit` bytes, by the announced length before anything is read; the request's own error when it breaks
 */
export async function readBody(req: BodySource, limit: number, act = 'read body'): Promise<Buffer> {
  const refuse = (size: number): AppError => new AppError('too-large', `${act}: ${size} bytes are over ${limit}`)
  const announced = Number(req.headers['content-length'] ?? 0)
  if (announced > limit) throw refuse(announced)
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of req as AsyncIterable<Uint8Array>) {
    size += chunk.length
    if (size > limit) throw refuse(size)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The body as JSON. @throws as {@link readBody}, and AppError `invalid` when it is none */
export async function readJson(req: BodySource, limit: number, act = 'read body'): Promise<unknown> {
  const text = (await readBody(req, limit, act)).toString('utf8')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new AppError('invalid', `${act}: it is not JSON`, { cause: error })
  }
}
