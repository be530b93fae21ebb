/**
 * Brings an image archive into a blob store: OCI layout (`index.json`) or docker-archive (`manifest.json`), as a tar or
 * gzipped tar. Streamed; every digest is checked; a name becomes visible only when all its parts are here.
 */
import { createReadStream } from 'node:fs'
import { createGunzip } from 'node:zlib'
import { open } from 'node:fs/promises'
import { extract, type Header } from 'tar-stream'
import { AppError, messageOf } from '../base/errors.ts'
import { MAX_DOCUMENT, parseDocument, type BlobStore, type Descriptor } from './blob-store.ts'
import { formatReference, isDigest, parseReference } from './reference.ts'

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const MAX_ENTRIES = 10_000

interface Seen {
  /** Small documents by path, for what is not named by its digest. */
  readonly documents: Map<string, Buffer>
  /** What was kept, by path. */
  readonly kept: Map<string, { digest: string; size: number }>
}

/**
 * Imports every named image of an archive. Unnamed ones need `name`.
 * @returns the references that are now there
 * @throws AppError `invalid` (no image archive; names what was seen), `corrupt` (a digest is wrong), `full`
 */
export async function importArchive(path: string, store: BlobStore, options: { name?: string; signal?: AbortSignal } = {}): Promise<string[]> {
  const seen = await readAll(path, store, options.signal)
  const index = seen.documents.get('index.json')
  const docker = seen.documents.get('manifest.json')
  const found = index ? await fromLayout(parseDocument(index, 'index.json'), store, options.name) : docker ? await fromDocker(docker, seen, store, options.name) : undefined
  if (!found) {
    throw new AppError('invalid', `import "${path}": neither index.json (OCI) nor manifest.json (docker) in it, but ${[...seen.kept.keys()].slice(0, 5).join(', ') || 'nothing'}: make it with \`buildah push … oci-archive:\` or \`docker save\``)
  }
  if (found.length === 0) throw new AppError('invalid', `import "${path}": the image in it has no name: give one with --name app:v1`)
  for (const { reference, manifest } of found) await store.tag(reference, manifest, await totalSize(manifest, store))
  return found.map((f) => f.reference)
}

async function readAll(path: string, store: BlobStore, signal: AbortSignal | undefined): Promise<Seen> {
  const head = Buffer.alloc(2)
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new AppError('not-found', `import "${path}": it cannot be read (${(cause as NodeJS.ErrnoException).code}): give the path of an image archive`)
  })
  await file.read(head, 0, 2, 0)
  await file.close()
  const source = createReadStream(path)
  const plain = head[0] === 0x1f && head[1] === 0x8b ? source.pipe(createGunzip()) : source
  const untar = extract()
  for (const s of [source, plain]) s.on('error', (error: Error) => untar.destroy(error))
  plain.pipe(untar)
  const seen: Seen = { documents: new Map(), kept: new Map() }
  try {
    for await (const entry of untar) {
      signal?.throwIfAborted()
      await take(entry.header, entry as AsyncIterable<Uint8Array>, seen, store)
    }
  } catch (error) {
    if (error instanceof AppError || signal?.aborted) throw error
    throw new AppError('invalid', `import "${path}": it is no readable tar archive (${messageOf(error)}): make it with \`buildah push … oci-archive:\` or \`docker save\``, { cause: error })
  } finally {
    source.destroy()
  }
  return seen
}

async function take(header: Header, body: AsyncIterable<Uint8Array>, seen: Seen, store: BlobStore): Promise<void> {
  const name = header.name.replace(/^\.\//, '')
  if (seen.kept.size + seen.documents.size > MAX_ENTRIES) throw new AppError('too-large', `import: over ${MAX_ENTRIES} files in the archive`)
  if (header.type === 'symlink' || header.type === 'link') {
    // docker save links a layer that several images share.
    const target = new URL(header.linkname ?? '', `file:///${name}`).pathname.slice(1)
    const kept = seen.kept.get(target)
    if (kept) seen.kept.set(name, kept)
  } else if (header.type === 'file') {
    const blob = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)
    if (blob) {
      const digest = `sha256:${blob[1]}`
      const size = await store.size(digest)
      if (size === undefined || size !== header.size) seen.kept.set(name, await store.put(body, digest))
      else {
        seen.kept.set(name, { digest, size })
        await drain(body)
      }
    } else if (name.endsWith('.json') && (header.size ?? 0) <= MAX_DOCUMENT) {
      const parts: Uint8Array[] = []
      for await (const chunk of body) parts.push(chunk)
      const bytes = Buffer.concat(parts)
      seen.documents.set(name, bytes)
      if (name !== 'index.json' && name !== 'manifest.json') seen.kept.set(name, await store.put(bytes))
    } else if (name.endsWith('.tar') || name.endsWith('.tar.gz')) seen.kept.set(name, await store.put(body))
    else await drain(body)
  }
  await drain(body)
}

async function drain(body: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of body) {
    // what is not wanted is read past
  }
}

async function fromLayout(index: Record<string, unknown>, store: BlobStore, name: string | undefined): Promise<{ reference: string; manifest: Descriptor }[]> {
  const manifests = descriptors(index['manifests'], 'index.json')
  const found: { reference: string; manifest: Descriptor }[] = []
  for (const manifest of manifests) {
    await complete(manifest, store)
    const reference = manifest.annotations?.['io.containerd.image.name'] ?? (name === undefined ? nameOf(manifest.annotations?.['org.opencontainers.image.ref.name']) : undefined) ?? name
    if (reference !== undefined) found.push({ reference: formatReference(parseReference(reference)), manifest })
  }
  return found
}

/** A ref.name is often only a tag, which names nothing. */
function nameOf(refName: string | undefined): string | undefined {
  return refName !== undefined && /[/:]/.test(refName) ? refName : undefined
}

async function fromDocker(bytes: Buffer, seen: Seen, store: BlobStore, name: string | undefined): Promise<{ reference: string; manifest: Descriptor }[]> {
  const list: unknown = JSON.parse(bytes.toString('utf8'))
  if (!Array.isArray(list)) throw new AppError('invalid', 'import: manifest.json is not a list')
  const found: { reference: string; manifest: Descriptor }[] = []
  for (const row of list as { Config?: unknown; Layers?: unknown; RepoTags?: unknown }[]) {
    const part = (path: unknown): { digest: string; size: number } => {
      const kept = typeof path === 'string' ? seen.kept.get(path) : undefined
      if (!kept) throw new AppError('corrupt', `import: manifest.json names "${String(path)}", which is not in the archive`)
      return kept
    }
    const layers = Array.isArray(row.Layers) ? row.Layers : []
    const manifest = {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...part(row.Config) },
      layers: await Promise.all(layers.map(async (l) => ({ mediaType: (await isGzip(store, part(l).digest)) ? 'application/vnd.oci.image.layer.v1.tar+gzip' : 'application/vnd.oci.image.layer.v1.tar', ...part(l) }))),
    }
    const kept = await store.put(Buffer.from(JSON.stringify(manifest)))
    const tags = Array.isArray(row.RepoTags) && row.RepoTags.length > 0 ? (row.RepoTags as string[]) : name === undefined ? [] : [name]
    for (const tag of tags) found.push({ reference: formatReference(parseReference(tag)), manifest: { mediaType: MANIFEST, ...kept } })
  }
  return found
}

async function isGzip(store: BlobStore, digest: string): Promise<boolean> {
  for await (const chunk of await store.read(digest, { start: 0, end: 1 })) return (chunk as Buffer)[0] === 0x1f && (chunk as Buffer)[1] === 0x8b
  return false
}

/**
 * Everything a manifest names must be here; of an index one platform is enough, for archives often carry one only.
 * @throws AppError `corrupt`
 */
async function complete(descriptor: Descriptor, store: BlobStore): Promise<void> {
  if ((await store.size(descriptor.digest)) === undefined) throw new AppError('corrupt', `import: ${descriptor.digest} is named but not in the archive`)
  const below = await children(descriptor, store)
  const checked = await Promise.allSettled(below.map((child) => complete(child, store)))
  const failed = checked.flatMap((c) => (c.status === 'rejected' ? [c.reason as unknown] : []))
  const isIndex = /index|list/.test(descriptor.mediaType)
  if (failed.length > 0 && (!isIndex || failed.length === below.length)) throw failed[0]
}

async function totalSize(descriptor: Descriptor, store: BlobStore): Promise<number> {
  if ((await store.size(descriptor.digest)) === undefined) return 0
  let size = descriptor.size
  for (const child of await children(descriptor, store)) size += await totalSize(child, store)
  return size
}

async function children(descriptor: Descriptor, store: BlobStore): Promise<readonly Descriptor[]> {
  if (!/manifest|image\.index/.test(descriptor.mediaType)) return []
  const document = await store.document(descriptor.digest)
  if (document['manifests'] !== undefined) return descriptors(document['manifests'], descriptor.digest)
  return descriptors([document['config'], ...(Array.isArray(document['layers']) ? (document['layers'] as unknown[]) : [])], descriptor.digest)
}

function descriptors(value: unknown, where: string): Descriptor[] {
  if (!Array.isArray(value)) throw new AppError('corrupt', `import: ${where} lists no manifests`)
  for (const d of value as Partial<Descriptor>[]) {
    if (typeof d?.digest !== 'string' || !isDigest(d.digest) || typeof d.mediaType !== 'string' || typeof d.size !== 'number') {
      throw new AppError('corrupt', `import: ${where} has a part without digest, media type or size: ${JSON.stringify(d)?.slice(0, 200)}`)
    }
  }
  return value as Descriptor[]
}
