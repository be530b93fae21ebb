/** Constants such as `sets` and `strings` that exist only to carry functions. Used by the libraries. */
import type { Environment } from '@marcbachmann/cel-js'

/** Registers the constant `name` of type `type`, on which functions can then be registered. */
export function registerNamespace(env: Environment, name: string, type: string): void {
  class Namespace {
    readonly name = name
  }
  env.registerType(type, Namespace)
  env.registerConstant(name, type, new Namespace())
}
