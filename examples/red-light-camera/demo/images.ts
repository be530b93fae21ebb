/** Builds the app's images on this machine: the pinned Node with the libraries it needs, and the app bundled into one file. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { buildImage, type ImageFile } from '../../../src/images/mod.ts'

const ROOT = join(import.meta.dirname, '../../..')
const OUT = join(ROOT, 'dist/images')

export interface AppImages {
  /** Archives for `skerry image import`. */
  readonly v1: string
  readonly v2: string
}

/** Builds `red-light:v1` and `red-light:v2`; the same Node layer in both, so an update moves only the app. Skips what is current. */
export async function buildAppImages(): Promise<AppImages> {
  const images = { v1: join(OUT, 'red-light-v1.tar'), v2: join(OUT, 'red-light-v2.tar') }
  mkdirSync(OUT, { recursive: true })
  const bundled = await build({
    entryPoints: [join(ROOT, 'examples/red-light-camera/app/main.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    write: false,
    banner: { js: "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);" },
  })
  const app = bundled.outputFiles[0]?.text ?? ''
  const node = process.execPath
  const runtime: ImageFile[] = [{ path: 'usr/local/bin/node', from: { copy: node }, mode: 0o755 }, ...libraries(node)]
  for (const version of ['v1', 'v2'] as const) {
    const stamp = `${images[version]}.app.mjs`
    if (existsSync(images[version]) && existsSync(stamp) && readFileSync(stamp, 'utf8') === app && statSync(images[version]).mtimeMs > statSync(node).mtimeMs) continue
    await buildImage(
      {
        name: `red-light:${version}`,
        layers: [runtime, [{ path: 'app/main.mjs', from: { bytes: app } }]],
        entrypoint: ['/usr/local/bin/node', '--max-semi-space-size=2', '/app/main.mjs'],
        env: [`APP_VERSION=${version}`],
      },
      images[version],
    )
    writeFileSync(stamp, app)
  }
  return images
}

/** The shared libraries a program needs, as files at the paths where it looks for them. */
export function libraries(program: string): ImageFile[] {
  const out = execFileSync('ldd', [program], { encoding: 'utf8' })
  const paths = [...out.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((m) => m[1] as string)
  return [...new Set(paths)].map((p) => ({ path: p.slice(1), from: { copy: p }, mode: 0o755 }))
}
