/** Posts audit events to the web service that a kubeconfig names: its address as it stands, path included, over TLS or in the clear. */
import { readFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { AppError } from '../../base/errors.ts'
import { parseKubeconfig } from '../../client/mod.ts'

/** An answer must be there after this long, ms. */
const TIMEOUT_MS = 10_000

/** @throws AppError `invalid` for a file that cannot be read */
export async function auditSender(path: string): Promise<(text: string, signal: AbortSignal) => Promise<void>> {
  const { server, ca, cert, key, token, insecureSkipTlsVerify, serverName } = parseKubeconfig(await readFile(path, 'utf8'), { path })
  const url = new URL(server)
  const bearer = (): string | undefined => (typeof token === 'function' ? token() : token)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw new AppError('invalid', `the server "${server}" is not an http or https address`)
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest
  return (text, signal) =>
    new Promise((resolve, reject) => {
      const req = request(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...(bearer() === undefined ? {} : { authorization: `Bearer ${bearer()}` }) },
        ...(ca === undefined ? {} : { ca }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
        ...(serverName === undefined ? {} : { servername: serverName }),
        ...(insecureSkipTlsVerify === true ? { rejectUnauthorized: false } : {}),
        timeout: TIMEOUT_MS,
        signal,
      })
      req.on('timeout', () => req.destroy(new Error(`no answer within ${TIMEOUT_MS / 1_000} s`)))
      req.on('error', reject)
      req.on('response', (res) => {
        res.resume()
        res.on('error', reject)
        const status = res.statusCode ?? 0
        if (status >= 200 && status < 300) res.on('end', () => resolve())
        else reject(new AppError('unavailable', `send audit events to "${url.host}": it answered ${status}`))
      })
      req.end(text)
    })
}
