/** A listening API server with a CA of its own, and kubectl against it. Used by the tests of `src/apiserver`. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCa, createKey, issue, type KeyedCert } from '../../src/base/pki.ts'
import type { AuditOptions } from '../../src/apiserver/audit/audit.ts'
import { listen, type Listener } from '../../src/apiserver/listen.ts'
import type { Route } from '../../src/apiserver/ports.ts'
import { startHarness, type Harness } from './api-harness.ts'

/** Where `tools/unpack-clients.ts` puts the real client. */
export const KUBECTL = join(import.meta.dirname, '../../dist/clients/kubectl')

export interface TlsServer extends AsyncDisposable {
  readonly harness: Harness
  readonly listener: Listener
  readonly ca: KeyedCert
  /** A client certificate of the server's CA. */
  client(cn: string, o?: readonly string[]): Promise<KeyedCert>
  /** The status of a GET, by a client with a certificate or none. */
  get(path: string, headers?: Readonly<Record<string, string>>, client?: KeyedCert): Promise<number>
  kubectl(args: readonly string[], stdin?: string): Promise<{ code: number; out: string; err: string }>
}

/** Starts one on a free loopback port. */
export async function startTls({ audit, ...options }: { routes?: readonly Route[]; onLink?: (socket: TLSSocket, node: string) => void; audit?: AuditOptions; headersTimeoutMs?: number } = {}): Promise<TlsServer> {
  const [ca, key] = await Promise.all([createCa({ cn: 'test-ca', years: 1 }), createKey()])
  const client = async (cn: string, o: readonly string[] = []): Promise<KeyedCert> => {
    const pair = await createKey()
    return { keyPem: pair.keyPem, certPem: await issue({ ca, publicKeyPem: pair.publicKeyPem, cn, o, usage: 'client', days: 1 }) }
  }
  const [cert, admin, harness] = await Promise.all([
    issue({ ca, publicKeyPem: key.publicKeyPem, cn: 'server', sans: { ip: ['127.0.0.1'], dns: ['localhost'] }, usage: 'server', days: 1 }),
    client('admin', ['system:masters']),
    startHarness(audit ? { audit } : {}),
  ])
  const listener = await listen({ port: 0, bindAddress: '127.0.0.1', key: key.keyPem, cert, ca: ca.certPem, api: harness.api, ...options })
  const dir = mkdtempSync(join(tmpdir(), 'apiserver-'))
  const b64 = (text: string): string => Buffer.from(text).toString('base64')
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 't', cluster: { server: `https://127.0.0.1:${listener.port}`, 'certificate-authority-data': b64(ca.certPem) } }],
    users: [{ name: 'admin', user: { 'client-certificate-data': b64(admin.certPem), 'client-key-data': b64(admin.keyPem) } }],
    contexts: [{ name: 't', context: { cluster: 't', user: 'admin' } }],
    'current-context': 't',
  }
  writeFileSync(join(dir, 'config'), JSON.stringify(kubeconfig))
  return {
    harness,
    listener,
    ca,
    client,
    get: (path, headers = {}, pair) =>
      new Promise((resolve, reject) => {
        const req = request({ host: '127.0.0.1', port: listener.port, path, headers, ca: ca.certPem, agent: false, ...(pair ? { cert: pair.certPem, key: pair.keyPem } : {}) }, (res) => {
          res.resume()
          res.on('end', () => resolve(res.statusCode ?? 0))
        })
        req.on('error', reject)
        req.end()
      }),
    kubectl: (args, stdin) =>
      new Promise((resolve) => {
        const env = { ...process.env, HOME: dir, KUBECONFIG: join(dir, 'config') }
        const child = execFile(KUBECTL, [...args], { env, timeout: 15_000, maxBuffer: 16 << 20 }, (error, out, err) => resolve({ code: error ? Number(error.code ?? -1) : 0, out, err }))
        child.stdin?.end(stdin ?? '')
      }),
    async [Symbol.asyncDispose]() {
      await harness.api.close()
      await listener.close(100)
      await harness[Symbol.asyncDispose]()
      rmSync(dir, { recursive: true })
    },
  }
}
