/** Compiles the expressions of ValidatingAdmissionPolicies, each with the variables that Kubernetes gives it. Loaded when one is written. */
import { compile, CompileError } from './engine.ts'
import { AUTHORIZER_TYPE, RESOURCE_CHECK_TYPE } from './lib-authorizer.ts'
import { DYN, mapOf, opaque, STRING, type Type } from './type.ts'

/** What an expression of a policy is for. */
export type PolicyUse = 'condition' | 'variable' | 'validation' | 'message' | 'annotation'

const BASE: Readonly<Record<string, Type>> = { object: DYN, oldObject: DYN, request: mapOf(STRING, DYN), namespaceObject: DYN }
/** The builder, with the request's own resource as a variable: a name with a dot is none of the language. */
const ASKING: Readonly<Record<string, Type>> = { authorizer: opaque(AUTHORIZER_TYPE), authorizer_requestResource: opaque(RESOURCE_CHECK_TYPE) }

/** The compiler of one policy; give it its expressions in order, variables before those that use them. */
export class PolicyCompiler {
  readonly #base: Readonly<Record<string, Type>>
  readonly #variables = new Map<string, Type>()

  /** @param withParams the policy has a `paramKind` */
  constructor(withParams: boolean) {
    this.#base = withParams ? { ...BASE, params: DYN } : BASE
  }

  /** @throws CompileError in Kubernetes' words */
  check(use: PolicyUse, expression: string, name = ''): void {
    const known = { ...this.#base, ...(use === 'message' ? {} : ASKING), ...(use === 'condition' ? {} : { variables: this.#all() }) }
    if (use === 'variable') this.#variables.set(name, DYN) // Who uses a broken one is not told twice.
    const type = this.#compile(expression.replaceAll('authorizer.requestResource', 'authorizer_requestResource'), known, use)
    if (use === 'variable') this.#variables.set(name, type)
    if (use === 'annotation' && !['string', 'null', 'dyn'].includes(type.kind)) throw new CompileError('must evaluate to one of [string null_type]')
  }

  #compile(text: string, known: Readonly<Record<string, Type>>, use: PolicyUse): Type {
    const wanted = use === 'condition' || use === 'validation' ? 'bool' : use === 'message' ? 'string' : 'any'
    try {
      return compile(text, known, wanted).type
    } catch (error) {
      throw error instanceof CompileError ? new CompileError(error.message === '' ? `must evaluate to ${wanted}` : `compilation failed: ${error.message}`) : error
    }
  }

  #all(): Type {
    return { kind: 'object', name: 'kubernetes.variables', fields: new Map(this.#variables) }
  }
}
