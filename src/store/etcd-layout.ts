/** Where a store's keys lie in an etcd, and the mark that begins it. Used by `etcd.ts` and `etcd-copy.ts`. */
import { AppError } from '../base/errors.ts'
import { endOf, type EtcdClient, type RangeAnswer, type TxnAnswer } from './etcd-client.ts'
import type { Revision } from './store.ts'

/** Keys of one store. */
export class EtcdLayout {
  readonly prefix: string
  readonly mark: Buffer
  readonly beacon: Buffer
  /** The range of everything of this store. */
  readonly all: { readonly key: Buffer; readonly rangeEnd: Buffer }
  /** Behind all of the data. */
  readonly dataEnd: Buffer
  readonly #data: Buffer

  /** @param prefix ends with `/` */
  constructor(prefix: string) {
    this.prefix = prefix
    this.mark = Buffer.from(`${prefix}mark`)
    this.beacon = Buffer.from(`${prefix}beacon`)
    this.#data = Buffer.from(`${prefix}data`)
    this.dataEnd = endOf(this.#data)
    const key = Buffer.from(prefix)
    this.all = { key, rangeEnd: endOf(key) }
  }

  /** etcd's key of a key of ours, or of a prefix of such. */
  data(key: string): Buffer {
    return Buffer.concat([this.#data, Buffer.from(key)])
  }

  record(name: string): Buffer {
    return Buffer.from(`${this.prefix}record/${name}`)
  }

  isRecord(key: Buffer): boolean {
    const all = this.record('')
    return key.subarray(0, all.length).equals(all)
  }

  /** Our key, or undefined when it is none of the data. */
  keyOf(key: Buffer): string | undefined {
    return key.subarray(0, this.#data.length).equals(this.#data) ? key.toString('utf8', this.#data.length) : undefined
  }
}

/** How etcd's revisions become ours: `ours = etcd's - base + offset`. */
export interface Mark {
  readonly base: number
  readonly offset: Revision
  /** True when this call made it: nothing of ours is older. */
  readonly made: boolean
}

/** Reads the mark of a store, making one at `offset` when there is none. @throws AppError `corrupt` */
export async function readMark(client: EtcdClient, layout: EtcdLayout, offset: Revision = 0): Promise<Mark> {
  // A plain read first: an etcd whose space is used up refuses a transaction that might write.
  const there = (await client.call<RangeAnswer>('Range', { key: layout.mark }, { again: true })).kvs[0]
  const answer = there ? undefined : await client.call<TxnAnswer>('Txn', {
    compare: [{ result: 0, target: 2, key: layout.mark, modRevision: 0 }],
    success: [{ requestPut: { key: layout.mark, value: Buffer.from(JSON.stringify({ format: 1, offset })) } }],
    failure: [{ requestRange: { key: layout.mark } }],
  }, { again: true })
  if (answer?.succeeded) return { base: answer.header.revision, offset, made: true }
  const kv = there ?? answer?.responses[0]?.responseRange?.kvs[0]
  const text = kv?.value.toString() ?? ''
  let mark: { format?: unknown; offset?: unknown } = {}
  try {
    mark = JSON.parse(text) as typeof mark
  } catch {
    // Told below, with what was seen.
  }
  if (!kv || mark.format !== 1 || typeof mark.offset !== 'number') {
    throw new AppError('corrupt', `open store in etcd at ${client.name}: key "${layout.mark.toString()}" is ${JSON.stringify(text.slice(0, 80))}, not a mark of this version: give another prefix in --store, as in etcd://host:2379/name`)
  }
  return { base: kv.modRevision, offset: mark.offset, made: false }
}
