/**
 * Bundles the one program and its workers into `dist/` (a few files, quick to start, small in memory). Used by
 * script/bootstrap, by `bin/skerry`, and by the server, which hands the bundle to machines that join with install.sh.
 */
import { createRequire } from 'node:module'
import { build, type Plugin } from 'esbuild'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { ROOT, sourceFiles } from './files.ts'

/** Worker threads by the name that `startWorker` is given, as the sources say them. */
const WORKERS = new Map<string, string>()
for (const file of sourceFiles(['src'])) {
  for (const m of readFileSync(join(ROOT, file), 'utf8').matchAll(/startWorker\('([\w-]+)', new URL\('(\.[^']+)', import\.meta\.url\)/g)) {
    WORKERS.set(m[1] as string, relative(ROOT, join(ROOT, dirname(file), m[2] as string)))
  }
}

/**
 * `node:http` without its lazy exports. An `import` of a built-in module reads every export of it, and three of http's
 * (WebSocket, CloseEvent, MessageEvent) load a whole HTTP client that nothing here uses: 12 MB resident in each process.
 */
const quietHttp: Plugin = {
  name: 'quiet-http',
  setup({ onResolve, onLoad }) {
    const lazy = new Set(['WebSocket', 'CloseEvent', 'MessageEvent'])
    const names = Object.keys(createRequire(import.meta.url)('node:http') as object).filter((n) => !lazy.has(n))
    onResolve({ filter: /^(node:)?http$/ }, ({ kind }) => (kind === 'require-call' ? { external: true } : { path: 'http', namespace: 'quiet-http', sideEffects: false }))
    onLoad({ filter: /.*/, namespace: 'quiet-http' }, () => ({ contents: `const http = process.getBuiltinModule('node:http')\nexport default http\nexport const { ${names.join(', ')} } = http` }))
  },
}

const dist = join(ROOT, process.argv[2] ?? 'dist')
mkdirSync(dist, { recursive: true })
const result = await build({
  absWorkingDir: ROOT,
  entryPoints: [
    { in: 'src/cli/main.ts', out: 'skerry' },
    ...[...WORKERS].map(([name, path]) => ({ in: path, out: `worker-${name}` })),
  ],
  bundle: true,
  splitting: true,
  chunkNames: 'chunk-[hash]',
  platform: 'node',
  format: 'esm',
  target: 'node24',
  outdir: dist,
  outExtension: { '.js': '.mjs' },
  legalComments: 'none',
  minifySyntax: true,
  minifyWhitespace: true,
  metafile: true,
  write: false,
  plugins: [quietHttp],
  // Native helpers that ws and others use only when present.
  external: ['bufferutil', 'utf-8-validate'],
  loader: { '.proto': 'text' },
  banner: { js: "import { createRequire as __cr } from 'node:module'; const require = __cr(import.meta.url);" },
  logLevel: 'warning',
})
// File by file at once: a program that starts meanwhile finds whole files. The main file last, as its age tells how fresh all are.
const files = result.outputFiles.toSorted((a, b) => Number(a.path.endsWith('/skerry.mjs')) - Number(b.path.endsWith('/skerry.mjs')))
for (const f of files) {
  writeFileSync(`${f.path}.new`, f.contents)
  renameSync(`${f.path}.new`, f.path)
}
const made = new Set(files.map((f) => basename(f.path)))
for (const f of readdirSync(dist)) if (f.endsWith('.mjs') && !made.has(f)) rmSync(join(dist, f))
const bytes = Object.values(result.metafile.outputs).reduce((n, o) => n + o.bytes, 0)
writeFileSync(join(dist, 'bundle.json'), JSON.stringify({ files: Object.keys(result.metafile.outputs).map((f) => f.replace('dist/', '')) }))
console.log(`bundle: ${Object.keys(result.metafile.outputs).length} files, ${(bytes / 1e6).toFixed(2)} MB`)
