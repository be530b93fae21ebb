/**
 * Another CA, another key for service-account tokens, and the end of former ones, for servers that share an identity. No call may
 * fail meanwhile, so what is new is trusted by all before anybody signs with it: `skerry certificate …` leaves a request as a file,
 * the server that finds it puts the new key into the common record as the next one; each server takes that up and announces it
 * beside its address; once all that live say the same, the next one becomes the one that signs.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { caHash, createCa, createKey, crossSign, publicKeyOf, splitPem } from '../../base/pki.ts'
import { logger } from '../../base/log.ts'
import type { StoreRecords } from '../../store/mod.ts'
import { CA_YEARS, keysOf, tlsDir, type ServerIdentity } from './identity.ts'
import { changeCommon, writeCommon, type Common } from './shared-identity.ts'

const log = logger('server.identity')

/** What can be asked of servers that share an identity. */
const REQUESTS = ['rotate-ca', 'rotate-service-account-key', 'retire'] as const
export type RotationRequest = (typeof REQUESTS)[number]

const requestPath = (dataDir: string, request: RotationRequest): string => join(tlsDir(dataDir), `requested-${request}`)

/** Leaves a request for the server of this data directory, at once or when it starts. */
export async function requestRotation(dataDir: string, request: RotationRequest): Promise<void> {
  await writeFileAtomic(requestPath(dataDir, request), '')
}

/** What a server announces of its identity: the same for all that trust and sign with the same. */
export function digestOf({ caBundle, serviceAccount }: ServerIdentity): string {
  return createHash('sha256').update(JSON.stringify([caBundle, serviceAccount.publicKeyPem, serviceAccount.formerPublicKeysPem])).digest('base64url').slice(0, 22)
}

export interface Rotation {
  readonly dataDir: string
  readonly records: StoreRecords
  /** What this server uses now. */
  readonly current: () => ServerIdentity
  /** What the other living servers announce; undefined of one that announces nothing. */
  readonly others: () => readonly (string | undefined)[]
}

/**
 * One step: fulfils requests, lets what is next sign when all trust it, and brings the files up to the record.
 * @returns true while something is next, so that it is looked at again soon
 */
export async function rotateShared({ dataDir, records, current, others }: Rotation): Promise<boolean> {
  const requests = REQUESTS.filter((request) => existsSync(requestPath(dataDir, request)))
  const digest = digestOf(current())
  const agreed = others().every((said) => said === digest)
  const common = await changeCommon(dataDir, records, async (now) => {
    const asked = await staged(now, requests)
    return agreed && isTrusted(asked, current()) ? promoted(asked) : asked
  })
  await writeCommon(dataDir, common)
  for (const request of requests) await rm(requestPath(dataDir, request), { force: true })
  if (requests.length > 0) log.info('asked of all servers', { requests: requests.join(' ') })
  return isUnderWay(common)
}

function isUnderWay(common: Common): boolean {
  return common['ca-next.crt'] !== undefined || common['service-account-next.key'] !== undefined
}

/** The record with the requests fulfilled as far as one server can; what is next already is what was asked for. */
async function staged(now: Common, requests: readonly RotationRequest[]): Promise<Common> {
  let next = now
  if (requests.includes('rotate-ca') && now['ca-next.crt'] === undefined) {
    const { certPem, keyPem } = await createCa({ cn: `skerry-ca@${Math.floor(Date.now() / 1000)}`, years: CA_YEARS })
    next = { ...next, 'ca-next.crt': certPem, 'ca-next.key': keyPem }
  }
  if (requests.includes('rotate-service-account-key') && now['service-account-next.key'] === undefined) {
    next = { ...next, 'service-account-next.key': (await createKey()).keyPem }
  }
  return requests.includes('retire') ? retired(next) : next
}

/** Ends the trust in what was before; what is next stays. */
function retired(now: Common): Common {
  const { 'ca-former.crt': former = '', 'ca-cross.crt': _cross, ...rest } = now
  const past = [...splitPem(former).map(caHash), ...(now.past ?? [])].slice(0, MAX_PAST)
  return { ...rest, past, 'service-account.key': keysOf(now['service-account.key'])[0] ?? '' }
}

/** CAs that are remembered by their fingerprint. */
const MAX_PAST = 32

/** True when this server itself trusts all that is next. */
function isTrusted(common: Common, identity: ServerIdentity): boolean {
  const [ca, key] = [common['ca-next.crt'], common['service-account-next.key']]
  if (!isUnderWay(common)) return false
  return (ca === undefined || identity.caBundle.includes(ca.trim())) && (key === undefined || identity.serviceAccount.formerPublicKeysPem.includes(publicKeyOf(key)))
}

/** The record after what was next became what signs. */
async function promoted(now: Common): Promise<Common> {
  const { 'ca-next.crt': ca, 'ca-next.key': caKey, 'service-account-next.key': key, ...rest } = now
  let next: Common = rest
  if (ca !== undefined && caKey !== undefined) {
    const cross = await crossSign({ root: ca, by: { certPem: now['ca.crt'], keyPem: now['ca.key'] } })
    next = { ...next, 'ca.crt': ca, 'ca.key': caKey, 'ca-former.crt': now['ca.crt'] + (now['ca-former.crt'] ?? ''), 'ca-cross.crt': cross + (now['ca-cross.crt'] ?? '') }
  }
  if (key !== undefined) next = { ...next, 'service-account.key': key + now['service-account.key'] }
  return next
}
