/**
 * Signs the certificate with which a node serves the API to its own pods: for the address of its pod bridge (which must lie in
 * the node's podCIDR), loopback, and the names under which pods know the API. Gives the keys of service-account tokens along.
 */
import type { ServerResponse } from 'node:http'
import { BlockList, isIPv4 } from 'node:net'
import type { Node } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { toStatus } from '../../api/status.ts'
import type { HttpRequest, Route, RouteContext } from '../../apiserver/mod.ts'
import { AppError } from '../../base/errors.ts'
import { issue, parseCsr, type KeyedCert } from '../../base/pki.ts'
import { readJson } from '../../base/read-body.ts'
import { callJson, type Client } from '../../client/mod.ts'

const MAX_BODY = 32 << 10
/** Long, for a node that may be away for years; its key speaks for nothing but that node's own bridge. */
const DAYS = 5 * 365
const NODE_USER = 'system:node:'
const NAMES = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local', 'localhost']

export interface NodeServingOptions {
  readonly ca: () => KeyedCert
  /** With the rights of the administrator. */
  readonly client: Client
}

/** The handler of `PATHS.serving`; answers every request itself, failures included as Status. */
export function nodeServing(options: NodeServingOptions): Route['handler'] {
  return async (req, res, context) => {
    const out = res as ServerResponse
    const send = (status: number, value: object): void => {
      const text = JSON.stringify(value)
      out.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      out.end(text)
    }
    try {
      send(200, await sign(options, req, context))
    } catch (error) {
      const status = toStatus(error)
      send(status.code ?? 500, status)
    }
  }
}

/** @throws AppError `forbidden`, `invalid`, `conflict` (the node has no podCIDR yet, or another) */
async function sign(options: NodeServingOptions, req: HttpRequest, context: RouteContext): Promise<object> {
  const user = context.user
  if (!user?.name.startsWith(NODE_USER) || !user.groups.includes('system:nodes')) throw new AppError('forbidden', `sign a serving certificate: "${user?.name ?? 'anonymous'}" is no node`)
  const name = user.name.slice(NODE_USER.length)
  const { csrPem, address } = await readAsked(req)
  if (typeof csrPem !== 'string' || typeof address !== 'string' || !isIPv4(address)) throw new AppError('invalid', `sign a serving certificate for "${name}": csrPem and an IPv4 address are expected`)
  if (!(await parseCsr(csrPem)).signatureValid) throw new AppError('invalid', `sign a serving certificate for "${name}": the request's signature does not fit its key`)
  const node = await options.client.resource<Node>(KINDS.Node).get(name)
  const cidr = node.spec?.podCIDR ?? ''
  if (!inside(cidr, address)) throw new AppError('conflict', `sign a serving certificate for "${name}": ${address} is not in its podCIDR "${cidr}"`)
  // Valid from the CA's own beginning: the clock of a node that just booted may be far behind.
  const certPem = await issue({ ca: options.ca(), csrPem, cn: `${NODE_USER}${name}`, sans: { dns: NAMES, ip: [address, '127.0.0.1'] }, usage: 'server', days: DAYS, skewMs: DAYS * 86_400_000 })
  return { certPem, tokens: await tokenKeys(options.client) }
}

async function tokenKeys({ transport }: Client): Promise<{ issuer: string; keys: readonly object[] }> {
  const [{ issuer }, { keys }] = await Promise.all([
    callJson<{ issuer: string }>(transport, { method: 'GET', path: '/.well-known/openid-configuration' }),
    callJson<{ keys: readonly object[] }>(transport, { method: 'GET', path: '/openid/v1/jwks' }),
  ])
  return { issuer, keys }
}

function inside(cidr: string, address: string): boolean {
  const [base = '', bits = ''] = cidr.split('/')
  if (!isIPv4(base) || !/^\d+$/.test(bits) || Number(bits) > 32) return false
  const block = new BlockList()
  block.addSubnet(base, Number(bits))
  return block.check(address)
}

async function readAsked(req: HttpRequest): Promise<{ csrPem?: unknown; address?: unknown }> {
  const value = await readJson(req, MAX_BODY, 'read the request')
  if (typeof value === 'object' && value !== null) return value
  throw new AppError('invalid', 'read the request: its body is not a JSON object')
}
