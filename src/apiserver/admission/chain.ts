/**
 * Admission: what may still change or refuse a write after authorization and before it is stored. Plugins run in the order
 * given: first all `admit` (may change the object), then all `validate` (may not). `after` follows a stored write and must
 * not fail it. The list is written out in `server.ts`.
 */
import type { Call, Core } from '../core.ts'
import type { Obj } from '../stored-text.ts'

export interface AdmissionEvent {
  readonly core: Core
  readonly call: Call
  readonly verb: 'create' | 'update' | 'delete'
  /** The object as it would be stored; for a delete the one that goes. */
  readonly object: Obj
  readonly old: Obj | undefined
}

export interface AdmissionPlugin {
  readonly name: string
  /** May change `event.object`. @throws ApiError to refuse */
  admit?(event: AdmissionEvent): void | Promise<void>
  /** @throws ApiError to refuse */
  validate?(event: AdmissionEvent): void | Promise<void>
  after?(event: AdmissionEvent, revision: number): void | Promise<void>
}

/** The chain; the first refusal ends a write. */
export class Admission {
  readonly #plugins: readonly AdmissionPlugin[]

  constructor(plugins: readonly AdmissionPlugin[]) {
    this.#plugins = plugins
  }

  async admit(event: AdmissionEvent): Promise<void> {
    for (const plugin of this.#plugins) if (plugin.admit) await plugin.admit(event)
  }

  async validate(event: AdmissionEvent): Promise<void> {
    for (const plugin of this.#plugins) if (plugin.validate) await plugin.validate(event)
  }

  async after(event: AdmissionEvent, revision: number): Promise<void> {
    for (const plugin of this.#plugins) if (plugin.after) await plugin.after(event, revision)
  }
}
