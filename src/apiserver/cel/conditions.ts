/** Match conditions of webhooks: CEL over `object`, `oldObject`, `request` and `authorizer`. Loaded when a webhook has conditions. */
import { CALL_LIMIT, compile, CompileError, OBJECT_BUDGET, type Compiled } from './engine.ts'
import { Authorizer, AUTHORIZER_TYPE, RESOURCE_CHECK_TYPE, type Ask, type Question } from './lib-authorizer.ts'
import { dynValue } from './schema-type.ts'
import { DYN, mapOf, opaque, STRING, type Type } from './type.ts'

export interface MatchCondition {
  readonly name: string
  readonly expression: string
}

export interface Input {
  readonly object: unknown
  readonly oldObject: unknown
  readonly request: unknown
  readonly ask: Ask
  /** What the request itself is about, for `authorizer.requestResource`. */
  readonly requested: Question
}

export interface Conditions {
  /** True when all hold; false wins over an error. @throws Error naming the condition that cannot be evaluated */
  hold(input: Input): boolean
}

const REQUEST: Type = mapOf(STRING, DYN)
/** The builder, with the request's own resource as a field. */
const VARIABLES: Readonly<Record<string, Type>> = { object: DYN, oldObject: DYN, request: REQUEST, authorizer: opaque(AUTHORIZER_TYPE) }

/** Compiles one. @throws CompileError with Kubernetes' words */
export function compileCondition(expression: string): Compiled {
  try {
    // A name with a dot is no variable of the language: it is put as one word.
    return compile(expression.replaceAll('authorizer.requestResource', 'authorizer_requestResource'), { ...VARIABLES, authorizer_requestResource: opaque(RESOURCE_CHECK_TYPE) }, 'bool')
  } catch (error) {
    throw error instanceof CompileError ? new CompileError(error.message === '' ? 'must evaluate to bool' : `compilation failed: ${error.message}`) : error
  }
}

/** @throws Error naming the condition that does not compile */
export function compileConditions(conditions: readonly MatchCondition[]): Conditions {
  const compiled = conditions.map(({ name, expression }): readonly [string, Compiled] => {
    try {
      return [name, compileCondition(expression)]
    } catch (error) {
      throw new Error(`match condition "${name}" does not compile`, { cause: error })
    }
  })
  return {
    hold({ object, oldObject, request, ask, requested }) {
      const authorizer = new Authorizer(ask)
      const variables = { object: dynValue(object ?? null), oldObject: dynValue(oldObject ?? null), request: dynValue(request), authorizer, authorizer_requestResource: authorizer.with(requested, RESOURCE_CHECK_TYPE) }
      let left = OBJECT_BUDGET
      let failure: Error | undefined
      for (const [name, { program }] of compiled) {
        try {
          const { value, cost } = program.run(variables, Math.min(left, CALL_LIMIT))
          left -= cost
          if (value !== true) return false
        } catch (error) {
          failure ??= new Error(`match condition "${name}": ${(error as Error).message}`)
        }
      }
      if (failure) throw failure
      return true
    },
  }
}
