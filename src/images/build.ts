/**
 * Builds an image without any daemon: layers from files and directories, byte for byte the same for the same input (root's,
 * dated 1970, names in order). The archive is what `skerry image import`, `ctr images import` and `docker load` take. Used by the
 * agent for the pause image, by tests and examples.
 */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { lstat, mkdtemp, readdir, readlink, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack, type Pack } from 'tar-stream'

export interface ImageFile {
  /** Path in the image, without a leading slash. */
  readonly path: string
  /** Its bytes, a file or directory of this machine to copy, a symbolic link's target, or an empty directory. */
  readonly from: { readonly bytes: Uint8Array | string } | { readonly copy: string } | { readonly link: string } | 'directory'
  /** @default that of the source, else 0644, or 0755 for a directory */
  readonly mode?: number
}

export interface ImageSpec {
  /** e.g. `red-light:v1` */
  readonly name: string
  /** Each is one layer; equal layers of two images have equal digests, so nodes fetch them once. */
  readonly layers: readonly (readonly ImageFile[])[]
  readonly entrypoint?: readonly string[]
  readonly cmd?: readonly string[]
  readonly env?: readonly string[]
  readonly workingDir?: string
  readonly user?: string
  /** @default this machine's */
  readonly architecture?: 'amd64' | 'arm64'
}

const ZERO = new Date(0)

/** Writes the image's archive to `path`; resolves to the digest of its manifest. */
export async function buildImage(spec: ImageSpec, path: string): Promise<string> {
  const work = await mkdtemp(join(tmpdir(), 'skerry-image-'))
  try {
    const architecture = spec.architecture ?? (process.arch === 'arm64' ? 'arm64' : 'amd64')
    const layers: { file: string; digest: string; diffId: string; size: number }[] = []
    for (const [i, files] of spec.layers.entries()) layers.push(await makeLayer(files, join(work, `${i}.tar.gz`)))
    const config = json({
      architecture,
      os: 'linux',
      created: ZERO.toISOString(),
      config: {
        ...(spec.entrypoint ? { Entrypoint: spec.entrypoint } : {}),
        ...(spec.cmd ? { Cmd: spec.cmd } : {}),
        Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...(spec.env ?? [])],
        ...(spec.workingDir === undefined ? {} : { WorkingDir: spec.workingDir }),
        ...(spec.user === undefined ? {} : { User: spec.user }),
      },
      rootfs: { type: 'layers', diff_ids: layers.map((l) => l.diffId) },
    })
    const manifest = json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config.digest, size: config.bytes.length },
      layers: layers.map((l) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: l.digest, size: l.size })),
    })
    const name = spec.name.includes('/') ? spec.name : `docker.io/library/${spec.name}`
    const tar = pack()
    const written = pipeline(tar, createWriteStream(path))
    const add = (file: string, bytes: Uint8Array | string): void => void tar.entry({ name: file, mode: 0o644, mtime: ZERO }, Buffer.from(bytes))
    add('oci-layout', '{"imageLayoutVersion":"1.0.0"}')
    add(
      'index.json',
      JSON.stringify({
        schemaVersion: 2,
        manifests: [
          {
            mediaType: 'application/vnd.oci.image.manifest.v1+json',
            digest: manifest.digest,
            size: manifest.bytes.length,
            annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1) },
            platform: { architecture, os: 'linux' },
          },
        ],
      }),
    )
    add(blobPath(config.digest), config.bytes)
    add(blobPath(manifest.digest), manifest.bytes)
    for (const l of new Map(layers.map((x) => [x.digest, x])).values()) {
      await new Promise<void>((resolve, reject) => {
        const entry = tar.entry({ name: blobPath(l.digest), mode: 0o644, mtime: ZERO, size: l.size }, (error) => (error ? reject(error) : resolve()))
        createReadStream(l.file).on('error', reject).pipe(entry)
      })
    }
    tar.finalize()
    await written
    return manifest.digest
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

const blobPath = (digest: string): string => `blobs/sha256/${digest.slice('sha256:'.length)}`

function json(value: object): { bytes: Buffer; digest: string } {
  const bytes = Buffer.from(JSON.stringify(value))
  return { bytes, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}` }
}

async function makeLayer(files: readonly ImageFile[], path: string): Promise<{ file: string; digest: string; diffId: string; size: number }> {
  const tar = pack()
  const plain = createHash('sha256')
  const packed = createHash('sha256')
  let size = 0
  const tap = (fn: (chunk: Buffer) => void): Transform =>
    new Transform({
      transform(chunk: Buffer, _encoding, done) {
        fn(chunk)
        done(null, chunk)
      },
    })
  const written = pipeline(
    tar,
    tap((c) => void plain.update(c)),
    createGzip({ level: 6 }),
    tap((c) => {
      packed.update(c)
      size += c.length
    }),
    createWriteStream(path),
  )
  const dirs = new Set<string>()
  for (const f of files.toSorted((a, b) => (a.path < b.path ? -1 : 1))) await addFile(tar, f.path, f, dirs)
  tar.finalize()
  await written
  return { file: path, digest: `sha256:${packed.digest('hex')}`, diffId: `sha256:${plain.digest('hex')}`, size }
}

async function addFile(tar: Pack, path: string, file: ImageFile, dirs: Set<string>): Promise<void> {
  const parts = path.split('/')
  for (let i = 1; i < parts.length; i++) addDir(tar, parts.slice(0, i).join('/'), 0o755, dirs)
  const { from } = file
  if (from === 'directory') addDir(tar, path, file.mode ?? 0o755, dirs)
  else if ('bytes' in from) tar.entry({ name: path, mode: file.mode ?? 0o644, mtime: ZERO }, Buffer.from(from.bytes))
  else if ('link' in from) tar.entry({ name: path, type: 'symlink', linkname: from.link, mtime: ZERO })
  else {
    const info = await lstat(from.copy)
    if (info.isDirectory()) {
      addDir(tar, path, info.mode & 0o777, dirs)
      for (const name of (await readdir(from.copy)).sort()) await addFile(tar, `${path}/${name}`, { path: `${path}/${name}`, from: { copy: join(from.copy, name) } }, dirs)
    } else if (info.isSymbolicLink() && file.mode === undefined && !parts.at(-1)?.includes('.so')) tar.entry({ name: path, type: 'symlink', linkname: await readlink(from.copy), mtime: ZERO })
    else {
      // A library named by a link is wanted as the file it leads to.
      const real = await stat(from.copy)
      await new Promise<void>((resolve, reject) => {
        const entry = tar.entry({ name: path, mode: file.mode ?? real.mode & 0o777, size: real.size, mtime: ZERO }, (error) => (error ? reject(error) : resolve()))
        createReadStream(from.copy).on('error', reject).pipe(entry)
      })
    }
  }
}

function addDir(tar: Pack, path: string, mode: number, dirs: Set<string>): void {
  if (dirs.has(path)) return
  dirs.add(path)
  tar.entry({ name: `${path}/`, type: 'directory', mode, mtime: ZERO })
}
