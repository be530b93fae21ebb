/**
 * Joining, the server's side: HTTP handlers for the CA, the join and the renewal. Policy is in `join-policy.ts`; tokens,
 * records and signing come as ports, so that this knows no Kubernetes. Answers are JSON; refusals are `{message}`.
 */
import { createHash, createPublicKey, X509Certificate } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../base/clock.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import { certInfo, checkPeer, parseCsr } from '../base/pki.ts'
import { readJson } from '../base/read-body.ts'
import { decideJoin, decideRenewal, RevokedError, type NodeRecord, type StoredToken } from './join-policy.ts'

const log = logger('tunnel.join-server')
const MAX_BODY = 64 * 1024

/** Where tokens are kept. */
export interface TokenStore {
  get(id: string): Promise<StoredToken | undefined>
  /** Notes the use of a single-use token, atomically. @throws AppError `conflict` when another use came first */
  markUsed(id: string, by: { node: string; keyHash: string }): Promise<void>
}

/** Where joined names are kept. */
export interface NodeRecords {
  get(node: string): Promise<NodeRecord | undefined>
  /** Writes over `former` (undefined: must not exist yet). @throws AppError `conflict`/`exists` when it changed meanwhile */
  put(record: NodeRecord, former: NodeRecord | undefined): Promise<void>
  /** A machine that wants a taken name: shown to people until approved. Repeats for the same machine are no news. */
  noteWaiting(node: string, who: { keyHash: string; machineId: string; remote: string }): Promise<void>
}

export interface JoinServerOptions {
  readonly tokens: TokenStore
  readonly records: NodeRecords
  readonly clock: Clock
  /** PEM bundle given to nodes; its first certificate is the one that tokens pin. */
  readonly caPem: () => string
  /** Signs a node's request for `node`; returns the certificate's PEM. Called after all checks. */
  sign(node: string, csrPem: string): Promise<string>
  /** The node a client certificate's common name speaks for; undefined: not a node. */
  nodeOf(cn: string): string | undefined
  /** What a node is told beside its certificate. */
  config(node: string): unknown
}

type Request = IncomingMessage | Http2ServerRequest
type Response = ServerResponse | Http2ServerResponse

export interface JoinServer {
  /** GET: the CA bundle, to anyone. */
  cacerts(req: Request, res: Response): Promise<void>
  /** POST with a bearer token: `{node, csrPem, machineId}` -> `{certPem, caPem, config}`. */
  join(req: Request, res: Response): Promise<void>
  /** POST over a connection with the node's own client certificate, also an expired one: `{csrPem}` -> the same. */
  renew(req: Request, res: Response): Promise<void>
}

/** Makes the handlers; they answer every request themselves, failures included. */
export function createJoinServer(options: JoinServerOptions): JoinServer {
  const { tokens, records, clock } = options
  const grant = async (node: string, csrPem: string): Promise<object> => ({
    certPem: await options.sign(node, csrPem),
    caPem: options.caPem(),
    config: options.config(node),
  })
  return {
    cacerts: async (_req, res) => send(res, 200, options.caPem(), 'application/x-pem-file'),

    join: (req, res) =>
      handle(req, res, async () => {
        const shown = /^Bearer ([a-z0-9]{6})\.([a-z0-9]{16})$/.exec(req.headers.authorization ?? '')
        if (!shown) throw new AppError('unauthorized', 'join: show a join token as a bearer token of the form <id>.<secret>')
        const [id, secret] = [shown[1] as string, shown[2] as string]
        const body = await readObject(req)
        const { node, csrPem, machineId = '' } = body
        if (typeof node !== 'string' || !isName(node)) throw new AppError('invalid', `join: node name '${String(node).slice(0, 80)}' is not made of lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit (at most 253); give another --node-name`)
        if (typeof csrPem !== 'string') throw new AppError('invalid', `join as '${node}': no certificate request (csrPem) in the body`)
        if (typeof machineId !== 'string' || machineId.length > 256) throw new AppError('invalid', `join as '${node}': the machine id is not a text of at most 256 characters`)
        const keyHash = await keyOf(csrPem, node)
        const [token, record] = await Promise.all([tokens.get(id), records.get(node)])
        const decision = decideJoin(token, id, secret, { node, keyHash, machineId }, record, clock.now())
        const remote = String(req.socket?.remoteAddress)
        if (!decision.allow) {
          log.warn('refused a join', { node, token: id, remote, why: decision.message })
          if (decision.waits) await records.noteWaiting(node, { keyHash, machineId, remote })
          throw new AppError(decision.status === 401 ? 'unauthorized' : 'forbidden', decision.message)
        }
        try {
          // The token first: of two machines racing with one token, one gets it, and no name is bound by the other.
          if (token?.singleUse) await tokens.markUsed(id, { node, keyHash })
          await records.put({ node, keyHash, machineId }, record)
        } catch (cause) {
          throw new AppError('conflict', `join as '${node}': another machine joined at the same moment; try again`, { cause })
        }
        log.info('node joined', { node, token: id, remote, again: record !== undefined })
        return grant(node, csrPem)
      }),

    renew: (req, res) =>
      handle(req, res, async () => {
        const leaf = peerCertificate(req)
        if (!leaf) throw new AppError('unauthorized', 'renew: show the present client certificate on this connection')
        checkPeer(leaf, options.caPem(), { usage: 'client', now: clock.now() })
        const cert = certInfo(leaf.toString())
        const node = options.nodeOf(cert.cn)
        if (node === undefined) throw new AppError('forbidden', `renew: the certificate is of '${cert.cn}', not of a node`)
        const { csrPem } = await readObject(req)
        if (typeof csrPem !== 'string') throw new AppError('invalid', `renew the certificate of '${node}': no certificate request (csrPem) in the body`)
        const record = await records.get(node)
        const decision = decideRenewal(node, hashKey(cert.publicKeyPem), record)
        if (decision.revoked) throw new RevokedError(decision.message)
        if (!decision.allow || !record) throw new AppError('forbidden', decision.message)
        const keyHash = await keyOf(csrPem, node)
        if (keyHash !== record.keyHash) await records.put({ ...record, keyHash }, record)
        return grant(node, csrPem)
      }),
  }
}

/** sha256 of a public key's SPKI DER, hex: what {@link NodeRecord.keyHash} holds. */
export function hashKey(publicKeyPem: string): string {
  return createHash('sha256').update(createPublicKey(publicKeyPem).export({ type: 'spki', format: 'der' })).digest('hex')
}

async function keyOf(csrPem: string, node: string): Promise<string> {
  const csr = await parseCsr(csrPem)
  if (!csr.signatureValid) throw new AppError('invalid', `join as '${node}': the certificate request's signature does not fit its key`)
  return hashKey(csr.publicKeyPem)
}

function isName(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(name) && !name.includes('..')
}

/** The client certificate of the request's connection, whatever the HTTP version. */
function peerCertificate(req: Request): X509Certificate | undefined {
  const socket = ('stream' in req ? req.stream.session?.socket : req.socket) as TLSSocket | undefined
  const der = socket?.getPeerCertificate?.().raw
  return der === undefined ? undefined : new X509Certificate(der)
}

async function readObject(req: Request): Promise<Record<string, unknown>> {
  const value = await readJson(req, MAX_BODY, 'read the request')
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  throw new AppError('invalid', 'read the request: its body is not a JSON object')
}

const STATUS: Partial<Record<string, number>> = { invalid: 400, unauthorized: 401, forbidden: 403, conflict: 409, exists: 409, 'too-large': 413, unavailable: 503, full: 503, timeout: 503 }

async function handle(req: Request, res: Response, work: () => Promise<object>): Promise<void> {
  try {
    if (req.method !== 'POST') return send(res, 405, JSON.stringify({ message: `${req.method} is not served here: use POST` }), 'application/json')
    send(res, 200, JSON.stringify(await work()), 'application/json')
  } catch (error) {
    const status = (error instanceof AppError && STATUS[error.code]) || 500
    if (status === 500) log.error('join request failed', { error: messageOf(error) })
    send(res, status, JSON.stringify({ message: status === 500 ? 'join: the server failed; see its log' : (error as Error).message, ...(error instanceof RevokedError ? { revoked: true } : {}) }), 'application/json')
  }
}

function send(res: Response, status: number, body: string, type: string): void {
  const out = res as ServerResponse
  out.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), 'cache-control': 'no-store' })
  out.end(body)
}
