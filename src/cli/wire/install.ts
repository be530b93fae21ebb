/**
 * What the server gives to machines that join with `curl … | sh -`: the install script and this very program with its Node,
 * as one archive an architecture, packed once under the data directory. Public: nothing in it is secret.
 */
import { execFile } from 'node:child_process'
import { createReadStream, existsSync, statSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { PATHS } from '../../api/contract.ts'
import { describeRelease, RELEASE_FILE, releaseId, type Offer } from '../../base/release.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { readJsonIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import type { Route } from '../../apiserver/mod.ts'
import { SKERRY_VERSION } from '../version.ts'

const log = logger('server.install')
/** Transfers to nodes at a time: a fleet that follows its server comes in turn, and the line stays free for what else there is. */
const TRANSFERS = 4
const ARCHS = ['x64', 'arm64'] as const
type Arch = (typeof ARCHS)[number]

/** The root of this installation: where dist/ and script/ stand, from source and from the bundle. */
export function installRoot(): string {
  const here = import.meta.dirname
  return here.endsWith('dist') ? dirname(here) : join(here, '../../..')
}

/** The routes `/install.sh` and `/skerry/v1/bundle/`. */
export function installRoutes(dataDir: string): Route[] {
  const root = installRoot()
  const packing = new Map<Arch, Promise<Packed>>()
  let transfers = 0
  return [
    {
      prefix: PATHS.install,
      auth: 'optional',
      async handler(_req, res) {
        const text = await readFile(join(root, 'script/install.sh'))
        const out = res as ServerResponse
        out.writeHead(200, { 'content-type': 'text/x-shellscript; charset=utf-8', 'content-length': text.length })
        out.end(text)
      },
    },
    {
      prefix: PATHS.bundle,
      auth: 'optional',
      async handler(_req, res, { path, user }) {
        const out = res as ServerResponse
        const [, arch, kind] = /^skerry-(x64|arm64)\.(tar\.gz|json)$/.exec(path.slice(PATHS.bundle.length)) as [string, Arch, string] | null ?? []
        try {
          if (!arch) throw new AppError('not-found', `fetch bundle: "${path}" is not one of ${ARCHS.map((a) => `skerry-${a}.tar.gz, skerry-${a}.json`).join(', ')}`)
          let file = packing.get(arch)
          if (!file) packing.set(arch, (file = pack(root, dataDir, arch)))
          const { archive, offer } = await file
          if (kind === 'json') {
            const text = `${JSON.stringify(offer)}\n`
            out.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
            return void out.end(text)
          }
          // Who installs by hand comes alone, and has no user.
          if (user && transfers >= TRANSFERS) {
            out.writeHead(503, { 'content-type': 'text/plain', 'retry-after': '10' })
            return void out.end(`fetch bundle: ${TRANSFERS} nodes are fetching it now: try again in a moment\n`)
          }
          transfers++
          out.once('close', () => transfers--)
          out.writeHead(200, { 'content-type': 'application/gzip', 'content-length': statSync(archive).size })
          createReadStream(archive).on('error', () => out.destroy()).pipe(out)
        } catch (error) {
          if (arch) packing.delete(arch)
          if (!(error instanceof AppError)) log.warn('bundle not packed', { arch, error: messageOf(error) })
          out.writeHead(error instanceof AppError ? 404 : 500, { 'content-type': 'text/plain' })
          out.end(error instanceof AppError ? `${error.message}\n` : 'pack the bundle: failed; see the server log\n')
        }
      },
    },
  ]
}

/** Writes the bundle of this installation to `path`, for `INSTALL_SKERRY_TARBALL`. @throws AppError `not-found` for an architecture this installation has not got */
export async function writeBundle(path: string, arch: string = process.arch): Promise<void> {
  const known = ARCHS.find((a) => a === arch)
  if (!known) throw new AppError('invalid', `pack bundle: architecture "${arch}" is not one of ${ARCHS.join(', ')}`)
  const dir = await mkdtemp(join(tmpdir(), 'skerry-bundle-'))
  try {
    await cp((await pack(installRoot(), dir, known)).archive, path)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

interface Packed {
  readonly archive: string
  /** With what the program takes on disk, bytes. */
  readonly offer: Offer & { readonly bytes: number }
}

async function pack(root: string, dataDir: string, arch: Arch): Promise<Packed> {
  const node = arch === process.arch && !existsSync(join(root, 'node_modules')) ? process.execPath : join(root, `node_modules/node-linux-${arch}/bin/node`)
  if (!existsSync(node)) throw new AppError('not-found', `pack bundle for ${arch}: this server has no Node for it: install npm's node-linux-${arch} there`)
  if (!existsSync(join(root, 'dist/skerry.mjs'))) throw new AppError('not-found', `pack bundle: "${join(root, 'dist/skerry.mjs')}" is missing: run npm run bundle`)
  const dir = join(dataDir, 'server/bundle')
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const work = await mkdtemp(join(dir, 'pack-'))
  try {
    await mkdir(join(work, 'bin'), { mode: 0o755 })
    await cp(node, join(work, 'bin/node'))
    await cp(join(root, 'bin/skerry'), join(work, 'bin/skerry'))
    const { files } = JSON.parse(await readFile(join(root, 'dist/bundle.json'), 'utf8')) as { files: string[] }
    // With the list itself: a server that was installed from this hands itself on.
    for (const f of [...files, 'bundle.json']) await cp(join(root, 'dist', f), join(work, 'dist', f))
    for (const f of ['install.sh', 'killall.sh', 'start.sh', 'uninstall.sh']) await cp(join(root, 'script', f), join(work, 'script', f))
    const text = await describeRelease(work, { version: SKERRY_VERSION, arch })
    await writeFile(join(work, RELEASE_FILE), text, { mode: 0o644 })
    const archive = join(dir, `skerry-${SKERRY_VERSION}-${arch}.tar.gz`)
    const described = `${archive}.json`
    const there = existsSync(archive) ? await readJsonIfAny<Packed['offer']>(described) : undefined
    if (there?.id === releaseId(text)) return { archive, offer: there }
    let bytes = 0
    for (const path of Object.keys((JSON.parse(text) as { files: object }).files)) bytes += statSync(join(work, path)).size
    const offer = { version: SKERRY_VERSION, arch, id: releaseId(text), bytes }
    await rm(described, { force: true })
    await promisify(execFile)('tar', ['-czf', `${work}.tar.gz`, '--owner=0', '--group=0', '-C', work, 'bin', 'dist', 'script', RELEASE_FILE])
    await rename(`${work}.tar.gz`, archive)
    await writeFileAtomic(described, JSON.stringify(offer))
    return { archive, offer }
  } finally {
    await rm(work, { recursive: true, force: true })
    await rm(`${work}.tar.gz`, { force: true })
  }
}
