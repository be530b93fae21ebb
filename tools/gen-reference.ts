/**
 * The reference, written from the code itself: `docs/reference/settings.md`, `metrics.md` and `kinds.md`. With `--write` the pages
 * are written; `check-docs.ts` tells when one is not current.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { RESOURCES } from '../src/api/kinds.ts'
import type { ResourceDef } from '../src/api/resource.ts'
import { LOG_FLAGS } from '../src/cli/command.ts'
import { COMMANDS } from '../src/cli/commands.ts'
import type { Flag } from '../src/cli/config.ts'
import { ROOT, sourceFiles } from './files.ts'

const HEAD = '<!-- written by tools/gen-reference.ts -->\n'
/** A bar would end the cell of a table. */
const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
const code = (text: string): string => (text === '' ? '' : `\`${cell(text)}\``)

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((r) => `| ${r.join(' | ')} |`).join('\n')
}

function flagRow(flag: Flag): string[] {
  const value = flag.type === 'boolean' ? '' : ` ${flag.value ?? flag.type.toUpperCase()}`
  return [code(`--${flag.name}${value}`), code(`SKERRY_${flag.name.toUpperCase().replaceAll('-', '_')}`), flag.default === undefined ? '' : code(String(flag.default)), cell(flag.help)]
}

/** Commands with their flags. */
export function settingsPage(): string {
  const columns = ['flag', 'variable', 'default', 'what it is']
  const parts = COMMANDS.map((c) => {
    const text = `## skerry ${c.name}${c.usage === undefined ? '' : ` ${c.usage}`}\n\n${c.help}`
    return c.flags.length === 0 ? text : `${text}\n\n${table(columns, c.flags.map(flagRow))}`
  })
  return `${HEAD}# Settings

A flag comes before its variable, that before the key of the flag's name in \`/etc/skerry/config.yaml\` (\`--config PATH\` and \`SKERRY_CONFIG\` name another
file), that before the default. A list is given by repeating the flag, with commas in the variable, as a list in the file. A settings file may serve several
commands; a key that no command has is refused.

${parts.join('\n\n')}

## Every command

${table(columns, LOG_FLAGS.map(flagRow))}
`
}

const METRIC = /\.(counter|gauge|histogram)\(\s*'([a-z0-9_]+)',\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`([^`]*)`)/g
const AREAS: Readonly<Record<string, string>> = { apiserver: 'server', agent: 'node', devices: 'node', telemetry: 'node', collector: 'server' }

/** Metrics made in the source files, by what they are called in. */
export function metricsPage(files: ReadonlyMap<string, string>): string {
  const rows: string[][] = []
  for (const [path, text] of files) {
    const area = path.split('/')[1] ?? ''
    for (const [, type = '', name = '', a, b, c] of text.matchAll(METRIC)) rows.push([code(name), type, AREAS[area] ?? area, cell((a ?? b ?? c ?? '').replaceAll(/\\(.)/g, '$1'))])
  }
  rows.sort((x, y) => ((x[0] as string) < (y[0] as string) ? -1 : 1))
  return `${HEAD}# Metrics

In the text format of Prometheus: a server's at \`/metrics\` of its port (\`kubectl get --raw /metrics\`), a node's through the server at
\`/api/v1/nodes/NAME/proxy/metrics\`. Those with a Kubernetes name have its labels.

${table(['name', 'type', 'of a', 'what it is'], rows)}
`
}

const SERVED: Readonly<Record<ResourceDef['served'], string>> = { full: 'yes', stored: 'stored only', virtual: 'answered at once' }

/** Resources of the API; custom ones come with their definitions. */
export function kindsPage(): string {
  const groups = Map.groupBy(RESOURCES, (r) => (r.group === '' ? r.version : `${r.group}/${r.version}`))
  const parts = [...groups].map(([name, defs]) => {
    const rows = defs.map((r) => [r.kind, code(r.resource), code(r.shortNames.join(', ')), r.namespaced ? 'yes' : 'no', r.verbs.join(' '), r.subresources.map((s) => s.name).join(' '), SERVED[r.served]])
    return `## ${name}\n\n${table(['kind', 'resource', 'short', 'in a namespace', 'verbs', 'subresources', 'acted on'], rows)}`
  })
  return `${HEAD}# Kinds

What the API serves from the start, as \`kubectl api-resources\` lists it. \`stored only\`: kept, validated and served, but no controller of this server acts on
it yet (a create answers with a Warning).

${parts.join('\n\n')}
`
}

/** All pages, by path. */
export function referencePages(): Map<string, string> {
  const sources = new Map(sourceFiles(['src']).filter((f) => !f.endsWith('.test.ts') && !f.includes('/gen/')).map((f) => [f, readFileSync(join(ROOT, f), 'utf8')]))
  return new Map([
    ['docs/reference/settings.md', settingsPage()],
    ['docs/reference/metrics.md', metricsPage(sources)],
    ['docs/reference/kinds.md', kindsPage()],
  ])
}

if (import.meta.main) {
  for (const [path, text] of referencePages()) {
    if (!process.argv.includes('--write')) {
      process.stdout.write(text)
      continue
    }
    mkdirSync(dirname(join(ROOT, path)), { recursive: true })
    writeFileSync(join(ROOT, path), text)
  }
}
