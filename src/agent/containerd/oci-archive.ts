/**
 * A one-layer OCI image as a tar archive, made in memory without any tool: for the pause image and for tests. Byte for
 * byte the same for the same input. Big images are the business of the images area; this holds everything at once.
 */
import { createHash } from 'node:crypto'

export interface ArchiveFile {
  /** Relative path without a leading slash. */
  readonly path: string
  readonly mode: number
  /** Undefined makes a directory, a string in `link` a symbolic link. */
  readonly data?: Uint8Array
  readonly link?: string
}

export interface OciImage {
  /** Full reference, e.g. `skerry.io/pause:1`. */
  readonly name: string
  readonly architecture: 'amd64' | 'arm64'
  readonly files: readonly ArchiveFile[]
  readonly config: { readonly Entrypoint?: readonly string[]; readonly Cmd?: readonly string[]; readonly Env?: readonly string[]; readonly User?: string }
}

/** The archive's bytes, as `ctr images import` and `skerry image import` read them. */
export function ociArchive(image: OciImage): Buffer {
  const blobs: ArchiveFile[] = []
  const blob = (mediaType: string, data: Buffer): { mediaType: string; digest: string; size: number } => {
    const hash = createHash('sha256').update(data).digest('hex')
    blobs.push({ path: `blobs/sha256/${hash}`, mode: 0o644, data })
    return { mediaType, digest: `sha256:${hash}`, size: data.length }
  }
  const json = (value: object): Buffer => Buffer.from(JSON.stringify(value))
  const layer = blob('application/vnd.oci.image.layer.v1.tar', tar(image.files))
  const config = blob(
    'application/vnd.oci.image.config.v1+json',
    json({
      architecture: image.architecture,
      os: 'linux',
      config: image.config,
      rootfs: { type: 'layers', diff_ids: [layer.digest] },
    }),
  )
  const manifest = blob(
    'application/vnd.oci.image.manifest.v1+json',
    json({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers: [layer] }),
  )
  const annotations = { 'io.containerd.image.name': image.name, 'org.opencontainers.image.ref.name': image.name.slice(image.name.lastIndexOf(':') + 1) }
  return tar([
    { path: 'oci-layout', mode: 0o644, data: json({ imageLayoutVersion: '1.0.0' }) },
    { path: 'index.json', mode: 0o644, data: json({ schemaVersion: 2, manifests: [{ ...manifest, annotations, platform: { architecture: image.architecture, os: 'linux' } }] }) },
    ...blobs,
  ])
}

/** A ustar archive; all owned by root, all of 1970. @throws RangeError for a path over 100 bytes */
export function tar(files: readonly ArchiveFile[]): Buffer {
  const parts: Buffer[] = []
  for (const file of files) {
    const header = Buffer.alloc(512)
    if (Buffer.byteLength(file.path) > 100) throw new RangeError(`make a tar: path "${file.path}" is over 100 bytes`)
    const size = file.data?.length ?? 0
    const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`
    header.write(file.path, 0)
    header.write(octal(file.mode, 8), 100)
    header.write(octal(0, 8), 108)
    header.write(octal(0, 8), 116)
    header.write(octal(size, 12), 124)
    header.write(octal(0, 12), 136)
    header.write('        ', 148)
    header.write(file.link !== undefined ? '2' : file.data ? '0' : '5', 156)
    if (file.link !== undefined) header.write(file.link, 157)
    header.write('ustar\x0000', 257)
    let sum = 0
    for (const byte of header) sum += byte
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    parts.push(header, Buffer.from(file.data ?? []), Buffer.alloc((512 - (size % 512)) % 512))
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}
