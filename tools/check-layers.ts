/**
 * Holds the arrows of `layers.ts`: no area imports one it may not, no area is entered but through its `mod.ts`, no import
 * cycles between areas, and every row has its folder. Draws the diagram in ARCHITECTURE.md (`--write`) or checks that it is current.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { AREAS, OPEN_AREAS } from './layers.ts'
import { ROOT, report, sourceFiles } from './files.ts'

const IMPORT = /(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|new URL\(\s*['"](\.[^'"]+)['"]\s*,\s*import\.meta\.url/g

/** What is wrong with one file's imports, in words. Pure, so that its test can plant breaches. */
export function breaches(file: string, text: string): string[] {
  const area = file.split('/')[1] ?? ''
  const rule = AREAS[area]
  if (!rule) return [`${file}: area "${area}" has no row in tools/layers.ts: add one with its arrows`]
  const found: string[] = []
  for (const match of text.matchAll(IMPORT)) {
    const target = match[1] ?? match[2] ?? match[3] ?? ''
    if (!target.startsWith('.')) continue
    const path = relative('.', normalize(join(dirname(file), target)))
    const [top, other = ''] = path.split('/')
    const isTest = file.endsWith('.test.ts')
    if (top !== 'src') {
      // A test may read data of the repository (a manifest, package.json); code from elsewhere only from test/.
      if (!(isTest && (top === 'test' || !path.endsWith('.ts')))) found.push(`${file}: imports "${path}" outside src`)
      continue
    }
    if (other === area) continue
    // A test may boot its area with what it needs; production code keeps the arrows.
    if (!isTest && !rule.imports.includes('*') && !rule.imports.includes(other)) {
      found.push(`${file}: "${area}" may not import "${other}" (${path}): ${rule.why}`)
    } else if (!isTest && !OPEN_AREAS.includes(other) && !path.endsWith(`src/${other}/mod.ts`) && !/\/ports?\.ts$|^src\/(store\/store|cri\/runtime|telemetry\/(log|batch)|devices\/driver)\.ts$/.test(path)) {
      found.push(`${file}: enters "${other}" by "${path}": import its mod.ts`)
    }
  }
  return found
}

/** The diagram: areas in rows by height, with their arrows. */
export function drawing(): string {
  const height = new Map<string, number>()
  const heightOf = (area: string, path: string[] = []): number => {
    if (path.includes(area)) throw new Error(`draw layers: cycle ${[...path, area].join(' -> ')}`)
    const known = height.get(area)
    if (known !== undefined) return known
    const below = AREAS[area]?.imports.filter((i) => i !== '*') ?? []
    const h = area === 'cli' ? 99 : below.length === 0 ? 0 : 1 + Math.max(...below.map((b) => heightOf(b, [...path, area])))
    height.set(area, h)
    return h
  }
  const rows = new Map<number, string[]>()
  for (const area of Object.keys(AREAS)) {
    const h = heightOf(area)
    rows.set(h, [...(rows.get(h) ?? []), area])
  }
  const lines = [...rows.entries()].sort((a, b) => b[0] - a[0]).map(([, areas]) => areas.map((a) => `[ ${a} ]`).join(' '))
  const width = Math.max(...lines.map((l) => l.length))
  const center = (l: string): string => ' '.repeat(Math.floor((width - l.length) / 2)) + l
  const arrows = Object.entries(AREAS).map(([a, r]) => `| \`${a}\` | ${r.imports.length === 0 ? '-' : r.imports[0] === '*' ? 'all' : r.imports.join(', ')} | ${r.what} | ${r.why} |`)
  return ['```', ...lines.map(center).join(`\n${center('|')}\n`).split('\n').map((l) => l.trimEnd()), '```', '', '| area | may import | what it is | why no more |', '|---|---|---|---|', ...arrows].join('\n')
}

function main(): void {
  const findings: string[] = []
  const files = sourceFiles(['src'])
  for (const file of files) findings.push(...breaches(file, readFileSync(join(ROOT, file), 'utf8')))
  for (const area of Object.keys(AREAS)) if (!existsSync(join(ROOT, 'src', area))) findings.push(`tools/layers.ts: area "${area}" has no folder src/${area}`)
  const page = join(ROOT, 'ARCHITECTURE.md')
  if (existsSync(page)) {
    const text = readFileSync(page, 'utf8')
    const next = text.replace(/(<!-- layers -->\n)[\s\S]*?(<!-- \/layers -->)/, `$1${drawing()}\n$2`)
    if (process.argv.includes('--write')) writeFileSync(page, next)
    else if (next !== text) findings.push('ARCHITECTURE.md: the drawn layers are not current: run bin/node tools/check-layers.ts --write')
  }
  report('check-layers', files.length, findings)
}

if (import.meta.main) main()
