/**
 * Join tokens as Secrets of kube-system in kubeadm's format, with Skerry's own limits (one node, single use) as annotations;
 * and the records of joined nodes, one Secret a name. Gives the tunnel's join server its ports, and `skerry token` its verbs.
 */
import type { Secret } from '../api/gen/types.ts'
import { KINDS } from '../api/kinds.ts'
import { AppError, hasCode } from '../base/errors.ts'
import type { Client, ResourceClient } from '../client/mod.ts'
import { newToken, type NodeRecord, type NodeRecords, type StoredToken, type TokenStore } from '../tunnel/mod.ts'

const NAMESPACE = 'kube-system'
const TOKEN_PREFIX = 'bootstrap-token-'
const NODE_PREFIX = 'skerry-node-'
const TOKEN_TYPE = 'bootstrap.kubernetes.io/token'
const NODE_ONLY = 'skerry.io/node'
const SINGLE_USE = 'skerry.io/single-use'
const USED_BY = 'skerry.io/used-by'
const WAITING = 'skerry.io/waiting'
/** The group a joining node speaks for, as kubeadm's. */
const GROUP = 'system:bootstrappers:skerry:default-node-token'

export interface TokenSpec {
  /** The only name it is good for; makes it single-use. */
  readonly node?: string | undefined
  /** Seconds; 0: never expires. */
  readonly ttlSeconds: number
  readonly singleUse?: boolean
  readonly description?: string | undefined
  readonly id?: string
  readonly secret?: string
}

const b64 = (text: string): string => Buffer.from(text).toString('base64')
const text = (secret: Secret, key: string): string => Buffer.from(secret.data?.[key] ?? '', 'base64').toString()

/** Makes a token and keeps it. @throws ApiError `exists` when the id is taken */
export async function createToken(client: Client, spec: TokenSpec, now = Date.now()): Promise<StoredToken> {
  const fresh = newToken()
  const id = spec.id ?? fresh.id
  const secret = spec.secret ?? fresh.secret
  const expiresAtMs = spec.ttlSeconds > 0 ? now + spec.ttlSeconds * 1000 : undefined
  const singleUse = spec.singleUse ?? spec.node !== undefined
  await secrets(client).create({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: TOKEN_PREFIX + id,
      namespace: NAMESPACE,
      annotations: { ...(spec.node === undefined ? {} : { [NODE_ONLY]: spec.node }), ...(singleUse ? { [SINGLE_USE]: 'true' } : {}) },
    },
    type: TOKEN_TYPE,
    data: {
      'token-id': b64(id),
      'token-secret': b64(secret),
      'usage-bootstrap-authentication': b64('true'),
      'usage-bootstrap-signing': b64('true'),
      'auth-extra-groups': b64(GROUP),
      ...(expiresAtMs === undefined ? {} : { expiration: b64(new Date(expiresAtMs).toISOString()) }),
      ...(spec.description === undefined ? {} : { description: b64(spec.description) }),
    },
  })
  return { id, secret, expiresAtMs, node: spec.node, singleUse }
}

/** All tokens, with their descriptions. */
export async function listTokens(client: Client): Promise<(StoredToken & { description: string })[]> {
  const list = await secrets(client).list({ namespace: NAMESPACE })
  return list.items.filter((s) => s.type === TOKEN_TYPE).map((s) => ({ ...read(s), description: text(s, 'description') }))
}

/** @throws AppError `not-found` */
export async function revokeToken(client: Client, id: string): Promise<void> {
  try {
    await secrets(client).delete(TOKEN_PREFIX + id, NAMESPACE)
  } catch (error) {
    if (hasCode(error, 'not-found')) throw new AppError('not-found', `revoke token "${id}": there is none with this id; see \`skerry token list\``, { cause: error })
    throw error
  }
}

/** Tokens as the join server reads them. */
export function tokenStore(client: Client): TokenStore {
  return {
    async get(id) {
      const secret = await find(client, TOKEN_PREFIX + id)
      return secret?.type === TOKEN_TYPE ? read(secret) : undefined
    },
    async markUsed(id, by) {
      const secret = await secrets(client).get(TOKEN_PREFIX + id, NAMESPACE)
      const former = secret.metadata?.annotations?.[USED_BY]
      const mine = JSON.stringify(by)
      if (former === mine) return
      if (former !== undefined) throw new AppError('conflict', `use token "${id}": it was used before`)
      // The resourceVersion read stays in the object: of two racing uses one gets a conflict.
      await secrets(client).update({ ...secret, metadata: { ...secret.metadata, annotations: { ...secret.metadata?.annotations, [USED_BY]: mine } } })
    },
  }
}

/** Joined nodes as the join server reads and writes them. */
export function nodeRecords(client: Client): NodeRecords {
  return {
    async get(node) {
      const secret = await find(client, NODE_PREFIX + node)
      return secret && text(secret, 'keyHash') !== '' ? readRecord(node, secret) : undefined
    },
    async put(record, former) {
      const data = { keyHash: b64(record.keyHash), machineId: b64(record.machineId), ...(record.revoked ? { revoked: b64('true') } : {}), ...(record.approved ? { approved: b64('true') } : {}) }
      const secret = await find(client, NODE_PREFIX + record.node)
      if (!secret) {
        if (former) throw new AppError('conflict', `record node "${record.node}": its former record is gone`)
        await secrets(client).create({ apiVersion: 'v1', kind: 'Secret', metadata: { name: NODE_PREFIX + record.node, namespace: NAMESPACE }, data })
        return
      }
      if (text(secret, 'keyHash') !== (former?.keyHash ?? '')) throw new AppError('conflict', `record node "${record.node}": it changed meanwhile`)
      const { [WAITING]: _, ...annotations } = secret.metadata?.annotations ?? {}
      await secrets(client).update({ ...secret, metadata: { ...secret.metadata, annotations }, data })
    },
    async noteWaiting(node, who) {
      const secret = await find(client, NODE_PREFIX + node)
      const mine = JSON.stringify(who)
      if (!secret || secret.metadata?.annotations?.[WAITING] === mine) return
      await secrets(client).update({ ...secret, metadata: { ...secret.metadata, annotations: { ...secret.metadata?.annotations, [WAITING]: mine } } })
    },
  }
}

/** Lets the next machine that asks for this name have it. @throws AppError `not-found` */
export async function approveNode(client: Client, node: string): Promise<void> {
  await changeRecord(client, node, (data) => ({ ...data, approved: b64('true'), revoked: b64('') }))
}

/** Refuses the node's identity from now on. @throws AppError `not-found` */
export async function revokeNode(client: Client, node: string): Promise<void> {
  await changeRecord(client, node, (data) => ({ ...data, revoked: b64('true'), approved: b64('') }))
}

async function changeRecord(client: Client, node: string, change: (data: Record<string, string>) => Record<string, string>): Promise<void> {
  const secret = await find(client, NODE_PREFIX + node)
  if (!secret) throw new AppError('not-found', `find node "${node}": no machine has joined under this name`)
  await secrets(client).update({ ...secret, data: change(secret.data ?? {}) })
}

function secrets(client: Client): ResourceClient<Secret> {
  return client.resource<Secret>(KINDS.Secret)
}

async function find(client: Client, name: string): Promise<Secret | undefined> {
  try {
    return await secrets(client).get(name, NAMESPACE)
  } catch (error) {
    if (hasCode(error, 'not-found')) return undefined
    throw error
  }
}

function read(secret: Secret): StoredToken {
  const expiration = text(secret, 'expiration')
  const annotations = secret.metadata?.annotations ?? {}
  const usedBy = annotations[USED_BY]
  return {
    id: text(secret, 'token-id'),
    secret: text(secret, 'token-secret'),
    expiresAtMs: expiration === '' ? undefined : Date.parse(expiration),
    node: annotations[NODE_ONLY],
    singleUse: annotations[SINGLE_USE] === 'true',
    usedBy: usedBy === undefined ? undefined : (JSON.parse(usedBy) as { node: string; keyHash: string }),
  }
}

/** The record of a joined node that this Secret holds; undefined when it is another Secret. */
export function nodeRecordOf(secret: Secret): NodeRecord | undefined {
  const name = secret.metadata?.name ?? ''
  return name.startsWith(NODE_PREFIX) && text(secret, 'keyHash') !== '' ? readRecord(name.slice(NODE_PREFIX.length), secret) : undefined
}

/** Where Secrets with records of nodes are, for a cache of them. */
export const NODE_RECORDS = { namespace: NAMESPACE, fieldSelector: 'type=Opaque' }

function readRecord(node: string, secret: Secret): NodeRecord {
  return {
    node,
    keyHash: text(secret, 'keyHash'),
    machineId: text(secret, 'machineId'),
    approved: text(secret, 'approved') === 'true',
    revoked: text(secret, 'revoked') === 'true',
  }
}
