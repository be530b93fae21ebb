/**
 * Runs the tests by class: `fast` (unit tests beside the code and suites in process), `integration` (real kubectl and peers),
 * `e2e` (real containerd, namespaces as hosts; root), `soak` (loops of `SKERRY_SOAK` rounds, see script/soak), or named files. Prints the runner's own closing lines.
 */
import { spawnSync } from 'node:child_process'
import { ROOT, sourceFiles } from './files.ts'

const CLASSES: Readonly<Record<string, { folders: string[]; parallel: number; timeoutMs: number; limitMs: number }>> = {
  fast: { folders: ['src', 'tools', 'test/suites', 'test/kit', 'test/security', 'examples'], parallel: 2, timeoutMs: 120_000, limitMs: 10 * 60_000 },
  integration: { folders: ['test/integration'], parallel: 1, timeoutMs: 300_000, limitMs: 20 * 60_000 },
  soak: { folders: ['test/soak'], parallel: 1, timeoutMs: 12 * 3_600_000, limitMs: 12 * 3_600_000 },
  e2e: { folders: ['test/e2e'], parallel: 1, timeoutMs: 900_000, limitMs: 60 * 60_000 },
}

const name = process.argv[2] ?? 'fast'
const chosen = CLASSES[name]
if (!chosen) {
  console.error(`run tests: class "${name}" is not one of ${Object.keys(CLASSES).join(', ')}`)
  process.exit(2)
}
const files = process.argv.length > 3 ? process.argv.slice(3) : sourceFiles(chosen.folders, '.test.ts')
const args = ['--disable-warning=ExperimentalWarning', '--test', `--test-concurrency=${chosen.parallel}`, `--test-timeout=${chosen.timeoutMs}`, '--test-reporter=./tools/quiet-reporter.ts', ...files]
// A test's own timeout does not end a file whose process stays alive (an open handle after a failure): the class has a limit.
const run = spawnSync(process.execPath, args, { cwd: ROOT, stdio: 'inherit', timeout: process.env['SKERRY_SOAK'] === undefined ? chosen.limitMs : 0 })
if (run.signal !== null) console.error(`run tests: not over after ${chosen.limitMs / 60_000} minutes: a file above that has no result keeps its process alive`)
process.exit(run.status ?? 1)
