/** `authorizer` of match conditions: asks whether somebody may do something, as CEL's own builder. Used by the engine. */
import type { Functions, Size } from './functions.ts'
import { CelError, Opaque } from './values.ts'

/** What is asked. */
export interface Question {
  readonly group?: string
  readonly resource?: string
  readonly subresource?: string
  readonly namespace?: string
  readonly name?: string
  readonly path?: string
  readonly verb?: string
  readonly serviceAccount?: string
  readonly fieldSelector?: string
  readonly labelSelector?: string
}
export type Ask = (question: Question) => { readonly allowed: boolean; readonly reason: string }

const A = 'kubernetes.authorization.Authorizer'
const P = 'kubernetes.authorization.PathCheck'
const G = 'kubernetes.authorization.GroupCheck'
const R = 'kubernetes.authorization.ResourceCheck'
const D = 'kubernetes.authorization.Decision'
/** High enough that a condition asks twice and no more. */
const CHECK_COST: Size = { min: 350_000, max: 350_000 }

/** One step of the builder. */
export class Authorizer extends Opaque {
  readonly type: string
  readonly ask: Ask
  readonly question: Question
  constructor(ask: Ask, question: Question = {}, type = A) {
    super()
    this.ask = ask
    this.question = question
    this.type = type
  }
  with(more: Question, type = this.type): Authorizer {
    return new Authorizer(this.ask, { ...this.question, ...more }, type)
  }
  equals(other: unknown): boolean {
    return other === this
  }
}

class Decision extends Opaque {
  readonly type = D
  readonly allowed: boolean
  readonly reason: string
  constructor({ allowed, reason }: ReturnType<Ask>) {
    super()
    this.allowed = allowed
    this.reason = reason
  }
  equals(other: unknown): boolean {
    return other instanceof Decision && other.allowed === this.allowed
  }
}

/** The type of the variable `authorizer`. */
export const AUTHORIZER_TYPE = A
/** The type of `authorizer.requestResource`. */
export const RESOURCE_CHECK_TYPE = R

/** Defines the builder. */
export function defineAuthorizer(f: Functions): void {
  f.define(`${A}!path(string): ${P}`, (a: Authorizer, path: string) => {
    if (path === '') throw new CelError('path must not be empty')
    return a.with({ path }, P)
  })
  f.define(`${A}!group(string): ${G}`, (a: Authorizer, group: string) => a.with({ group }, G))
  f.define(`${A}!serviceAccount(string, string): ${A}`, (a: Authorizer, namespace: string, name: string) => a.with({ serviceAccount: `system:serviceaccount:${namespace}:${name}` }))
  f.define(`${G}!resource(string): ${R}`, (a: Authorizer, resource: string) => a.with({ resource }, R))
  for (const key of ['subresource', 'namespace', 'name', 'fieldSelector', 'labelSelector'] as const) f.define(`${R}!${key}(string): ${R}`, (a: Authorizer, value: string) => a.with({ [key]: value }))
  for (const type of [P, R]) f.define(`${type}!check(string): ${D}`, (a: Authorizer, verb: string) => new Decision(a.ask({ ...a.question, verb })), { cost: () => CHECK_COST })
  f.define(`${D}!allowed(): bool`, (d: Decision) => d.allowed)
  f.define(`${D}!reason(): string`, (d: Decision) => d.reason)
  f.define(`${D}!errored(): bool`, () => false)
  f.define(`${D}!error(): string`, () => '')
}
