/** Match conditions of webhooks: CEL over `object`, `oldObject` and `request`. Used by the webhook plugins, loaded when one has conditions. */
import { compile, environment, OBJECT_BUDGET, type Expression } from './engine.ts'
import { DYN } from './types.ts'

export interface MatchCondition {
  readonly name: string
  readonly expression: string
}

export interface Conditions {
  /** True when all hold; false wins over an error. @throws Error naming the condition that cannot be evaluated */
  hold(variables: { readonly object: unknown; readonly oldObject: unknown; readonly request: unknown }): boolean
}

/** @throws Error naming the condition that does not compile */
export function compileConditions(conditions: readonly MatchCondition[]): Conditions {
  const env = environment().registerVariable('object', 'dyn').registerVariable('oldObject', 'dyn').registerVariable('request', 'dyn')
  const compiled = conditions.map(({ name, expression }): readonly [string, Expression] => {
    try {
      return [name, compile(env, expression, 'bool')]
    } catch (error) {
      throw new Error(`match condition "${name}" does not compile`, { cause: error })
    }
  })
  return {
    hold({ object, oldObject, request }) {
      const variables = { object: DYN.convert(object ?? null), oldObject: DYN.convert(oldObject ?? null), request: DYN.convert(request) }
      const budget = { left: OBJECT_BUDGET }
      let failure: Error | undefined
      for (const [name, expression] of compiled) {
        try {
          if (expression(variables, budget) !== true) return false
        } catch (error) {
          failure ??= new Error(`match condition "${name}": ${(error as Error).message}`)
        }
      }
      if (failure) throw failure
      return true
    },
  }
}
