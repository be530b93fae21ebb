/**
 * Secrets at rest: AES-256-GCM under one key of the node, and where that key is. Best is a place that a thief of the disk has
 * not got: a file on other media (`--seal-key-file`), or this machine's TPM (by systemd-creds). Without one the key lies
 * beside the data, which only keeps secrets out of copies of single files; the node says so in its conditions.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { readFileIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { findProgram, tryCommand } from '../containerd/command.ts'
import type { Seal } from '../ports.ts'

const log = logger('agent.seal')
/** First bytes of what is sealed; what begins otherwise was written before there was a key, and is read as it is. */
const MAGIC = Buffer.from('SKS1')
/** In the agent's directory: where the key is. Always there. */
export const SEAL_NOTE = 'seal.json'
const NONCE = 12
const TAG = 16
const KEY = 32
const CREDENTIAL = 'skerry-seal'
/** A TPM answers in a fraction of a second; one that hangs must not hold up a boot, ms. */
const TPM_MS = 15_000

/** Seals under a key of 32 bytes. @throws AppError `corrupt` from `open` for another key or changed bytes */
export function createSeal(key: Uint8Array): Seal {
  return {
    seal(plain) {
      const nonce = randomBytes(NONCE)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      const body = Buffer.concat([cipher.update(plain), cipher.final()])
      return Buffer.concat([MAGIC, nonce, cipher.getAuthTag(), body])
    },
    open(sealed) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength)
      if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return bytes
      try {
        const at = MAGIC.length + NONCE
        const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(MAGIC.length, at), { authTagLength: TAG })
        decipher.setAuthTag(bytes.subarray(at, at + TAG))
        return Buffer.concat([decipher.update(bytes.subarray(at + TAG)), decipher.final()])
      } catch (cause) {
        throw new AppError('corrupt', 'open sealed bytes: they were sealed with another key, or changed since', { cause })
      }
    },
  }
}

type Place = 'file' | 'tpm' | 'beside'

export interface Sealing {
  readonly seal: Seal
  /** The key is not on the disk that holds what it seals. */
  readonly apart: boolean
  /** Where the key is, for people. */
  readonly message: string
}

/** The machine's offer of a TPM; the real one runs `systemd-creds`. */
export interface Tpm {
  present(): Promise<boolean>
  /** @throws AppError */
  encrypt(key: Uint8Array): Promise<string>
  /** @throws AppError */
  decrypt(credential: string): Promise<Buffer>
}

export interface SealingOptions {
  /** The agent's directory. */
  readonly directory: string
  /** A file on other media; made the first time. */
  readonly keyFile: string | undefined
  /** @default systemd-creds with a TPM 2.0 */
  readonly tpm?: Tpm
}

/**
 * The node's key: the one it has, or a new one in the best place there is. A `keyFile` given later takes over the present key.
 * @throws AppError `unavailable` when the key's medium is not there, `corrupt` for another key than the one that sealed the data
 */
export async function openSealing(options: SealingOptions): Promise<Sealing> {
  const { directory, keyFile, tpm = systemdCreds } = options
  const note = await readNote(directory)
  let key = note ? await readKey(note.place, options, tpm) : undefined
  if (note && key && idOf(key) !== note.id) {
    throw new AppError('corrupt', `open the seal key (${whereOf(note.place, options)}): it is another than the one that sealed this node's data: give the right one, or move "${directory}" away and join again`)
  }
  let place: Place
  if (keyFile !== undefined) place = 'file'
  else if (note?.place === 'file') throw new AppError('unavailable', 'open the seal key: it is in a file on other media: start with --seal-key-file')
  else place = note?.place ?? ((await tpm.present()) ? 'tpm' : 'beside')
  if (!key || note?.place !== place) {
    const fresh = key === undefined
    key ??= randomBytes(KEY)
    place = await writeKey(place, key, options, tpm, fresh)
    await writeFileAtomic(join(directory, SEAL_NOTE), JSON.stringify({ place, id: idOf(key) }))
    if (note && note.place !== place) await forgetKey(note.place, directory)
    log.info('seal key made', { place, apart: place !== 'beside' })
  }
  const apart = place !== 'beside'
  const message = apart ? `the key is in ${whereOf(place, options)}` : 'the key is beside the data it seals, as this machine offers no TPM: give --seal-key-file on other media'
  return { seal: createSeal(key), apart, message }
}

const idOf = (key: Uint8Array): string => createHash('sha256').update('skerry seal key').update(key).digest('hex').slice(0, 16)

function whereOf(place: Place, { directory, keyFile }: SealingOptions): string {
  return place === 'tpm' ? "this machine's TPM" : `"${place === 'file' ? keyFile : join(directory, 'seal.key')}"`
}

async function readNote(directory: string): Promise<{ place: Place; id: string } | undefined> {
  const path = join(directory, SEAL_NOTE)
  const text = await readFileIfAny(path)
  if (text === undefined) return undefined
  try {
    const { place, id } = JSON.parse(text) as { place?: unknown; id?: unknown }
    if ((place === 'file' || place === 'tpm' || place === 'beside') && typeof id === 'string') return { place, id }
  } catch {
    // told below
  }
  throw new AppError('corrupt', `read where the seal key is: "${path}" is damaged: move "${directory}" away and join again`)
}

/** The key where it was put. @throws AppError `unavailable`, `corrupt` */
async function readKey(place: Place, options: SealingOptions, tpm: Tpm): Promise<Buffer> {
  const { directory, keyFile } = options
  if (place === 'tpm') return await tpm.decrypt(join(directory, 'seal.cred'))
  if (place === 'file' && keyFile === undefined) throw new AppError('unavailable', 'open the seal key: it is in a file on other media: start with --seal-key-file')
  const path = place === 'file' ? (keyFile as string) : join(directory, 'seal.key')
  let key: Buffer
  try {
    key = await readFile(path)
  } catch (cause) {
    throw new AppError('unavailable', `open the seal key "${path}": ${messageOf(cause)}: put its medium back, or move "${directory}" away and join again`)
  }
  if (key.length !== KEY) throw new AppError('corrupt', `open the seal key "${path}": it has ${key.length} bytes, expected ${KEY}: give the right file`)
  return key
}

/** Puts the key in its place. A TPM that fails the first time is as good as none. */
async function writeKey(place: Place, key: Uint8Array, options: SealingOptions, tpm: Tpm, fresh: boolean): Promise<Place> {
  const { directory, keyFile } = options
  if (place === 'tpm') {
    try {
      await writeFileAtomic(join(directory, 'seal.cred'), await tpm.encrypt(key))
      const back = await tpm.decrypt(join(directory, 'seal.cred'))
      if (back.equals(key)) return 'tpm'
      log.warn('the TPM gave back another key than it got, going without')
    } catch (error) {
      log.warn('the TPM is not usable, going without', { why: messageOf(error) })
    }
    await rm(join(directory, 'seal.cred'), { force: true })
    place = 'beside'
  }
  const path = place === 'file' ? (keyFile as string) : join(directory, 'seal.key')
  const there = place === 'file' ? await readFile(path).catch(() => undefined) : undefined
  if (there && !there.equals(key)) throw new AppError('exists', `write the seal key "${path}": another file is there${fresh ? ', of another node or life' : ''}: give a path that is free`)
  try {
    await writeFileAtomic(path, key)
  } catch (cause) {
    throw new AppError('unavailable', `write the seal key "${path}": ${messageOf(cause)}: its directory must be there and writable`, { cause })
  }
  return place
}

async function forgetKey(place: Place, directory: string): Promise<void> {
  if (place !== 'file') await rm(join(directory, place === 'tpm' ? 'seal.cred' : 'seal.key'), { force: true })
}

/** systemd-creds with a TPM 2.0; its host key alone would lie on the same disk, so it does not count. */
const systemdCreds: Tpm = {
  async present() {
    const program = findProgram('systemd-creds')
    if (program === undefined) return false
    return (await tryCommand(program, ['has-tpm2', '--quiet'], { timeoutMs: TPM_MS }).catch(() => ({ code: 1 }))).code === 0
  },
  async encrypt(key) {
    const r = await tryCommand(findProgram('systemd-creds') ?? 'systemd-creds', ['--with-key=tpm2', `--name=${CREDENTIAL}`, 'encrypt', '-', '-'], { input: Buffer.from(key).toString('base64'), timeoutMs: TPM_MS })
    if (r.code !== 0) throw new AppError('unavailable', `seal the key in the TPM: systemd-creds: ${r.stderr.trim()}`)
    return r.stdout
  },
  async decrypt(path) {
    const r = await tryCommand(findProgram('systemd-creds') ?? 'systemd-creds', [`--name=${CREDENTIAL}`, 'decrypt', path, '-'], { timeoutMs: TPM_MS })
    if (r.code !== 0) throw new AppError('unavailable', `open the seal key by the TPM: systemd-creds: ${r.stderr.trim()}: if the machine's board was changed, move the agent's directory away and join again`)
    return Buffer.from(r.stdout.trim(), 'base64')
  },
}
