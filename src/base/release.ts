/**
 * What a program consists of: `release.json` at its root names every other file with its SHA-256. The digest of that file is the
 * release's id, so that one number tells whether a program is the one that was offered, whole and unchanged.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { AppError } from './errors.ts'

/** The file at a program's root. */
export const RELEASE_FILE = 'release.json'

export interface Release {
  readonly version: string
  /** As `process.arch` says it. */
  readonly arch: string
  /** SHA-256 in hex by path below the root, the release file itself left out. */
  readonly files: Readonly<Record<string, string>>
}

/** What a server offers. */
export interface Offer {
  readonly version: string
  readonly arch: string
  /** See {@link releaseId}. */
  readonly id: string
}

/** The text of {@link RELEASE_FILE} for the program below `root`; the same for the same files, wherever and whenever it is made. */
export async function describeRelease(root: string, what: { readonly version: string; readonly arch: string }): Promise<string> {
  const files: Record<string, string> = {}
  for (const path of (await filesBelow(root)).filter((p) => p !== RELEASE_FILE).sort()) files[path] = await digest(join(root, path))
  return `${JSON.stringify({ version: what.version, arch: what.arch, files } satisfies Release)}\n`
}

/** SHA-256 in hex of a release file's text. */
export function releaseId(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** The id of the program below `root`, by its release file alone; undefined when it has none, like a checkout. */
export async function idOf(root: string): Promise<string | undefined> {
  const text = await readFile(join(root, RELEASE_FILE), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : releaseId(text)
}

/** @throws AppError `corrupt` naming what differs from the release that was offered */
export async function checkRelease(root: string, id: string): Promise<Release> {
  const act = `check the program in ${root}`
  const text = await readFile(join(root, RELEASE_FILE), 'utf8').catch((cause: unknown) => {
    throw new AppError('corrupt', `${act}: it has no ${RELEASE_FILE}`, { cause })
  })
  if (releaseId(text) !== id) throw new AppError('corrupt', `${act}: it is release ${releaseId(text).slice(0, 12)}, offered was ${id.slice(0, 12)}`)
  const release = JSON.parse(text) as Release
  const there = new Set((await filesBelow(root)).filter((p) => p !== RELEASE_FILE))
  for (const [path, want] of Object.entries(release.files)) {
    if (!there.delete(path)) throw new AppError('corrupt', `${act}: file ${path} is missing`)
    if ((await digest(join(root, path))) !== want) throw new AppError('corrupt', `${act}: file ${path} is not the one that was offered`)
  }
  const [more] = there
  if (more !== undefined) throw new AppError('corrupt', `${act}: file ${more} does not belong to it`)
  return release
}

async function filesBelow(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries.filter((e) => !e.isDirectory()).map((e) => relative(root, join(e.parentPath, e.name)))
}

async function digest(path: string): Promise<string> {
  // A link could lead out of the program.
  if (!(await lstat(path)).isFile()) throw new AppError('corrupt', `check the program: ${path} is not a plain file`)
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}
