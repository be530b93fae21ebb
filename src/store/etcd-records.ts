/** Records on etcd: what servers share beside the data, such as keys; see {@link StoreRecords}. */
import type { EtcdClient, RangeAnswer, TxnAnswer, WatchedEvent } from './etcd-client.ts'
import type { EtcdLayout } from './etcd-layout.ts'
import type { RecordChange, StoreRecords } from './store.ts'

/** Each record is a key of its own; the first to create it wins, and a change must know the former text. */
export class EtcdRecords implements StoreRecords {
  readonly #client: EtcdClient
  readonly #layout: EtcdLayout
  readonly #listeners = new Set<() => void>()

  constructor(client: EtcdClient, layout: EtcdLayout) {
    this.#client = client
    this.#layout = layout
  }

  async readRecord(name: string): Promise<string | undefined> {
    const answer = await this.#client.call<RangeAnswer>('Range', { key: this.#layout.record(name) }, { again: true })
    return answer.kvs[0]?.value.toString()
  }

  async createRecord(name: string, value: string): Promise<string> {
    const key = this.#layout.record(name)
    const answer = await this.#client.call<TxnAnswer>('Txn', {
      compare: [{ result: 0, target: 2, key, modRevision: 0 }],
      success: [{ requestPut: { key, value: Buffer.from(value) } }],
      failure: [{ requestRange: { key } }],
    }, { again: true })
    return answer.succeeded ? value : (answer.responses[0]?.responseRange?.kvs[0]?.value.toString() ?? value)
  }

  async changeRecords(changes: readonly RecordChange[]): Promise<boolean> {
    const key = (change: RecordChange): Buffer => this.#layout.record(change.name)
    const answer = await this.#client.call<TxnAnswer>('Txn', {
      // By its text (3), or by there being no revision of it (2).
      compare: changes.map((c) => ({ result: 0, key: key(c), ...(c.former === undefined ? { target: 2, modRevision: 0 } : { target: 3, value: Buffer.from(c.former) }) })),
      success: changes.flatMap((c) => (c.value === undefined ? [] : [{ requestPut: { key: key(c), value: Buffer.from(c.value) } }])),
      failure: [],
    })
    return answer.succeeded
  }

  onRecord(fn: () => void): () => void {
    this.#listeners.add(fn)
    return () => void this.#listeners.delete(fn)
  }

  /** Looks at what the store's watch brings. */
  take(events: readonly WatchedEvent[]): void {
    if (this.#listeners.size > 0 && events.some(({ kv }) => this.#layout.isRecord(kv.key))) for (const fn of this.#listeners) fn()
  }
}
