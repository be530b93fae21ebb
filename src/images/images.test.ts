import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { buildImage, importArchive, openBlobStore, parseReference, formatReference, registryHandler, startMirror, type Upstream } from './mod.ts'
import { parseRange } from './registry.ts'

const dir = mkdtempSync(join(tmpdir(), 'skerry-images-'))
after(() => rmSync(dir, { recursive: true, force: true }))

const spec = (name: string, text = 'hello') => ({ name, layers: [[{ path: 'app/base', from: { bytes: 'x'.repeat(200_000) } }], [{ path: 'app/main', from: { bytes: text }, mode: 0o755 }]], entrypoint: ['/app/main'] })

test('references are read as containerd reads them, and mistakes are named', () => {
  assert.equal(formatReference(parseReference('face-recognition')), 'docker.io/library/face-recognition:latest')
  assert.equal(formatReference(parseReference('a/b:1')), 'docker.io/a/b:1')
  assert.equal(formatReference(parseReference('localhost:5000/a/b')), 'localhost:5000/a/b:latest')
  assert.throws(() => parseReference('Upper:1'), /"Upper" is not lower-case/)
  assert.throws(() => parseReference('a@sha256:12'), /digest "sha256:12"/)
  fc.assert(fc.property(fc.string(), (s) => {
    try {
      const once = formatReference(parseReference(s))
      return formatReference(parseReference(once)) === once
    } catch (error) {
      return (error as { code?: string }).code === 'invalid'
    }
  }))
})

test('a built image is the same for the same input, and imports with all its parts', async () => {
  const [a, b] = [join(dir, 'a.tar'), join(dir, 'b.tar')]
  assert.equal(await buildImage(spec('app:v1'), a), await buildImage(spec('app:v1'), b))
  const store = await openBlobStore(join(dir, 'store'))
  assert.deepEqual(await importArchive(a, store), ['docker.io/library/app:v1'])
  const manifest = await store.resolve('app:v1')
  assert.ok(manifest)
  const document = (await store.document(manifest.digest)) as { layers: { digest: string; size: number }[] }
  for (const l of document.layers) assert.equal(await store.size(l.digest), l.size)
  // Another process sees it too.
  assert.equal((await (await openBlobStore(join(dir, 'store'))).list())[0]?.reference, 'docker.io/library/app:v1')
})

test('what is no image archive, or a wrong digest, is refused with what was seen', async () => {
  const store = await openBlobStore(join(dir, 'refuse'))
  const junk = join(dir, 'junk.tar')
  writeFileSync(junk, 'this is not a tar at all'.repeat(100))
  await assert.rejects(importArchive(junk, store), /junk.tar/)
  writeFileSync(join(dir, 'readme'), 'x')
  execFileSync('tar', ['-cf', junk, '-C', dir, 'readme'])
  await assert.rejects(importArchive(junk, store), /neither index.json/)
  await assert.rejects(importArchive(join(dir, 'missing.tar'), store), /missing.tar/)
  const bad = join(dir, 'bad')
  execFileSync('sh', ['-c', `mkdir -p ${bad}/blobs/sha256 && echo x > ${bad}/blobs/sha256/${'0'.repeat(64)} && tar -cf ${junk} -C ${bad} blobs`])
  await assert.rejects(importArchive(junk, store), /its bytes have digest/)
})

test('a docker archive imports as well', async () => {
  const work = join(dir, 'docker')
  execFileSync('sh', ['-c', `mkdir -p ${work}/l && echo hi > ${work}/hi && tar -cf ${work}/l/layer.tar -C ${work} hi`])
  writeFileSync(join(work, 'config.json'), JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } }))
  writeFileSync(join(work, 'manifest.json'), JSON.stringify([{ Config: 'config.json', RepoTags: ['web:2'], Layers: ['l/layer.tar'] }]))
  execFileSync('tar', ['-cf', join(dir, 'docker.tar'), '-C', work, 'manifest.json', 'config.json', 'l/layer.tar'])
  const store = await openBlobStore(join(dir, 'docker-store'))
  assert.deepEqual(await importArchive(join(dir, 'docker.tar'), store), ['docker.io/library/web:2'])
})

test('a pull through the mirror is an ordinary pull; a break is taken up; cut off is said at once', async () => {
  const store = await openBlobStore(join(dir, 'served'))
  const tar = join(dir, 'served.tar')
  await buildImage(spec('face-recognition'), tar)
  await importArchive(tar, store)
  const registry = createServer((req, res) => void registryHandler(store)(req, res))
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve))
  const base = `http://127.0.0.1:${(registry.address() as AddressInfo).port}`
  let cut = false
  let breaks = 0
  const upstream: Upstream = async ({ method, path, headers }) => {
    if (cut) throw new Error('no link')
    const answer = await fetch(base + path, { method, headers })
    const bytes = new Uint8Array(await answer.arrayBuffer())
    const breaking = path.includes('/blobs/') && breaks-- > 0
    return {
      status: answer.status,
      headers: Object.fromEntries(answer.headers),
      body: (async function* () {
        if (!breaking) {
          yield bytes
          return
        }
        yield bytes.subarray(0, Math.floor(bytes.length / 2))
        throw new Error('link lost')
      })(),
    }
  }
  await using mirror = await startMirror({ upstream, port: 0 })
  const get = (path: string) => fetch(`http://127.0.0.1:${mirror.port}${path}`)
  const manifest = await get('/v2/library/face-recognition/manifests/latest?ns=docker.io')
  assert.equal(manifest.status, 200)
  const { layers } = (await manifest.json()) as { layers: { digest: string; size: number }[] }
  breaks = 3
  for (const l of layers) {
    const blob = new Uint8Array(await (await get(`/v2/library/face-recognition/blobs/${l.digest}?ns=docker.io`)).arrayBuffer())
    assert.equal(blob.length, l.size)
  }
  assert.equal((await get('/v2/library/nothing/manifests/latest?ns=docker.io')).status, 404)
  assert.equal((await get('/v2/library/face-recognition/manifests/..%2f..?ns=docker.io')).status, 404)
  cut = true
  assert.equal((await get('/v2/library/face-recognition/manifests/latest?ns=docker.io')).status, 503)
  registry.closeAllConnections()
  registry.close()
})

test('ranges', () => {
  assert.deepEqual(parseRange('bytes=0-9', 100), { start: 0, end: 9 })
  assert.deepEqual(parseRange('bytes=90-', 100), { start: 90, end: 99 })
  assert.deepEqual(parseRange('bytes=-10', 100), { start: 90, end: 99 })
  assert.equal(parseRange('bytes=100-', 100), 'unsatisfiable')
  assert.equal(parseRange('lines=1', 100), undefined)
})
