import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../../base/clock.ts'
import { hasCode } from '../../base/errors.ts'
import { buildImage } from '../../images/mod.ts'
import { command, tryCommand } from './command.ts'
import { containerdToml, looksCorrupt } from './config.ts'
import { parseImageList, importedNames } from './images.ts'
import { instancePaths } from './paths.ts'
import { PAUSE_IMAGE, pauseImage, pauseProgram } from './pause.ts'
import { findDaemon, startDaemon, stopDaemon } from './process.ts'

const paths = instancePaths({ instance: 'default', dataDir: '/var/lib/skerry', runDir: '/run/skerry/default' })

test('instances never share a path, and names that would break paths are refused', () => {
  const other = instancePaths({ instance: 'cam-1', dataDir: '/var/lib/cam-1', runDir: '/run/skerry/cam-1' })
  for (const key of Object.keys(paths) as (keyof typeof paths)[]) assert.notEqual(paths[key], other[key], key)
  assert.ok(paths.bridge.length <= 15)
  for (const instance of ['', 'A', '../x', 'a b', '-a', 'x'.repeat(41)]) {
    assert.throws(() => instancePaths({ instance, dataDir: '/d', runDir: '/r' }), (e) => hasCode(e, 'invalid'))
  }
  assert.throws(() => instancePaths({ instance: 'a', dataDir: '/d', runDir: `/${'r'.repeat(60)}` }), (e) => hasCode(e, 'invalid'))
})

test('the configuration names our paths and restricts OOM scores only where it must', () => {
  const input = { paths, sandboxImage: PAUSE_IMAGE, runc: '/usr/sbin/runc', cniBin: '/usr/lib/cni', restrictOomScore: true, logins: '' }
  const text = containerdToml(input)
  for (const part of ['root = "/var/lib/skerry/agent/containerd"', 'sandbox_image = "skerry.io/pause:1"', 'restrict_oom_score_adj = true', 'config_path = "/run/skerry/default/certs.d"', 'stream_server_address = "127.0.0.1"']) {
    assert.ok(text.includes(part), part)
  }
  assert.ok(containerdToml({ ...input, restrictOomScore: false }).includes('restrict_oom_score_adj = false'))
})

test('damaged records are told from other failures', () => {
  assert.ok(looksCorrupt('level=warning msg="failed to load plugin io.containerd.metadata.v1.bolt" error="invalid database"'))
  assert.ok(looksCorrupt('panic: page 5 already freed'))
  assert.ok(looksCorrupt('level=fatal msg="Failed to run CRI service" error="failed to recover state: failed to reserve container name \\"main_late_default_5_0\\": name \\"main_late_default_5_0\\" is reserved for \\"54b7\\""'))
  assert.equal(looksCorrupt('containerd: listen unix /run/x.sock: bind: address already in use'), false)
  assert.equal(looksCorrupt('failed to load plugin: no space left on device'), false)
})

test('the pause program waits, ignores SIGCHLD, and is an executable of under 250 bytes', { skip: process.platform !== 'linux' }, async () => {
  for (const arch of ['x64', 'arm64']) assert.ok(pauseProgram(arch).length < 250)
  assert.throws(() => pauseProgram('mips'), /"mips"/)
  const dir = mkdtempSync(join(tmpdir(), 'skerry-pause-'))
  writeFileSync(join(dir, 'pause'), pauseProgram(process.arch), { mode: 0o755 })
  const child = spawn(join(dir, 'pause'), { stdio: 'ignore' })
  try {
    await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(child.exitCode, null)
    const ignored = BigInt(`0x${/^SigIgn:\s*(\S+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]}`)
    assert.ok(ignored & (1n << 16n))
  } finally {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true })
  }
})

test('the pause image is an archive whose blobs carry their own digests, the same each time', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-oci-'))
  try {
    const [one, two] = [join(dir, '1.tar'), join(dir, '2.tar')]
    await buildImage(pauseImage('arm64'), one)
    await buildImage(pauseImage('arm64'), two)
    assert.deepEqual(readFileSync(one), readFileSync(two))
    const result = spawnSync('tar', ['-xf', one, '-C', dir])
    assert.equal(result.status, 0, String(result.stderr))
    const read = (path: string): Buffer => readFileSync(join(dir, path))
    const digestOf = (path: string): string => `sha256:${createHash('sha256').update(read(path)).digest('hex')}`
    const index = JSON.parse(String(read('index.json'))) as { manifests: { digest: string; annotations: Record<string, string> }[] }
    const manifest = index.manifests[0]
    assert.equal(manifest?.annotations['io.containerd.image.name'], PAUSE_IMAGE)
    const path = `blobs/${manifest?.digest.replace(':', '/')}`
    assert.equal(digestOf(path), manifest?.digest)
    const { config, layers } = JSON.parse(String(read(path))) as { config: { digest: string }; layers: { digest: string }[] }
    for (const { digest } of [config, ...layers]) assert.equal(digestOf(`blobs/${digest.replace(':', '/')}`), digest)
    assert.equal((JSON.parse(String(read(`blobs/${config.digest.replace(':', '/')}`))) as { architecture: string }).architecture, 'arm64')
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('image names and digests are read from containerd’s table', () => {
  const table = `REF                TYPE                                        DIGEST          SIZE   PLATFORMS   LABELS
skerry.io/pause:1  application/vnd.oci.image.manifest.v1+json  sha256:aa11     2.6 KiB linux/amd64 -
sha256:bb22        application/vnd.oci.image.manifest.v1+json  sha256:aa11     2.6 KiB linux/amd64 -
docker.io/library/app:2 application/vnd.oci.image.index.v1+json sha256:cc33    1.0 MiB linux/amd64,linux/arm64 x=y
`
  assert.deepEqual(parseImageList(table), [
    { name: 'docker.io/library/app:2', digest: 'sha256:cc33' },
    { name: 'skerry.io/pause:1', digest: 'sha256:aa11' },
  ])
})


test('a daemon is found again by its pid file, and only while it is that very process', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-daemon-'))
  const pidFile = join(dir, 'pid')
  try {
    const daemon = await startDaemon({ program: '/bin/sleep', args: ['100'], env: {}, log: join(dir, 'log'), pidFile, configHash: 'h' })
    assert.deepEqual(findDaemon(pidFile), { pid: daemon.pid, startTime: daemon.startTime, configHash: 'h' })
    writeFileSync(join(dir, 'other'), JSON.stringify({ pid: daemon.pid, startTime: '1', configHash: 'h' }))
    assert.equal(findDaemon(join(dir, 'other')), undefined)
    await stopDaemon(daemon, pidFile, systemClock)
    assert.equal(findDaemon(pidFile), undefined)
    await assert.rejects(startDaemon({ program: '/no/such', args: [], env: {}, log: join(dir, 'log'), pidFile, configHash: '' }), /\/no\/such/)
  } finally {
    rmSync(dir, { recursive: true })
  }
})

test('commands give their output, or fail with their own words', async () => {
  assert.equal(await command('cat', [], { input: 'x' }), 'x')
  await assert.rejects(command('sh', ['-c', 'echo why >&2; exit 3']), /exit code 3: why/)
  await assert.rejects(tryCommand('no-such-program', []), (e) => hasCode(e, 'not-found'))
  await assert.rejects(tryCommand('sleep', ['10'], { timeoutMs: 50 }), (e) => hasCode(e, 'timeout'))
})

test('what an import brought is read from the words of containerd 1.6 and 1.7, and of 2.x', () => {
  assert.deepEqual(importedNames('unpacking docker.io/library/app:1 (sha256:ab)...done\nunpacking docker.io/library/b:2 (sha256:cd)...done\n'), ['docker.io/library/app:1', 'docker.io/library/b:2'])
  assert.deepEqual(importedNames('docker.io/library/app:1                \tsaved\t\napplication/vnd.oci.image.manifest.v1+json sha256:ab\nImporting\telapsed: 0.1 s\ttotal:   0.0 B\t(0.0 B/s)\t\n'), ['docker.io/library/app:1'])
})
