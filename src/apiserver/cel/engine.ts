/**
 * The CEL engine with Kubernetes' function libraries, and expressions compiled with a budget. Only this folder knows the
 * engine; it is loaded with the first CRD that has rules or the first webhook with match conditions.
 */
import { Environment, type EnvironmentOptions } from '@marcbachmann/cel-js'
import { registerCollections } from './lib-collections.ts'
import { registerNetwork } from './lib-network.ts'
import { registerNumbers } from './lib-numbers.ts'

/** Steps that one object may spend on all its rules together; a step is one turn of a loop or one evaluation. Kubernetes' own unit differs. */
export const OBJECT_BUDGET = 1_000_000
const OPTIONS: EnvironmentOptions = { enableOptionalTypes: true, homogeneousAggregateLiterals: false, limits: { maxAstNodes: 10_000, maxDepth: 100 } }

/** What is left for one object; shared by its rules. */
export interface Budget {
  left: number
}

/** A compiled expression. @throws Error of the engine, in its words, and {@link BudgetError} */
export type Expression = (variables: Readonly<Record<string, unknown>>, budget: Budget) => unknown

/** The rules of one object took more steps than it may spend. */
export class BudgetError extends Error {}

let base: Environment | undefined

/** A fresh environment with every library, for variables and types of its own. */
export function environment(): Environment {
  if (!base) {
    base = new Environment(OPTIONS)
    registerCollections(base)
    registerNetwork(base)
    registerNumbers(base)
  }
  return base.clone()
}

/** Compiles and checks types. @throws Error with the engine's one-line reason, also when the result is not of type `wanted` */
export function compile(env: Environment, text: string, wanted: 'bool' | 'string'): Expression {
  const budget: { now: Budget } = { now: { left: OBJECT_BUDGET } }
  const program = env.parse(text)
  const { valid, type, error } = program.check()
  if (!valid) throw new Error(oneLine(error))
  if (type !== wanted && type !== 'dyn') throw new Error(`must evaluate to a ${wanted}, not ${type}`)
  meter(program.ast, () => {
    if (--budget.now.left < 0) throw new BudgetError('out of budget')
  })
  return (variables, left) => {
    budget.now = left
    left.left--
    try {
      const value: unknown = program(variables)
      if (left.left < 0) throw new BudgetError('out of budget')
      if (typeof value !== wanted.replace('bool', 'boolean')) throw new Error(`must evaluate to a ${wanted}`)
      return value
    } catch (error) {
      // A quantifier swallows errors of single turns, and with them the end of the budget.
      throw left.left < 0 ? new BudgetError('out of budget') : new Error(oneLine(error))
    }
  }
}

/** The engine's message without its drawing of the source. */
function oneLine(error: unknown): string {
  const summary = (error as { summary?: unknown } | undefined)?.summary
  return typeof summary === 'string' ? summary : String((error as Error)?.message ?? error).split('\n')[0] as string
}

interface Step {
  evaluate(evaluator: unknown, node: unknown, context: unknown): unknown
}

/** Counts every turn of every loop of a checked expression. Walks the engine's tree, whose macros hang their expansion below `meta`. */
function meter(root: unknown, tick: () => void): void {
  const seen = new Set<unknown>()
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || seen.has(value)) return
    seen.add(value)
    if (Array.isArray(value)) {
      for (const item of value) walk(item)
      return
    }
    const node = value as { op?: unknown; args?: unknown; meta?: { alternate?: unknown; macro?: object } }
    if (node.op === 'comprehension') {
      const loop = node.args as { iterable: unknown; step: Step }
      walk(loop.iterable)
      walk(loop.step)
      const { step } = loop
      loop.step = {
        evaluate(evaluator, _node, context) {
          tick()
          return step.evaluate(evaluator, step, context)
        },
      }
      return
    }
    walk(node.args)
    walk(node.meta?.alternate)
    if (node.meta?.macro) for (const part of Object.values(node.meta.macro)) walk(part)
  }
  walk(root)
}
