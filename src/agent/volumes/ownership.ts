/** `fsGroup`: a volume's files belong to the pod's group, as Kubernetes sets it: group may read and write, directories pass it on. */
import { chmod, lchown, lstat, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

const FILE_BITS = 0o660
const DIRECTORY_BITS = 0o2770

/**
 * Gives everything under `path` to the group, once: `mark` is a file that says it was done, so that a restarted agent does not walk
 * large volumes again. With the policy `OnRootMismatch` nothing is walked when the root is right already.
 */
export async function setOwnership(path: string, gid: number, policy: string | undefined, mark: string): Promise<void> {
  if (await stat(mark).catch(() => undefined)) return
  const root = await stat(path)
  const right = root.gid === gid && (root.mode & DIRECTORY_BITS) === DIRECTORY_BITS
  if (policy !== 'OnRootMismatch' || !right) await give(path, gid)
  await mkdir(dirname(mark), { recursive: true, mode: 0o750 })
  await writeFile(mark, '')
}

/** The root last: cut short, it is still wrong, so that the next run begins again. */
async function give(path: string, gid: number): Promise<void> {
  const seen = await lstat(path)
  if (seen.isDirectory()) for (const name of await readdir(path)) await give(join(path, name), gid)
  await lchown(path, seen.uid, gid)
  if (!seen.isSymbolicLink()) await chmod(path, (seen.mode & 0o7777) | (seen.isDirectory() ? DIRECTORY_BITS : FILE_BITS))
}
