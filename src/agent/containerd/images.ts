/**
 * Images beside CRI: import from an archive, and the record of image names that lets a node keep its images when
 * containerd's metadata is lost: names and digests in `images.json` (small, rewritten only when they change), contents
 * in the moved-aside content store. Used by the containerd supervisor.
 */
import { createReadStream, existsSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Transform } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { command } from './command.ts'

const log = logger('agent.containerd')
const IMPORT_TIMEOUT_MS = 30 * 60_000
/** What a tar ends with at least: two empty blocks. */
const TAR_END = 1024
const CONTENT = 'io.containerd.content.v1.content/blobs/sha256'

/**
 * Imports an OCI or docker archive: a tar, also compressed with gzip or zstd.
 * @returns the references it brought. @throws AppError `corrupt` for one that is torn or only half copied, `not-found`, `internal` with ctr's words
 */
export async function importImage(ctr: string, address: string, tarPath: string, signal?: AbortSignal): Promise<readonly string[]> {
  const head = await firstBytes(tarPath)
  if (head.length === 0 || (unpacker(head) === undefined && !(await endsAsTar(tarPath)))) {
    throw new AppError('corrupt', `import image "${tarPath}": it is torn or not wholly copied yet: a tar ends with 1024 zero bytes, this one does not; copy it again`)
  }
  const broken = new AbortController()
  const unpack = unpacker(head)
  const source = createReadStream(tarPath)
  const plain = unpack ? source.pipe(unpack) : source
  let fault: unknown
  for (const stream of [source, plain]) {
    stream.on('error', (error: Error) => {
      fault ??= error
      broken.abort()
    })
  }
  try {
    const out = await command(ctr, ['-a', address, '-n', 'k8s.io', 'images', 'import', '--snapshotter', 'overlayfs', '-'], {
      timeoutMs: IMPORT_TIMEOUT_MS,
      input: plain,
      signal: signal ? AbortSignal.any([signal, broken.signal]) : broken.signal,
    })
    return importedNames(out)
  } catch (error) {
    if (fault === undefined) throw error
    throw new AppError('corrupt', `import image "${tarPath}": it is torn or not wholly copied yet (${messageOf(fault)}): copy it again`, { cause: error })
  } finally {
    source.destroy()
    unpack?.destroy()
  }
}

/** What `ctr images import` says it brought: by 1.6 and 1.7, and by 2.x. Pure. */
export function importedNames(out: string): string[] {
  return [...out.matchAll(/^unpacking (\S+) \(sha256:|^(\S+)\s+saved\s*$/gm)].map((m) => (m[1] ?? m[2]) as string)
}

async function firstBytes(path: string): Promise<Buffer> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    throw new AppError(missing ? 'not-found' : 'internal', `import image: file "${path}" ${missing ? 'does not exist' : `cannot be read (${messageOf(cause)})`}`, { cause })
  })
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

/** By the first bytes: both formats check themselves to their end. */
function unpacker(head: Buffer): Transform | undefined {
  if (head[0] === 0x1f && head[1] === 0x8b) return createGunzip()
  return head.equals(Buffer.from([0x28, 0xb5, 0x2f, 0xfd])) ? createZstdDecompress() : undefined
}

/** A tar that was cut between two files would pass for a whole one, and bring an image without its last layers. */
async function endsAsTar(path: string): Promise<boolean> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    if (size < TAR_END) return false
    const { buffer } = await file.read(Buffer.alloc(TAR_END, 1), 0, TAR_END, size - TAR_END)
    return buffer.every((b) => b === 0)
  } finally {
    await file.close()
  }
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
