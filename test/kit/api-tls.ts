/** A listening API server with a CA of its own, and kubectl against it. Used by the tests of `src/apiserver`. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { setLogSink } from '../../src/base/log.ts'
import { createCa, createKey, issue, type KeyedCert } from '../../src/base/pki.ts'
import type { AuditOptions } from '../../src/apiserver/audit/audit.ts'
import { listen, type Listener } from '../../src/apiserver/listen.ts'
import type { PodStreams, Route } from '../../src/apiserver/ports.ts'
import { startHarness, type Harness } from './api-harness.ts'
import { KUBECTL, run, type Ran } from './process.ts'

export { KUBECTL } from './process.ts'

export interface TlsServer extends AsyncDisposable {
  readonly harness: Harness
  readonly listener: Listener
  readonly ca: KeyedCert
  /** A client certificate of the server's CA. */
  client(cn: string, o?: readonly string[]): Promise<KeyedCert>
  /** The status of a GET, by a client with a certificate or none. */
  get(path: string, headers?: Readonly<Record<string, string>>, client?: KeyedCert): Promise<number>
  kubectl(args: readonly string[], stdin?: string): Promise<Ran>
}

/** Starts one on a free loopback port. */
export async function startTls({ audit, podStreams, ...options }: { podStreams?: PodStreams; routes?: readonly Route[]; onLink?: (socket: TLSSocket, node: string) => void; audit?: AuditOptions; headersTimeoutMs?: number } = {}): Promise<TlsServer> {
  const [ca, key] = await Promise.all([createCa({ cn: 'test-ca', years: 1 }), createKey()])
  const client = async (cn: string, o: readonly string[] = []): Promise<KeyedCert> => {
    const pair = await createKey()
    return { keyPem: pair.keyPem, certPem: await issue({ ca, publicKeyPem: pair.publicKeyPem, cn, o, usage: 'client', days: 1 }) }
  }
  const [cert, admin, harness] = await Promise.all([
    issue({ ca, publicKeyPem: key.publicKeyPem, cn: 'server', sans: { ip: ['127.0.0.1'], dns: ['localhost'] }, usage: 'server', days: 1 }),
    client('admin', ['system:masters']),
    startHarness({ ...(audit ? { audit } : {}), ...(podStreams ? { podStreams } : {}) }),
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
    kubectl: (args, input = '') => run(KUBECTL, args, { env: { ...process.env, HOME: dir, KUBECONFIG: join(dir, 'config') }, input, timeoutMs: 60_000 }),
    async [Symbol.asyncDispose]() {
      await harness.api.close()
      await listener.close(100)
      await harness[Symbol.asyncDispose]()
      rmSync(dir, { recursive: true })
    },
  }
}

/** kubectl against a server that lives as long as the tests of one file. */
export interface KubectlTests {
  /** Why the tests cannot run here; false when they can. */
  readonly skip: string | false
  /** Not before the tests run. */
  readonly server: TlsServer
  /** Runs one command line, words split on spaces, that must end well; what it printed, then its warnings. */
  ok(line: string, stdin?: string): Promise<string>
  /** The same, without the warnings. */
  prints(line: string, stdin?: string): Promise<string>
  /** Runs one that must fail; what it said. */
  fails(line: string, stdin?: string): Promise<string>
}

/** Called at the top of a test file: starts the server before its tests, ends it after them, and keeps the log silent. */
export function kubectlTests(): KubectlTests {
  const skip = existsSync(KUBECTL) ? false : 'no kubectl in dist/clients: run tools/unpack-clients.ts'
  let server: TlsServer | undefined
  const former = setLogSink(() => undefined)
  before(async () => {
    if (!skip) server = await startTls()
  })
  after(async () => {
    await server?.[Symbol.asyncDispose]()
    setLogSink(former)
  })
  const its = (): TlsServer => {
    assert.ok(server, 'the server starts before the tests')
    return server
  }
  const well = async (line: string, stdin?: string): Promise<Ran> => {
    const ran = await its().kubectl(line.split(' '), stdin)
    assert.equal(ran.code, 0, `kubectl ${line}: ${ran.err}`)
    return ran
  }
  return {
    skip,
    get server() {
      return its()
    },
    ok: async (line, stdin) => {
      const { out, err } = await well(line, stdin)
      return out + err
    },
    prints: async (line, stdin) => (await well(line, stdin)).out,
    async fails(line, stdin) {
      const { code, err } = await its().kubectl(line.split(' '), stdin)
      assert.notEqual(code, 0, `kubectl ${line} should fail`)
      return err
    },
  }
}
