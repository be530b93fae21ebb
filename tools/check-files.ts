/**
 * Holds the rules of a file: at most 600 lines, over 400 says why (`Long because:` in its header), a header comment,
 * documented exports, kebab-case names, and a test beside every source file that has logic of its own.
 */
import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { ROOT, report, sourceFiles } from './files.ts'

const MOST = 600
const EXPLAIN = 400

/** What is wrong with one file, in words. */
export function faults(file: string, text: string): string[] {
  const found: string[] = []
  const lines = text.split('\n').length - 1
  const isTest = file.endsWith('.test.ts')
  if (lines > MOST) found.push(`${file}: ${lines} lines, at most ${MOST}: one idea a file, split it`)
  else if (lines > EXPLAIN && !/Long because:/.test(text)) found.push(`${file}: ${lines} lines, over ${EXPLAIN}: say why in the header ("Long because: …") or split it`)
  if (!/^(#!.*\n)?(\/\/|\/\*)/.test(text) && !isTest) found.push(`${file}: no header comment: say what it is and who uses it`)
  if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*\.ts$/.test(basename(file))) found.push(`${file}: file names are kebab-case`)
  if (!isTest && file.startsWith('src/')) {
    for (const m of text.matchAll(/^(?!\s)(?<!\*\/\n)export (?:async )?(?:function|class) (\w+)/gm)) {
      const before = text.slice(0, m.index)
      if (!/\*\/\s*$|\/\/ [^\n]*\n$/.test(before)) found.push(`${file}: export "${m[1]}" has no comment that says its contract`)
    }
  }
  if (/\b(it|test|describe)\.only\(/.test(text)) found.push(`${file}: ".only" left in`)
  if (/\b(TODO|FIXME|XXX)\b(?!:? @)/.test(text.replaceAll('@TODO', '')) && !file.startsWith('tools/')) found.push(`${file}: a loose TODO: write "@TODO" with what is missing`)
  return found
}

function main(): void {
  const files = sourceFiles(['src', 'test', 'tools', 'examples'])
  report('check-files', files.length, files.flatMap((f) => faults(f, readFileSync(join(ROOT, f), 'utf8'))).concat(untested(files)))
}

/** Source folders whose files are all without any test beside or in the same folder. */
function untested(files: readonly string[]): string[] {
  const folders = new Set(files.filter((f) => f.startsWith('src/')).map((f) => f.slice(0, f.lastIndexOf('/'))))
  const quiet = /^src\/cli|\/gen$|^src\/dashboard/
  return [...folders].filter((d) => !quiet.test(d) && !files.some((f) => f.startsWith(`${d}/`) && f.endsWith('.test.ts')) && existsSync(join(ROOT, d))).map((d) => `${d}: no test in the folder`)
}

if (import.meta.main) main()
