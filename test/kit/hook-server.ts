/** A webhook server on this machine, over TLS with a CA of its own. Used by the tests of conversion and admission. */
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createCa, createKeyAndCsr, issue } from '../../src/base/pki.ts'

export interface HookServer extends AsyncDisposable {
  /** What came in, in order. */
  readonly seen: { readonly path: string; readonly body: unknown }[]
  readonly port: number
  /** A clientConfig for one of its paths. */
  config(path: string): { readonly url: string; readonly caBundle: string }
}

/** Starts one; `answer` makes the JSON answer, or undefined to answer 500. */
export async function startHookServer(answer: (path: string, body: unknown) => unknown): Promise<HookServer> {
  const ca = await createCa({ cn: 'hook-ca', years: 1 })
  const { keyPem, csrPem } = await createKeyAndCsr({ cn: 'hook' })
  const cert = await issue({ ca, csrPem, cn: 'hook', usage: 'server', days: 1, sans: { dns: ['localhost'], ip: ['127.0.0.1'] } })
  const seen: { path: string; body: unknown }[] = []
  const server = createServer({ key: keyPem, cert }, (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as unknown
      const path = (req.url ?? '').split('?')[0] as string
      seen.push({ path, body })
      const said = answer(path, body)
      if (said === undefined) res.statusCode = 500
      res.end(said === undefined ? 'broken' : JSON.stringify(said))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    seen,
    port,
    config: (path) => ({ url: `https://127.0.0.1:${port}${path}`, caBundle: Buffer.from(ca.certPem).toString('base64') }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
