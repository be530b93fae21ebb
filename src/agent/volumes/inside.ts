/** Reads a file that a pod wrote into its volume, without trusting the pod: no link leads out, nothing blocks, no size surprises. */
import { constants } from 'node:fs'
import { open, readlink, realpath } from 'node:fs/promises'
import { join, normalize } from 'node:path'
import { AppError } from '../../base/errors.ts'

/** A bigger file is no settings. */
const MAX_BYTES = 1 << 20

/** The text of the file; undefined when it is not there. @throws AppError `invalid` for what is no small file in the volume */
export async function readInside(root: string, path: string): Promise<string | undefined> {
  const no = (why: string): AppError => new AppError('invalid', `read "${path}" of the volume: ${why}`)
  if (path.startsWith('/') || normalize(path).split('/').includes('..')) throw no('it must be relative and stay inside the volume')
  const missing = (error: NodeJS.ErrnoException): undefined => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined
    throw no(`it cannot be opened (${error.code})`)
  }
  const base = await realpath(root)
  const target = await realpath(join(base, path)).catch(missing)
  if (target === undefined) return undefined
  if (!target.startsWith(`${base}/`)) throw no('a link leads out of the volume')
  // A pipe would wait for its writer: opened without waiting. What was opened is looked at again, for links change.
  const file = await open(target, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW).catch(missing)
  if (!file) return undefined
  try {
    const [real, seen] = [await readlink(`/proc/self/fd/${file.fd}`), await file.stat()]
    if (!real.startsWith(`${base}/`)) throw no('a link leads out of the volume')
    if (!seen.isFile()) throw no('it is not a file')
    if (seen.size > MAX_BYTES) throw no(`it has ${seen.size} bytes, more than ${MAX_BYTES}`)
    const bytes = Buffer.alloc(seen.size)
    const { bytesRead } = await file.read(bytes, 0, seen.size, 0)
    return bytes.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}
