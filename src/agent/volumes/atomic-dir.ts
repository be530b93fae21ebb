/**
 * A directory of files that changes all at once, as Kubernetes lays out configMap, secret, downwardAPI and projected
 * volumes: real files in `..<time>`, `..data` a link to it that is swapped by rename, and one link a top-level name.
 * A reader sees the old set or the new one, never a mix.
 */
import { createHash } from 'node:crypto'
import { chmod, chown, lstat, mkdir, readFile, readdir, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { AppError } from '../../base/errors.ts'

export interface VolumeFile {
  /** Relative path; checked: never absolute, no `..`. */
  readonly path: string
  readonly content: Buffer
  readonly mode: number
  /** Owner, where it is not root. */
  readonly uid?: number
}

const DATA = '..data'

/** What a directory was last written with, and how it lies there since. */
export interface Remembered {
  readonly digest: string
  readonly data: string
  readonly marks: string
}

/**
 * Makes `dir` show exactly `files`. Returns whether anything changed. `gid` makes them readable for that group. What `memory`
 * knows to be so is not read again: a first read of a file is a write to the disk, of the time it was read at.
 * @throws AppError `invalid` for a path that leaves the volume
 */
export async function writeAtomicDir(dir: string, files: readonly VolumeFile[], options: { gid?: number | undefined; stamp: string; memory?: Map<string, Remembered> | undefined }): Promise<boolean> {
  for (const f of files) checkPath(f.path)
  const { memory, gid } = options
  const digest = digestOf(files, gid)
  const known = memory?.get(dir)
  if (known?.digest === digest && known.marks === (await marksOf(dir, known.data, files).catch(() => undefined))) return false
  const [data, changed] = await write(dir, files, options)
  if (memory) {
    const marks = await marksOf(dir, data, files).catch(() => undefined) // Changed by somebody in this moment: looked at again.
    if (marks !== undefined) memory.set(dir, { digest, data, marks })
  }
  return changed
}

/** The data directory, and whether it had to be made. */
async function write(dir: string, files: readonly VolumeFile[], options: { gid?: number | undefined; stamp: string }): Promise<readonly [data: string, changed: boolean]> {
  await mkdir(dir, { recursive: true, mode: 0o755 })
  // Asked each minute of every volume: a chmod that changes nothing is a write to the disk all the same.
  if (((await stat(dir)).mode & 0o7777) !== 0o755) await chmod(dir, 0o755)
  const current = await readlink(join(dir, DATA)).catch(() => undefined)
  if (current !== undefined && (await same(join(dir, current), files, options.gid))) return [current, false]
  const name = `..${options.stamp}`
  await rm(join(dir, name), { recursive: true, force: true })
  await mkdir(join(dir, name), { mode: 0o755 })
  for (const f of files) {
    const path = join(dir, name, f.path)
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    await writeFile(path, f.content)
    const group = options.gid === undefined ? 0 : 0o440
    if (options.gid !== undefined || f.uid !== undefined) await chown(path, f.uid ?? 0, options.gid ?? 0)
    await chmod(path, f.mode | group)
  }
  const link = join(dir, `${DATA}_tmp`)
  await rm(link, { force: true })
  await symlink(name, link)
  await rename(link, join(dir, DATA))
  await linkTop(dir, files)
  if (current !== undefined && current !== name) await rm(join(dir, current), { recursive: true, force: true })
  return [name, true]
}

/** One link a top-level name; names that are no longer there go. */
async function linkTop(dir: string, files: readonly VolumeFile[]): Promise<void> {
  const wanted = new Set(files.map((f) => f.path.split('/')[0] as string))
  for (const name of await readdir(dir)) {
    if (!name.startsWith('..') && !wanted.has(name)) await rm(join(dir, name), { recursive: true, force: true })
  }
  for (const name of wanted) {
    const there = await lstat(join(dir, name)).catch(() => undefined)
    if (!there) await symlink(join(DATA, name), join(dir, name))
  }
}

function digestOf(files: readonly VolumeFile[], gid: number | undefined): string {
  const hash = createHash('sha256').update(`${gid}`)
  for (const f of files) hash.update(JSON.stringify([f.path, f.mode, f.uid, f.content.length])).update(f.content)
  return hash.digest('base64')
}

/** How link, directory and files lie there: none of this reads one. @throws when one is not there */
async function marksOf(dir: string, data: string, files: readonly VolumeFile[]): Promise<string> {
  const paths = [dir, join(dir, DATA), join(dir, data), ...files.map((f) => join(dir, data, f.path))]
  const hash = createHash('sha256')
  // One after another: the volumes of all pods are looked at in the same moment.
  for (const path of paths) {
    const { ino, mtimeMs, mode, uid, gid, size } = await lstat(path)
    hash.update(`${ino} ${mtimeMs} ${mode} ${uid} ${gid} ${size},`)
  }
  return hash.digest('base64')
}

async function same(dir: string, files: readonly VolumeFile[], gid: number | undefined): Promise<boolean> {
  const have = await walk(dir, '').catch(() => undefined)
  if (!have || have.length !== files.length) return false
  for (const f of files) {
    const content = await readFile(join(dir, f.path)).catch(() => undefined)
    if (!content?.equals(f.content)) return false
    const stat = await lstat(join(dir, f.path))
    if ((stat.mode & 0o777) !== ((f.mode | (gid === undefined ? 0 : 0o440)) & 0o777)) return false
  }
  return true
}

async function walk(root: string, at: string): Promise<string[]> {
  const out: string[] = []
  for (const e of await readdir(join(root, at), { withFileTypes: true })) {
    const path = at === '' ? e.name : `${at}/${e.name}`
    if (e.isDirectory()) out.push(...(await walk(root, path)))
    else out.push(path)
  }
  return out
}

function checkPath(path: string): void {
  if (path === '' || path.startsWith('/') || path.split('/').some((p) => p === '..' || p === '') || path.startsWith('..')) {
    throw new AppError('invalid', `write volume file: path "${path}" must be relative and stay inside the volume`)
  }
}
