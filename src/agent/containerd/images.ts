/**
 * Images beside CRI: import from an archive, and the record of image names that lets a node keep its images when
 * containerd's metadata is lost: names and digests in `images.json` (small, rewritten only when they change), contents
 * in the moved-aside content store. Used by the containerd supervisor.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { command } from './command.ts'

const log = logger('agent.containerd')
const IMPORT_TIMEOUT_MS = 30 * 60_000
const CONTENT = 'io.containerd.content.v1.content/blobs/sha256'

/** @returns the references the archive brought. @throws AppError `internal` with ctr's words, `not-found` */
export async function importImage(ctr: string, address: string, tarPath: string, signal?: AbortSignal): Promise<readonly string[]> {
  if (!existsSync(tarPath)) throw new AppError('not-found', `import image: file "${tarPath}" does not exist`)
  const out = await command(ctr, ['-a', address, '-n', 'k8s.io', 'images', 'import', '--snapshotter', 'overlayfs', tarPath], {
    timeoutMs: IMPORT_TIMEOUT_MS,
    ...(signal && { signal }),
  })
  return [...out.matchAll(/^unpacking (\S+) \(sha256:/gm)].map((m) => m[1] as string)
}

export interface Remembered {
  readonly name: string
  /** Of the manifest or index, `sha256:…`. */
  readonly digest: string
}

/** Writes down which names the images have; does nothing when that is on disk already. */
export async function rememberImages(ctr: string, address: string, root: string): Promise<void> {
  const path = join(root, 'images.json')
  const text = JSON.stringify(parseImageList(await command(ctr, ['-a', address, '-n', 'k8s.io', 'images', 'list'])))
  const former = await readFile(path, 'utf8').catch(() => '')
  if (text !== former) await writeFileAtomic(path, text)
}

/** Named images in the table `ctr images list` prints: reference, media type, digest, … CRI's list lacks the digest of imported ones. */
export function parseImageList(table: string): Remembered[] {
  return table
    .split('\n')
    .map((line) => line.split(/\s+/))
    .filter(([name, , digest]) => digest?.startsWith('sha256:') && !name?.startsWith('sha256:'))
    .map(([name, , digest]) => ({ name: name as string, digest: digest as string }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Imports what is still whole in a moved-aside root. A failure loses that image alone. */
export async function restoreImages(options: { ctr: string; address: string; damagedRoot: string; signal: AbortSignal }): Promise<void> {
  const text = await readFile(join(options.damagedRoot, 'images.json'), 'utf8').catch(() => '[]')
  const work = join(options.damagedRoot, 'restore')
  for (const image of JSON.parse(text) as Remembered[]) {
    try {
      const blobs = join(options.damagedRoot, CONTENT)
      const manifest = await readFile(join(blobs, image.digest.slice('sha256:'.length)), 'utf8')
      const mediaType = (JSON.parse(manifest) as { mediaType?: string }).mediaType ?? 'application/vnd.oci.image.manifest.v1+json'
      const descriptor = { mediaType, digest: image.digest, size: Buffer.byteLength(manifest), annotations: { 'io.containerd.image.name': image.name } }
      await rm(work, { recursive: true, force: true })
      await mkdir(join(work, 'blobs/sha256'), { recursive: true })
      await writeFile(join(work, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
      await writeFile(join(work, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }))
      for (const digest of await closure(blobs, image.digest)) await symlink(join(blobs, digest), join(work, 'blobs/sha256', digest))
      const archive = join(options.damagedRoot, 'restore.tar')
      await command('tar', ['-chf', archive, '-C', work, 'oci-layout', 'index.json', 'blobs'], { timeoutMs: IMPORT_TIMEOUT_MS, signal: options.signal })
      await importImage(options.ctr, options.address, archive, options.signal)
      await rm(archive, { force: true })
      log.info('image restored from the damaged store', { image: image.name })
    } catch (error) {
      options.signal.throwIfAborted()
      log.warn('image not restored, it must be pulled or imported again', { image: image.name, error })
    }
  }
  await rm(work, { recursive: true, force: true })
  // The contents have served; what is left is small and tells what happened.
  for (const name of await readdir(options.damagedRoot)) {
    if (/content|snapshotter/.test(name)) await rm(join(options.damagedRoot, name), { recursive: true, force: true })
  }
}

/** Digests (hex) of all blobs under a manifest or index that are present. */
async function closure(blobs: string, digest: string, depth = 0): Promise<Set<string>> {
  const hex = digest.slice('sha256:'.length)
  const found = new Set<string>()
  if (!existsSync(join(blobs, hex)) || depth > 3) return found
  found.add(hex)
  interface Descriptor { readonly digest: string; readonly mediaType: string }
  interface Node { readonly manifests?: Descriptor[]; readonly config?: Descriptor; readonly layers?: Descriptor[] }
  const node = JSON.parse(await readFile(join(blobs, hex), 'utf8')) as Node
  for (const d of [...(node.layers ?? []), ...(node.config ? [node.config] : [])]) if (existsSync(join(blobs, d.digest.slice(7)))) found.add(d.digest.slice(7))
  for (const d of node.manifests ?? []) for (const x of await closure(blobs, d.digest, depth + 1)) found.add(x)
  return found
}
