/** Files that are either the old or the new content after a power loss, never a torn mix. */
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { randomBytes } from 'node:crypto'

export interface AtomicOptions {
  /** @default 0o600 */
  readonly mode?: number
  /** Sync file and directory before returning, so that the content survives power loss. @default true */
  readonly sync?: boolean
}

/** Writes `data` beside `path`, syncs it, and renames it over `path`. Makes the directory if it is missing (mode 0700). */
export async function writeFileAtomic(path: string, data: string | Uint8Array, options: AtomicOptions = {}): Promise<void> {
  const dir = dirname(path)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const temporary = join(dir, `.${randomBytes(6).toString('hex')}.tmp`)
  try {
    const file = await open(temporary, 'wx', options.mode ?? 0o600)
    try {
      await file.writeFile(data)
      if (options.sync !== false) await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  if (options.sync !== false) await syncDirectory(dir)
}

/** Whether the disk itself refused a write: it is full, over its quota, or read-only. */
export function isDiskRefusal(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EROFS'].includes((error as NodeJS.ErrnoException | undefined)?.code ?? '')
}

/** The text of a file that need not be there. @throws the file system's error when it is there and cannot be read */
export async function readFileIfAny(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** JSON of a file that need not be there; undefined also for one that is torn: what stands in it can be found anew. */
export async function readJsonIfAny<T>(path: string): Promise<T | undefined> {
  const text = await readFileIfAny(path)
  try {
    return text === undefined ? undefined : (JSON.parse(text) as T)
  } catch {
    return undefined
  }
}

/** Makes a rename or unlink in `dir` durable. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
