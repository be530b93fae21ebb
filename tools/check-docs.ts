/**
 * Holds the documents to the truth: every link to a file in the repository leads somewhere, every command and path that
 * README and howtos name exists, the pages that must be there are there, and the reference says what the code says.
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { ROOT, report, sourceFiles } from './files.ts'
import { referencePages } from './gen-reference.ts'

const MUST = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'LICENSE', 'docs/figures.md']

/** Dead links and dead paths of one page. */
export function deadLinks(page: string, text: string, exists: (path: string) => boolean): string[] {
  const found: string[] = []
  for (const m of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
    const target = m[1] as string
    if (/^[a-z]+:/.test(target)) continue
    if (!exists(normalize(join(dirname(page), target)))) found.push(`${page}: link to "${target}" leads nowhere`)
  }
  for (const m of text.matchAll(/`((?:script|tools|examples|test|src|docs|bin)\/[\w./-]*\w)`/g)) {
    if (!exists(m[1] as string)) found.push(`${page}: names "${m[1]}", which is not in the repository`)
  }
  return found
}

function main(): void {
  const pages = sourceFiles(['*.md', 'docs', 'examples'], '.md')
  const findings = MUST.filter((f) => !existsSync(join(ROOT, f))).map((f) => `${f}: must be there`)
  for (const page of pages) findings.push(...deadLinks(page, readFileSync(join(ROOT, page), 'utf8'), (p) => existsSync(join(ROOT, p))))
  for (const [page, text] of referencePages()) {
    const path = join(ROOT, page)
    if (!existsSync(path) || readFileSync(path, 'utf8') !== text) findings.push(`${page}: is not current: run bin/node tools/gen-reference.ts --write`)
  }
  report('check-docs', pages.length, findings)
}

if (import.meta.main) main()
