/**
 * A session of real clients as text: commands with the output that a Kubernetes cluster gives. Pure: reads the text, makes
 * what changes from run to run alike, compares, and writes the text anew. `session-run.ts` runs one.
 *
 *     # a comment                        what follows is about
 *     $ kubectl get pods                 a command of the shell; lines that begin with `> ` go on with it
 *     No resources found                 what it prints on both outputs; `...` stands for any lines, ` (re)` at the end of a
 *                                        line makes it a pattern
 *     [1]                                its exit code, when it is not 0
 *     [kubectl 1.31 1.33]                what follows is expected from these clients instead
 *     ~ kubectl get pods                 as `$`, but tried until it prints this
 *     @only 1.35                         the next command is for these clients only
 *     @gap what is missing               the next command is known to print something else yet; it is told, not failed
 *     @nodes a b                         the session has these nodes (first lines only)
 *     @client helm                       whose versions they are, unless kubectl's (first lines only)
 */

/** One command and what is expected of it. */
export interface Step {
  /** Of the command in its file, from 1. */
  readonly line: number
  readonly command: string
  /** Tried until the output is as expected. */
  readonly retry: boolean
  /** The clients it is for; undefined: all. */
  readonly only: readonly string[] | undefined
  /** What is known to be missing for it; undefined: nothing. */
  readonly gap: string | undefined
  /** Comments before it, with the blank lines behind them; kept when the text is written anew. */
  readonly before: readonly string[]
  readonly expected: readonly Expectation[]
}

/** Output lines and exit code; the first of a step is for every client that no other names. */
export interface Expectation {
  readonly versions: readonly string[]
  readonly lines: readonly string[]
  readonly code: number
}

export interface Session {
  /** Values of the `@name value…` lines at the top. */
  readonly settings: Readonly<Record<string, readonly string[]>>
  readonly head: readonly string[]
  readonly steps: readonly Step[]
}

const words = (text: string): string[] => text.trim().split(/\s+/)
const trimmed = (lines: readonly string[]): string[] => {
  const from = lines.findIndex((l) => l !== '')
  return from < 0 ? [] : lines.slice(from, lines.findLastIndex((l) => l !== '') + 1)
}

/** Reads the text. @throws Error that names the line */
export function parseSession(text: string): Session {
  const settings: Record<string, string[]> = {}
  const head: string[] = []
  const steps: Step[] = []
  let before: string[] = []
  let only: string[] | undefined
  let gap: string | undefined
  const lines = text.split('\n')
  for (let i = 0; i < lines.length; ) {
    const line = lines[i] as string
    const begin = /^([$~]) (.*)$/.exec(line)
    if (!begin) {
      if (line.startsWith('@only ')) only = words(line.slice(6))
      else if (line.startsWith('@gap ')) gap = line.slice(5)
      else if (line.startsWith('@') && steps.length === 0) {
        const [name = '', ...values] = words(line.slice(1))
        settings[name] = values
        head.push(line)
      } else if (line.startsWith('#') || (line === '' && before.length > 0)) before.push(line)
      else if (line !== '') throw new Error(`session line ${i + 1}: "${line}" belongs to no command`)
      i++
      continue
    }
    const at = i + 1
    let command = begin[2] as string
    for (i++; lines[i]?.startsWith('> '); i++) command += `\n${lines[i]?.slice(2)}`
    const expected: { versions: string[]; lines: string[]; code: number }[] = [{ versions: [], lines: [], code: 0 }]
    for (; i < lines.length && !/^([$~] |#|@)/.test(lines[i] as string); i++) {
      const l = lines[i] as string
      const versions = /^\[(?:kubectl|helm) ([\d. ]+)\]$/.exec(l)
      const code = /^\[(\d+)\]$/.exec(l)
      const current = expected.at(-1) as (typeof expected)[number]
      if (versions) expected.push({ versions: words(versions[1] as string), lines: [], code: 0 })
      else if (code) current.code = Number(code[1])
      else current.lines.push(l.startsWith('\\') ? l.slice(1) : l)
    }
    steps.push({ line: at, command, retry: begin[1] === '~', only, gap, before, expected: expected.map((e) => ({ ...e, lines: trimmed(e.lines) })) })
    before = []
    only = undefined
    gap = undefined
  }
  return { settings, head, steps }
}

/** What a client of that version should see. */
export function expectationFor(step: Step, version: string): Expectation {
  return step.expected.find((e) => e.versions.includes(version)) ?? (step.expected[0] as Expectation)
}

/** The alphabet of generated names and hashes. */
const RANDOM = '[bcdfghjklmnpqrstvwxz2456789]'
const AGE = '(?:<invalid>|(?:\\d+m)?\\d+(?:\\.\\d+)?s|\\d+ms|\\d+d(?:\\d+h)?)'
const ALIKE: readonly (readonly [RegExp, string])[] = [
  [/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)/g, '<time>'],
  [/\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}/g, '<time>'],
  [/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/g, '<uid>'],
  [/\b(?:10|127|169)(?:\.\d{1,3}){3}(?::\d{4,5})?\b(?!\/)/g, '<ip>'],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, '<token>'],
  [/((?:resourceVersion"?|Resource Version): *"?)\d+/g, '$1<rv>'],
  // Before the next: a number may be made of that alphabet's digits alone.
  [/kubectl-edit-\d+/g, 'kubectl-edit-<rand>'],
  [new RegExp(`(?<=-)${RANDOM}{8,10}(?:-${RANDOM}{5})?\\b`, 'g'), '<hash>'],
  [new RegExp(`(?<=-)${RANDOM}{5}\\b(?!-)`, 'g'), '<rand>'],
  [/(?<=\S) {2,}/g, '  '],
  [new RegExp(`(?<=^|\\s|\\()${AGE}(?=\\s|\\)|$)`, 'g'), '<age>'],
  [/\b3[0-2]\d{3}(?=\/(?:TCP|UDP))/g, '<port>'],
  // Go leaves out last zeros of a second, and Helm fills its column up.
  [/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \+0000 UTC(?: +(?=\t))?/g, '<time>'],
  [/\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}/g, '<time>'],
  [/(?<=modifiedAt=)\d+/g, '<time>'],
  [/(?<=kube-api-access-)\w{5}/g, '<rand>'],
  [/(?<=pod-template-hash=)\w+/g, '<hash>'],
  [/^([WIE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ /, '$1 '],
  [/\s+$/g, ''],
]
/** What only this server says, and only until it has the controller. */
const OWN = /^Warning: \w+ is stored and served, but no controller of this server acts on it yet$/

/** Output without what changes from run to run: times, ages, uids, addresses, versions, generated names, widths of columns; blank lines in a row are one. */
export function alike(output: string): string[] {
  const lines = trimmed(output.split('\n').filter((l) => !OWN.test(l)).map((line) => ALIKE.reduce((text, [pattern, by]) => text.replace(pattern, by), line)))
  return lines.filter((l, i) => l !== '' || lines[i - 1] !== '')
}

function lineMatches(expected: string, actual: string): boolean {
  if (expected === actual) return true
  return expected.endsWith(' (re)') && new RegExp(`^(?:${expected.slice(0, -5)})$`).test(actual)
}

/** Whether the lines are as expected; `...` takes any number of them. */
export function matches(expected: readonly string[], actual: readonly string[], from = 0, at = 0): boolean {
  for (let e = from, a = at; ; e++, a++) {
    if (e === expected.length) return a === actual.length
    if (expected[e] === '...') {
      for (let skip = a; skip <= actual.length; skip++) if (matches(expected, actual, e + 1, skip)) return true
      return false
    }
    if (a === actual.length || !lineMatches(expected[e] as string, actual[a] as string)) return false
  }
}

/** The first line that is not as expected, with a few lines around it, for a person to read. */
export function difference(expected: Expectation, lines: readonly string[], code: number): string {
  let at = 0
  while (at < lines.length && at < expected.lines.length && lineMatches(expected.lines[at] as string, lines[at] as string)) at++
  const shown = (all: readonly string[]): string => all.slice(Math.max(0, at - 1), at + 12).map((l) => `    ${l}`).join('\n')
  return `  from line ${at + 1} on, expected (exit ${expected.code}):\n${shown(expected.lines)}\n  got (exit ${code}):\n${shown(lines)}`
}

/** What one client printed at a step. */
export interface Result {
  readonly lines: readonly string[]
  readonly code: number
}

const same = (a: Result, b: Result): boolean => a.code === b.code && a.lines.join('\n') === b.lines.join('\n')
const fits = (e: Result, r: Result): boolean => e.code === r.code && matches(e.lines, r.lines)
const ESCAPED = /^([$~] |#|@|\\|\[(\d+|(?:kubectl|helm) [\d. ]+)\]$)/

function written({ lines, code }: Result): string[] {
  return [...lines.map((l) => (ESCAPED.test(l) ? `\\${l}` : l)), ...(code === 0 ? [] : [`[${code}]`])]
}

/** The text with what clients printed, for a person to judge; results by version, the first version's are everyone's. */
export function rewriteSession(session: Session, results: ReadonlyMap<string, readonly (Result | undefined)[]>): string {
  const out = [...session.head]
  for (const [i, step] of session.steps.entries()) {
    if (out.length > 0) out.push('')
    out.push(...step.before)
    if (step.gap !== undefined) out.push(`@gap ${step.gap}`)
    if (step.only) out.push(`@only ${step.only.join(' ')}`)
    out.push(...step.command.split('\n').map((l, n) => (n === 0 ? `${step.retry ? '~' : '$'} ${l}` : `> ${l}`)))
    let common: Result | undefined
    const others: { versions: string[]; result: Result }[] = []
    for (const [version, all] of results) {
      const got = all[i]
      if (!got) continue
      const old = expectationFor(step, version)
      const result = fits(old, got) || step.gap !== undefined ? old : got
      if (!common) common = result
      else if (!fits(common, got) && !same(common, result)) {
        const like = others.find((o) => same(o.result, result))
        if (like) like.versions.push(version)
        else others.push({ versions: [version], result })
      }
    }
    out.push(...written(common ?? (step.expected[0] as Expectation)))
    for (const { versions, result } of others) out.push(`[${session.settings['client']?.[0] ?? 'kubectl'} ${versions.join(' ')}]`, ...written(result))
  }
  return `${out.join('\n')}\n`
}
