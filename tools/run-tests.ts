/**
 * Runs the tests by class: `fast` (unit tests beside the code and suites in process), `integration` (real kubectl and peers),
 * `e2e` (real containerd, namespaces as hosts; root), `soak` (loops of `SKERRY_SOAK` rounds, see script/soak), or named files. Prints the runner's own closing lines.
 *
 * One or two files that fail are run once more by themselves: what passes then is told as UNSTEADY, with its failure, and is a fault to look
 * for, not a reason to refuse a change (docs/decisions/0018).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { ROOT, sourceFiles } from './files.ts'

const CLASSES: Readonly<Record<string, { folders: string[]; parallel: number; timeoutMs: number; limitMs: number; again?: number }>> = {
  fast: { folders: ['src', 'tools', 'test/suites', 'test/kit', 'test/security', 'examples'], parallel: 2, timeoutMs: 120_000, limitMs: 10 * 60_000, again: 2 },
  integration: { folders: ['test/integration'], parallel: 1, timeoutMs: 300_000, limitMs: 20 * 60_000, again: 2 },
  soak: { folders: ['test/soak'], parallel: 1, timeoutMs: 12 * 3_600_000, limitMs: 12 * 3_600_000 },
  e2e: { folders: ['test/e2e'], parallel: 1, timeoutMs: 900_000, limitMs: 60 * 60_000, again: 2 },
}

const name = process.argv[2] ?? 'fast'
const chosen = CLASSES[name]
if (!chosen) {
  console.error(`run tests: class "${name}" is not one of ${Object.keys(CLASSES).join(', ')}`)
  process.exit(2)
}
const named = process.argv.slice(3)
const { failed, status } = run(chosen, named.length > 0 ? named : sourceFiles(chosen.folders, '.test.ts'))
// Files that somebody names are being looked at: they are not run again.
if (status === 0 || named.length > 0 || failed.length === 0 || failed.length > (chosen.again ?? 0)) process.exit(status)
console.log(`run tests: once more, by themselves: ${failed.join(' ')}`)
const again = run(chosen, failed).status
if (again === 0) console.log(`UNSTEADY: ${failed.join(' ')} failed (see above) and passed when run again`)
process.exit(again)

/** Runs the files of a class; which of them had failures, relative to the root. */
function run({ parallel, timeoutMs, limitMs }: { parallel: number; timeoutMs: number; limitMs: number }, files: readonly string[]): { failed: string[]; status: number } {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-tests-'))
  const list = join(dir, 'failed')
  // A test that fails may leave a server open: its file ends all the same, so that its failure is told.
  const args = ['--disable-warning=ExperimentalWarning', '--test', '--test-force-exit', `--test-concurrency=${parallel}`, `--test-timeout=${timeoutMs}`, '--test-reporter=./tools/quiet-reporter.ts', ...files]
  try {
    // A test's own timeout does not end what it called: the class has a limit.
    const ran = spawnSync(process.execPath, args, { cwd: ROOT, stdio: 'inherit', timeout: process.env['SKERRY_SOAK'] === undefined ? limitMs : 0, env: { ...process.env, SKERRY_FAILED_FILES: list } })
    // The runner ends in order when it is told to, with the names of what was not over.
    const late = ran.signal !== null || (ran.error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT'
    if (late) console.error(`run tests: not over after ${limitMs / 60_000} minutes`)
    const failed = existsSync(list) ? readFileSync(list, 'utf8').trim().split('\n') : []
    return { failed: [...new Set(failed.map((f) => relative(ROOT, f)))], status: late ? 1 : (ran.status ?? 1) }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
