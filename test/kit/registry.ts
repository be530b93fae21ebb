/** A real registry (Debian's docker-registry) for tests: its configuration, and images pushed into it over its API. */
import { createHash } from 'node:crypto'
import { createReadStream, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { extract } from 'tar-stream'
import { findProgram } from '../../src/agent/containerd/command.ts'

/** Why there is no registry here, or false; node:test's `skip`. */
export function cannotRunRegistry(): string | false {
  return findProgram('docker-registry') ? false : 'needs docker-registry: apt-get install -y docker-registry'
}

/** bcrypt of the one login that `registryConfig` knows. */
export const LOGIN = { username: 'edge', password: 's3cret', htpasswd: 'edge:$2y$05$URjARN18NJPNrb/GiYokbeERL0zgVXZN08lld8Kckb7KbJwJrLn4G\n' } as const

/** Writes a configuration for `docker-registry serve` and gives its path. */
export function registryConfig(dir: string, name: string, options: { address: string; storage: string; tls?: { cert: string; key: string }; login?: boolean }): string {
  const htpasswd = join(dir, `${name}.htpasswd`)
  writeFileSync(htpasswd, LOGIN.htpasswd)
  const path = join(dir, `${name}.yml`)
  const config = {
    version: 0.1,
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: options.storage }, maintenance: { uploadpurging: { enabled: false } } },
    http: { addr: options.address, secret: 'of this test', ...(options.tls && { tls: { certificate: options.tls.cert, key: options.tls.key } }) },
    ...(options.login === true && { auth: { htpasswd: { realm: 'test', path: htpasswd } } }),
  }
  // JSON is YAML.
  writeFileSync(path, JSON.stringify(config))
  return path
}

/** Pushes the one image of an archive that `buildImage` made to a registry without login. */
export async function push(registry: string, name: string, tag: string, archive: string): Promise<void> {
  const files = new Map<string, Buffer>()
  const untar = createReadStream(archive).pipe(extract())
  for await (const entry of untar) {
    const parts: Uint8Array[] = []
    for await (const part of entry as AsyncIterable<Uint8Array>) parts.push(part)
    files.set(entry.header.name, Buffer.concat(parts))
  }
  const index = JSON.parse(String(files.get('index.json'))) as { manifests: { digest: string; mediaType: string }[] }
  const main = index.manifests[0]
  const sent = async (what: string, answer: Promise<Response>): Promise<Response> => {
    const r = await answer
    if (!r.ok) throw new Error(`push ${what} to ${registry}: ${r.status} ${await r.text()}`)
    return r
  }
  for (const [path, bytes] of files) {
    if (!path.startsWith('blobs/') || path.endsWith(main?.digest.slice(7) ?? '-')) continue
    const begun = await sent('blob', fetch(`${registry}/v2/${name}/blobs/uploads/`, { method: 'POST' }))
    const url = new URL(begun.headers.get('location') ?? '', registry)
    url.searchParams.set('digest', `sha256:${createHash('sha256').update(bytes).digest('hex')}`)
    await sent('blob', fetch(url, { method: 'PUT', body: bytes, headers: { 'content-type': 'application/octet-stream' } }))
  }
  const manifest = files.get(`blobs/sha256/${main?.digest.slice(7)}`) as Buffer
  await sent('manifest', fetch(`${registry}/v2/${name}/manifests/${tag}`, { method: 'PUT', body: manifest, headers: { 'content-type': main?.mediaType ?? '' } }))
}
