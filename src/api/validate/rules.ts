/** What the rules of one kind are; tables of them by group stand in `*-rules.ts`, and `mod.ts` asks them. */
import type { FieldError } from '../status.ts'

/** Rules of a kind. An absent one finds nothing wrong. Objects have decoded and have their defaults. */
export interface Rules {
  /** What must hold on create and on update. */
  readonly always?: (object: never) => FieldError[]
  readonly create?: (object: never) => FieldError[]
  /** An update through the main door. */
  readonly update?: (next: never, old: never) => FieldError[]
  /** An update through a subresource, by its name; one without a rule is judged by its metadata only. */
  readonly sub?: Readonly<Record<string, (next: never, old: never) => FieldError[]>>
  /** Texts for `Warning` headers of what is allowed but no longer wise. */
  readonly warn?: (next: never, old: never | undefined) => string[]
}
