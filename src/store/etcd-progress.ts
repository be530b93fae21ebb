/** How far the watch of the store on etcd is, and waiting for it: reads, acknowledgements and the start all do. */
import type { Clock, Timer } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import type { EtcdClient, TxnAnswer } from './etcd-client.ts'
import type { EtcdLayout } from './etcd-layout.ts'

/** How long a read waits for the watch before it writes the beacon: only others' writes to the etcd make that needed. */
const BEACON_MS = 50
/** How long a read or an acknowledgement waits for the watch. */
const REACH_MS = 10_000

/** One for a store: only its watch tells it how far it is. Waits end after 10 s. */
export class EtcdProgress {
  readonly #client: EtcdClient
  readonly #layout: EtcdLayout
  readonly #clock: Clock
  #seen = 0
  readonly #waiters = new Set<{ readonly revision: number; readonly resolve: () => void; readonly reject: (error: AppError) => void }>()
  #beacon: Promise<number> | undefined
  /** etcd's revision of the newest beacon of ours. */
  #beaconAt = 0
  #ended: AppError | undefined

  constructor(client: EtcdClient, layout: EtcdLayout, clock: Clock) {
    this.#client = client
    this.#layout = layout
    this.#clock = clock
  }

  /** etcd's revision that the watch has reached. */
  get seen(): number {
    return this.#seen
  }

  /** The watch begins after this revision; who waits goes on waiting. */
  restart(at: number): void {
    this.#seen = at
  }

  /** The watch has brought everything up to this revision. */
  advance(to: number): void {
    this.#seen = to
    for (const waiter of this.#waiters) if (waiter.revision <= to) waiter.resolve()
  }

  /**
   * Resolves when the watch has brought everything up to etcd's revision. `foreign`: that revision may be of somebody else's
   * change, which the watch never brings. @throws AppError `timeout`, or what `end` was given
   */
  reach(revision: number, foreign = false): Promise<void> {
    if (this.#seen >= revision) return Promise.resolve()
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise<void>((resolve, reject) => {
      const done = (settle: () => void): void => {
        this.#waiters.delete(waiter)
        beacon?.cancel()
        limit.cancel()
        settle()
      }
      const waiter = { revision, resolve: () => done(resolve), reject: (error: AppError) => done(() => reject(error)) }
      // etcd can say how far a watch is, but before 3.4.25 and 3.5.8 that word may come before the changes it covers.
      const light = (ms: number): Timer =>
        this.#clock.timer('etcd-beacon', ms, () => {
          if (this.#beaconAt < revision) void this.writeBeacon().catch(() => {}) // The limit below tells.
          beacon = light(ms * 2)
        })
      let beacon = foreign ? light(BEACON_MS) : undefined
      const limit = this.#clock.timer('etcd-reach', REACH_MS, () => waiter.reject(new AppError('timeout', `follow etcd at ${this.#client.name}: its watch is ${REACH_MS / 1000} s behind what it answers; a write may have been kept`)))
      this.#waiters.add(waiter)
    })
  }

  /** Writes the beacon, one write at a time. @returns etcd's revision of it */
  writeBeacon(): Promise<number> {
    const write = async (): Promise<number> => {
      try {
        const op = { requestPut: { key: this.#layout.beacon, value: Buffer.alloc(0), lease: 0 } }
        return (this.#beaconAt = (await this.#client.call<TxnAnswer>('Txn', { success: [op] }, { again: true })).header.revision)
      } finally {
        this.#beacon = undefined
      }
    }
    return (this.#beacon ??= write())
  }

  /** Nothing comes any more: who waits is told so. Resolves when no beacon is on its way. */
  async end(why: AppError): Promise<void> {
    this.#ended = why
    for (const waiter of this.#waiters) waiter.reject(why)
    await Promise.allSettled([this.#beacon])
  }
}
