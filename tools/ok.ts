/** `npm run ok`: schemas made, types, lint, layers, files, docs, fast tests; stops at the first that fails and says which. */
import { spawnSync } from 'node:child_process'
import { ROOT } from './files.ts'

const node = process.execPath
const STEPS: readonly (readonly [string, string, ...string[]])[] = [
  ['schemas', node, 'tools/gen-schemas.ts'],
  ['types', 'node_modules/.bin/tsc', '--noEmit', '-p', 'tsconfig.json'],
  ['lint', 'node_modules/.bin/oxlint', '--config', '.oxlintrc.json', '--deny-warnings', 'src', 'test', 'tools', 'examples'],
  ['layers', node, 'tools/check-layers.ts'],
  ['files', node, 'tools/check-files.ts'],
  ['docs', node, 'tools/check-docs.ts'],
  ['tests', node, 'tools/run-tests.ts', 'fast'],
]

for (const [name, command, ...args] of STEPS) {
  const start = performance.now()
  const run = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, NODE_NO_WARNINGS: '1' } })
  if (run.status !== 0) {
    console.error(`not ok: ${name} (${command === node ? 'bin/node' : command} ${args.join(' ')})`)
    process.exit(1)
  }
  console.log(`ok: ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
}
