/**
 * What a node keeps of itself: its name, server, key, certificate and the CA it trusts, in one file under the data directory.
 * Made by joining; a node that has it needs neither token nor server to start.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Seal } from '../../agent/mod.ts'
import { PATHS } from '../../api/contract.ts'
import { readFileIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { createKey } from '../../base/pki.ts'
import { retry, type RetrySchedule } from '../../base/retry.ts'
import { joinCluster, parseServer, parseToken } from '../../tunnel/mod.ts'
import type { NodeConfig } from './server.ts'

const log = logger('agent.join')
/** While nobody answers, tries go on for ever; a refusal ends them at once. */
const JOIN_SCHEDULE: RetrySchedule = { firstMs: 500, factor: 2, maxMs: 15_000, jitter: 0.5 }

export interface NodeIdentity {
  readonly node: string
  /** The address that it was given. */
  readonly server: string
  /** Addresses of all servers of the cluster, as one of them told. */
  readonly servers?: readonly string[]
  readonly keyPem: string
  readonly certPem: string
  readonly caPem: string
  readonly config: NodeConfig
}

export interface JoinSettings {
  readonly dataDir: string
  readonly seal: Seal
  readonly nodeName: string
  readonly server: string | undefined
  readonly token: (() => Promise<string>) | undefined
  readonly proxy?: ((server: string) => string | undefined) | undefined
}

const fileOf = (dataDir: string): string => join(dataDir, 'agent/identity.json')

/** The name that this machine has joined under. @throws AppError `corrupt` as {@link loadNodeIdentity} */
export async function joinedName(dataDir: string): Promise<string | undefined> {
  return (await readIdentity(dataDir))?.node
}

/** @throws AppError `corrupt` when the file is there but no identity, or sealed with another key; the way out is in the message */
export async function loadNodeIdentity(dataDir: string, seal: Seal): Promise<NodeIdentity | undefined> {
  const value = await readIdentity(dataDir)
  if (value === undefined || 'keyPem' in value) return value
  const secret = JSON.parse(Buffer.from(seal.open(Buffer.from(value.sealed, 'base64'))).toString()) as Pick<NodeIdentity, 'servers' | 'keyPem' | 'certPem' | 'caPem' | 'config'>
  return { node: value.node, server: value.server, ...secret }
}

/** On disk: name and server for people, the rest sealed; all of it plain when it was written before there was a key. */
async function readIdentity(dataDir: string): Promise<NodeIdentity | { readonly node: string; readonly server: string; readonly sealed: string } | undefined> {
  const path = fileOf(dataDir)
  const text = await readFileIfAny(path)
  if (text === undefined) return undefined
  try {
    const value = JSON.parse(text) as Partial<NodeIdentity> & { sealed?: unknown }
    if (value.node && value.server && typeof value.sealed === 'string') return { node: value.node, server: value.server, sealed: value.sealed }
    if (value.node && value.server && value.keyPem && value.certPem && value.caPem) return value as NodeIdentity
  } catch {
    // told below
  }
  throw new AppError('corrupt', `read node identity: "${path}" is damaged: move it away and join again with a token`)
}

/** Writes the identity whole or not at all, fsynced, mode 0600: after a power loss it is the former one or this one. @throws the file system's error */
export async function saveNodeIdentity(dataDir: string, identity: NodeIdentity, seal: Seal): Promise<void> {
  const { node, server, ...secret } = identity
  const sealed = Buffer.from(seal.seal(Buffer.from(JSON.stringify(secret)))).toString('base64')
  await writeFileAtomic(fileOf(dataDir), JSON.stringify({ node, server, sealed }))
}

/**
 * The node's identity: the one it has, or a new one by joining.
 * @throws AppError when there is none and no server or token was given, or the server refuses
 */
export async function ensureNodeIdentity(settings: JoinSettings, clock: Clock, signal: AbortSignal): Promise<NodeIdentity> {
  const known = await loadNodeIdentity(settings.dataDir, settings.seal)
  if (known) {
    if (known.node !== settings.nodeName) {
      throw new AppError('invalid', `start agent as "${settings.nodeName}": this machine has joined as "${known.node}" ("${fileOf(settings.dataDir)}"): use that name, or another --data-dir`)
    }
    // The server may have moved; who it is was settled by joining.
    if (settings.server === undefined || settings.server === known.server) {
      const read = await readIdentity(settings.dataDir)
      if (read && 'keyPem' in read) await saveNodeIdentity(settings.dataDir, known, settings.seal)
      return known
    }
    parseServer(settings.server)
    const moved = { ...known, server: settings.server }
    await saveNodeIdentity(settings.dataDir, moved, settings.seal)
    return moved
  }
  const { server } = settings
  if (server === undefined || settings.token === undefined) {
    throw new AppError('invalid', `start agent: this machine has not joined yet and ${server === undefined ? '--server' : '--token'} is missing: run \`skerry token create\` on the server, then \`skerry agent --server https://HOST:6443 --token TOKEN\` here`)
  }
  const token = parseToken(await settings.token())
  parseServer(server)
  // The key is made once and kept before anything is sent, so that a second try is known as the same machine.
  const keyPath = join(settings.dataDir, 'agent/joining.key')
  let keyPem = await readFile(keyPath, 'utf8').catch(() => undefined)
  if (keyPem === undefined) {
    keyPem = (await createKey()).keyPem
    await writeFileAtomic(keyPath, keyPem)
  }
  const key = keyPem
  const machineId = (await readFile('/etc/machine-id', 'utf8').catch(() => '')).trim()
  const joined = await retry(
    () =>
      joinCluster({
        server,
        paths: PATHS,
        clock,
        token,
        node: settings.nodeName,
        // Several instances on one machine are several machines: the data directory tells them apart.
        machineId: machineId === '' ? '' : `${machineId}${settings.dataDir}`,
        keyPem: key,
        signal,
        ...(settings.proxy ? { proxy: settings.proxy(server) } : {}),
      }),
    { schedule: JOIN_SCHEDULE, clock, signal, onRetry: (error, waitMs) => log.warn('joining failed, trying again', { server, why: messageOf(error), waitMs: Math.round(waitMs) }) },
  )
  const config = joined.config as NodeConfig
  const identity: NodeIdentity = { node: settings.nodeName, server, ...(config.servers ? { servers: config.servers } : {}), keyPem: joined.keyPem, certPem: joined.certPem, caPem: joined.caPem, config }
  await saveNodeIdentity(settings.dataDir, identity, settings.seal)
  await rm(keyPath, { force: true }) // the identity has it, sealed
  log.info('joined', { node: settings.nodeName, server })
  return identity
}
