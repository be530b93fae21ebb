/** Env files as Kubernetes reads them: `NAME='value'`, the value between single quotes as it is, over lines if need be. Pure. */
import { AppError } from '../../base/errors.ts'

/** The value of a name, the first if there are several; undefined when the file has none. @throws AppError `invalid` naming the line of what comes before it */
export function envFileValue(text: string, name: string): string | undefined {
  const lines = text.split('\n').map((line) => line.replace(/\r$/, ''))
  const bad = (at: number, why: string, where = 'at'): AppError => new AppError('invalid', `invalid environment variable format ${where} line ${at + 1}: ${why}`)
  for (let i = 0; i < lines.length; i++) {
    const line = (lines[i] as string).replace(/^[ \t]+/, '')
    if (line === '' || line.startsWith('#')) continue
    const equals = line.indexOf('=')
    if (equals < 0) throw bad(i, "missing '='")
    const found = line.slice(0, equals)
    if (found.trim() === '') throw bad(i, 'empty variable name')
    if (/\s/.test(found)) throw bad(i, 'whitespace before =')
    let rest = line.slice(equals + 1)
    // As a shell has it: nothing is assigned, and the rest would be a command.
    if (rest === '' || /^[ \t]/.test(rest)) {
      if (found === name) return ''
      continue
    }
    if (!rest.startsWith("'")) throw bad(i, 'value must be enclosed in single quotes')
    const [began, parts] = [i, [] as string[]]
    for (rest = rest.slice(1); !rest.includes("'"); rest = lines[i] as string) {
      parts.push(rest)
      if (++i >= lines.length) throw bad(began, 'unclosed single quote', 'starting at')
    }
    const quote = rest.indexOf("'")
    if (!/^[ \t]*(#.*)?$/.test(rest.slice(quote + 1))) throw bad(i, 'unexpected content after closing quote')
    if (found === name) return [...parts, rest.slice(0, quote)].join('\n')
  }
  return undefined
}
