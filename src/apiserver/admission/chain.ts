/**
 * Admission: what may still change or refuse a write after authorization and before it is stored. Plugins run in the order
 * given: first all `admit` (may change the object), then all `validate` (may not). When a webhook changed the object, the
 * built-in ones see it once more, and with them the webhooks that ask for it. `after` follows a stored write and must not fail it.
 */
import type { Call, Core } from '../core.ts'
import type { Obj } from '../stored-text.ts'

export interface AdmissionEvent {
  readonly core: Core
  readonly call: Call
  readonly verb: 'create' | 'update' | 'delete' | 'connect'
  /** The object as it would be stored; for a delete the one that goes, for a connect what was asked for. */
  readonly object: Obj
  readonly old: Obj | undefined
  /** The kind of `object` where it is not the resource's own: the options of a connect. */
  readonly kind?: { readonly group: string; readonly version: string; readonly kind: string }
}

export interface AdmissionPlugin {
  readonly name: string
  /**
   * May change `event.object`; `again` in the second round. True: it was changed from outside, so a second round is due.
   * @throws ApiError to refuse
   */
  admit?(event: AdmissionEvent, again: boolean): void | boolean | Promise<void | boolean>
  /** @throws ApiError to refuse */
  validate?(event: AdmissionEvent): void | Promise<void>
  after?(event: AdmissionEvent, revision: number): void | Promise<void>
}

type Having<K extends 'admit' | 'validate' | 'after'> = AdmissionPlugin & Required<Pick<AdmissionPlugin, K>>

/** The chain; the first refusal ends a write. What a plugin decides at once costs no turn of the loop: nearly all do, for most writes. */
export class Admission {
  readonly #admit: readonly Having<'admit'>[]
  readonly #validate: readonly Having<'validate'>[]
  readonly #after: readonly Having<'after'>[]

  constructor(plugins: readonly AdmissionPlugin[]) {
    const having = <K extends 'admit' | 'validate' | 'after'>(part: K): Having<K>[] => plugins.filter((p): p is Having<K> => p[part] !== undefined)
    this.#admit = having('admit')
    this.#validate = having('validate')
    this.#after = having('after')
  }

  async admit(event: AdmissionEvent): Promise<void> {
    if (await this.#round(event, false)) await this.#round(event, true)
  }

  async #round(event: AdmissionEvent, again: boolean): Promise<boolean> {
    let changed = false
    for (const plugin of this.#admit) {
      const said = plugin.admit(event, again)
      if (said === true || (typeof said === 'object' && (await said) === true)) changed = true
    }
    return changed
  }

  async validate(event: AdmissionEvent): Promise<void> {
    for (const plugin of this.#validate) {
      const judging = plugin.validate(event)
      if (judging !== undefined) await judging
    }
  }

  async after(event: AdmissionEvent, revision: number): Promise<void> {
    for (const plugin of this.#after) {
      const done = plugin.after(event, revision)
      if (done !== undefined) await done
    }
  }
}
