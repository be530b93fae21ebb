/**
 * CEL with Kubernetes' libraries: a text compiled against the variables it may name, its cost estimated, and run within a
 * limit. Loaded with the first CRD that has rules or the first webhook with match conditions.
 */
import { check, CelIssues, type Checked, type Issue } from './checker.ts'
import { estimate } from './cost.ts'
import { program, type Program } from './evaluate.ts'
import { Functions } from './functions.ts'
import { CelSyntaxError } from './lexer.ts'
import { defineAuthorizer } from './lib-authorizer.ts'
import { defineCore } from './lib-core.ts'
import { defineLists } from './lib-lists.ts'
import { defineNetwork } from './lib-network.ts'
import { defineNumbers } from './lib-numbers.ts'
import { defineText } from './lib-text.ts'
import { parse, type Node } from './parser.ts'
import { defineTime } from './time.ts'
import type { Type } from './type.ts'

/** What one evaluation may cost; Kubernetes' own limit, in its unit. */
export const CALL_LIMIT = 1_000_000
/** What all rules of one object may cost together. */
export const OBJECT_BUDGET = 10_000_000
/** Characters; a longer text is no rule that a person wrote. */
const MAX_TEXT = 100_000

export interface Compiled {
  readonly program: Program
  /** What it evaluates to. */
  readonly type: Type
  /** What it may cost at most, by the sizes its variables' types allow. */
  readonly maxCost: number
  /** Variables that it names. */
  readonly names: ReadonlySet<string>
}

/** A text that does not compile; the message is cel-go's drawing of each fault. */
export class CompileError extends Error {}

let table: Functions | undefined

function functions(): Functions {
  if (!table) {
    table = new Functions()
    for (const define of [defineCore, defineTime, defineText, defineLists, defineNetwork, defineNumbers, defineAuthorizer]) define(table)
  }
  return table
}

/** @throws CompileError; also with Kubernetes' words when the result is not of type `wanted` */
export function compile(text: string, variables: Readonly<Record<string, Type>>, wanted: 'bool' | 'string' | 'any'): Compiled {
  let checked: Checked
  let node: Node
  try {
    if (text.length > MAX_TEXT) throw new CelSyntaxError(`expression code point size exceeds limit: size: ${text.length}, limit ${MAX_TEXT}`, 0)
    node = parse(text)
    checked = check({ variables: new Map(Object.entries(variables)), functions: functions() }, node)
  } catch (error) {
    if (error instanceof CelSyntaxError) throw new CompileError(drawn(text, [{ at: error.at, message: error.message }]))
    if (error instanceof CelIssues) throw new CompileError(drawn(text, error.issues))
    throw error
  }
  const { kind } = checked.type
  if (wanted !== 'any' && kind !== wanted && kind !== 'dyn') throw new CompileError('')
  const names = new Set<string>()
  for (const [n] of checked.types) if (n.k === 'id') names.add(n.name)
  return { program: program(checked), type: checked.type, maxCost: estimate(checked).max, names }
}

/** `ERROR: <input>:1:5: …` with the line and an arrow under the place. */
function drawn(text: string, issues: readonly Issue[]): string {
  const sorted = issues.toSorted((a, b) => a.at - b.at)
  return sorted
    .map(({ at, message }) => {
      const before = text.slice(0, at)
      const line = before.split('\n').length
      const column = Array.from(before.slice(before.lastIndexOf('\n') + 1)).length
      const source = text.split('\n')[line - 1] ?? ''
      return `ERROR: <input>:${line}:${column + 1}: ${message}\n | ${source}\n | ${'.'.repeat(column)}^`
    })
    .join('\n')
}
