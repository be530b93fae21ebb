/**
 * Attachments as files named by their SHA-256, so the same bytes are kept once. A file is synced before the record that
 * names it is committed, and removed after the last such record is. Synchronous: runs in the storage thread, which is
 * the only one to write here; the HTTP side only opens files for reading.
 */
import { createHash, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Where the bytes with this hash are. */
export function attachmentPath(directory: string, sha256: string): string {
  return join(directory, sha256.slice(0, 2), sha256)
}

/** Keeps `bytes`, durably. @returns their hash */
export function keepAttachment(directory: string, bytes: Uint8Array): string {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const path = attachmentPath(directory, sha256)
  if (statSync(path, { throwIfNoEntry: false })?.size === bytes.length) return sha256
  const folder = join(directory, sha256.slice(0, 2))
  if (mkdirSync(folder, { recursive: true, mode: 0o700 }) !== undefined) sync(directory)
  const temporary = join(folder, `.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const file = openSync(temporary, 'wx', 0o600)
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
  sync(folder)
  return sha256
}

/** Removes the file of a hash; nothing when there is none. */
export function removeAttachment(directory: string, sha256: string): void {
  rmSync(attachmentPath(directory, sha256), { force: true })
}

/** Removes files that no record names: what a crash left between the sync of a file and the commit of its record. */
export function removeStrays(directory: string, known: (sha256: string) => boolean): number {
  let removed = 0
  for (const folder of readdirSync(directory)) {
    for (const name of readdirSync(join(directory, folder))) {
      if (/^[0-9a-f]{64}$/.test(name) && known(name)) continue
      rmSync(join(directory, folder, name), { force: true })
      removed++
    }
  }
  return removed
}

/** Makes what was created or renamed in `path` durable. */
function sync(path: string): void {
  const handle = openSync(path, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
