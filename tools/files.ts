/** The repository's source files as the checks see them. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The root of the checkout. */
export const ROOT = dirname(import.meta.dirname)

/** Tracked and new (not ignored) files under `folders`, as paths from the root. Without git (an unpacked archive): all that are there. */
export function sourceFiles(folders: readonly string[], suffix = '.ts'): string[] {
  let files: string[]
  try {
    files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '--', ...folders], { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
  } catch {
    files = folders
      .filter((f) => existsSync(join(ROOT, f)))
      .flatMap((f) => readdirSync(join(ROOT, f), { recursive: true, encoding: 'utf8' }).map((name) => join(f, name)))
      .filter((f) => !f.startsWith('src/api/gen/'))
  }
  return files.filter((f) => f.endsWith(suffix) && existsSync(join(ROOT, f))).sort()
}

/** Prints findings and the plain closing line; sets the exit code. */
export function report(name: string, checked: number, findings: readonly string[]): void {
  for (const f of findings) console.error(`${name}: ${f}`)
  console.log(`${name}: ${checked} checked, ${findings.length} found wrong`)
  if (findings.length > 0) process.exitCode = 1
}
