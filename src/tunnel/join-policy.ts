/**
 * Who may have which name: pure decisions on joining and renewing. A name is bound to the key that first got it; the same
 * machine (its id) may bring a new key; anything else waits for a person's approval. Used by join-server.
 */
import { timingSafeEqual, createHash } from 'node:crypto'
import { AppError } from '../base/errors.ts'

/** The server has said, on a connection that proves it is ours, that a person revoked this node. */
export class RevokedError extends AppError {
  constructor(message: string) {
    super('forbidden', message)
    this.name = 'RevokedError'
  }
}

/** A token as the server keeps it. */
export interface StoredToken {
  readonly id: string
  readonly secret: string
  readonly expiresAtMs?: number | undefined
  /** The only name it may be used for. */
  readonly node?: string | undefined
  /** True: the first key that used it is the only one. */
  readonly singleUse: boolean
  readonly usedBy?: { readonly node: string; readonly keyHash: string } | undefined
}

/** What the server remembers of a joined node. */
export interface NodeRecord {
  readonly node: string
  /** sha256 of the public key (SPKI DER), hex. */
  readonly keyHash: string
  readonly machineId: string
  /** A person let the next machine of this name in; spent by the join it allows. */
  readonly approved?: boolean | undefined
  readonly revoked?: boolean | undefined
}

export interface JoinRequest {
  readonly node: string
  readonly keyHash: string
  /** May be empty: then it proves nothing. */
  readonly machineId: string
}

export type JoinDecision =
  | { readonly allow: true }
  | { readonly allow: false; readonly status: 401 | 403; readonly message: string; /** The name waits for a person's approval. */ readonly waits: boolean }

/** Decides a join. `token` is what is kept under the shown id, if anything; `secret` is what was shown. */
export function decideJoin(token: StoredToken | undefined, shownId: string, secret: string, request: JoinRequest, record: NodeRecord | undefined, now: number): JoinDecision {
  const refuse = (status: 401 | 403, message: string, waits = false): JoinDecision => ({ allow: false, status, message: `join as '${request.node}': ${message}`, waits })
  // One message for an unknown id and a wrong secret, so that ids cannot be probed.
  if (!token || !sameSecret(token.secret, secret)) return refuse(401, `token '${shownId}' is not known to this server (wrong, revoked or expired); make one with \`skerry token create\` on the server`)
  if (token.expiresAtMs !== undefined && now >= token.expiresAtMs) {
    return refuse(401, `token '${token.id}' expired at ${new Date(token.expiresAtMs).toISOString()}; make one with \`skerry token create\``)
  }
  if (token.node !== undefined && token.node !== request.node) return refuse(403, `token '${token.id}' is only for node '${token.node}'; use that name, or make another token`)
  const used = token.usedBy
  if (token.singleUse && used && (used.node !== request.node || used.keyHash !== request.keyHash)) {
    return refuse(401, `token '${token.id}' was used already, by node '${used.node}', and is good for one; make another with \`skerry token create\``)
  }
  if (!record) return { allow: true }
  if (record.revoked) return refuse(403, `the name was revoked; let it in again with \`skerry node approve ${request.node}\``)
  const sameMachine = record.keyHash === request.keyHash || (request.machineId !== '' && record.machineId === request.machineId)
  if (sameMachine || record.approved) return { allow: true }
  return refuse(403, `another machine has this name (machine id '${short(record.machineId)}', yours is '${short(request.machineId)}'); choose another name, or if this one replaces it run \`skerry node approve ${request.node}\` and join again`, true)
}

/** Decides a renewal by proof of key: the shown certificate's key must be the one the name is bound to. Dates do not matter. */
export function decideRenewal(node: string, certKeyHash: string, record: NodeRecord | undefined): { readonly allow: boolean; readonly message: string; /** A person has revoked it: the machine is to wipe itself. */ readonly revoked?: boolean } {
  const act = `renew the certificate of '${node}': `
  if (!record) return { allow: false, message: `${act}no such node has joined; join again with a token` }
  if (record.revoked && record.keyHash === certKeyHash) return { allow: false, revoked: true, message: `${act}it was revoked; let it in again with \`skerry node approve ${node}\`` }
  if (record.keyHash !== certKeyHash) return { allow: false, message: `${act}another machine has taken over this name; join again with a token` }
  return { allow: true, message: '' }
}

function sameSecret(a: string, b: string): boolean {
  const digest = (s: string): Buffer => createHash('sha256').update(s).digest()
  return timingSafeEqual(digest(a), digest(b))
}

/** Enough to tell two machines apart; what follows a machine id's 32 digits is the instance's data directory. */
function short(id: string): string {
  return id === '' ? 'none' : id.length > 32 ? `${id.slice(0, 12)}…${id.slice(32, 96)}` : id.slice(0, 12)
}
