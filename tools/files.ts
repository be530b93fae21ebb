/** The repository's source files as the checks see them. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The root of the checkout. */
export const ROOT = dirname(import.meta.dirname)

/** Tracked and new (not ignored) files under `folders`, as paths from the root. */
export function sourceFiles(folders: readonly string[], suffix = '.ts'): string[] {
  const out = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '--', ...folders], { cwd: ROOT, encoding: 'utf8' })
  return out.split('\n').filter((f) => f.endsWith(suffix) && existsSync(join(ROOT, f)))
}

/** Prints findings and the plain closing line; sets the exit code. */
export function report(name: string, checked: number, findings: readonly string[]): void {
  for (const f of findings) console.error(`${name}: ${f}`)
  console.log(`${name}: ${checked} checked, ${findings.length} found wrong`)
  if (findings.length > 0) process.exitCode = 1
}
