/** Records that servers share, in memory, as `StoreRecords` promises them. */
import type { RecordChange, StoreRecords } from '../../src/store/mod.ts'

export class MemoryRecords implements StoreRecords {
  readonly kept = new Map<string, string>()
  /** Called before a change is made; a test breaks it off there by throwing. */
  before: (changes: readonly RecordChange[]) => void = () => {}
  /** Called after it: the answer may be lost. */
  after: () => void = () => {}
  readonly #listeners = new Set<() => void>()

  async readRecord(name: string): Promise<string | undefined> {
    return this.kept.get(name)
  }

  async createRecord(name: string, value: string): Promise<string> {
    if (!this.kept.has(name)) this.kept.set(name, value)
    return this.kept.get(name) ?? ''
  }

  async changeRecords(changes: readonly RecordChange[]): Promise<boolean> {
    this.before(changes)
    if (changes.some(({ name, former }) => this.kept.get(name) !== former)) return false
    for (const { name, value } of changes) if (value !== undefined) this.kept.set(name, value)
    for (const fn of this.#listeners) fn()
    this.after()
    return true
  }

  onRecord(fn: () => void): () => void {
    this.#listeners.add(fn)
    return () => void this.#listeners.delete(fn)
  }
}
