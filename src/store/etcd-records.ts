/** Records on etcd: what servers share beside the data, such as keys; see {@link StoreRecords}. */
import type { EtcdClient, RangeAnswer, TxnAnswer } from './etcd-client.ts'
import type { EtcdLayout } from './etcd-layout.ts'
import type { StoreRecords } from './store.ts'

/** Each record is a key of its own; the first to create it wins, and a replacement must know the former text. */
export class EtcdRecords implements StoreRecords {
  readonly #client: EtcdClient
  readonly #layout: EtcdLayout

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

  async replaceRecord(name: string, former: string, value: string): Promise<boolean> {
    const key = this.#layout.record(name)
    const there = (await this.#client.call<RangeAnswer>('Range', { key }, { again: true })).kvs[0]
    if (there?.value.toString() !== former) return false
    const answer = await this.#client.call<TxnAnswer>('Txn', {
      compare: [{ result: 0, target: 2, key, modRevision: there.modRevision }],
      success: [{ requestPut: { key, value: Buffer.from(value) } }],
      failure: [],
    })
    return answer.succeeded
  }
}
