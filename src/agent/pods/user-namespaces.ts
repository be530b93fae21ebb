/**
 * Ranges of the machine's users for pods with `hostUsers: false`: 65536 each, no two alike, kept in the pod's directory so that a
 * pod has the same after a restart. As the kubelet does it. Bounded by the pods of the node.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readJsonIfAny, writeFileAtomic } from '../../base/atomic-file.ts'
import { AppError } from '../../base/errors.ts'
import type { UserNamespace } from '../../cri/mod.ts'

/** Users of one pod; the first range is the machine's own. */
const LENGTH = 65_536
/** Ranges there are: all below the sign bit that tools mistake. */
const RANGES = 32_767

/** The ranges of one node's pods; see the header. Bounded by the pods that have directories. */
export class UserNamespaces {
  readonly #pods: string
  readonly #given = new Map<string, number>()
  #read: Promise<void> | undefined

  /** @param dataDir directory whose `pods` holds one directory a pod */
  constructor(dataDir: string) {
    this.#pods = join(dataDir, 'pods')
  }

  /** The pod's range, chosen when it is asked for first. @throws AppError `unavailable` when none is left */
  async of(uid: string): Promise<UserNamespace> {
    await (this.#read ??= this.#restore())
    let range = this.#given.get(uid)
    if (range === undefined) {
      const taken = new Set(this.#given.values())
      range = 1
      while (taken.has(range)) range++
      if (range > RANGES) throw new AppError('unavailable', `choose users for a pod: all ${RANGES} ranges are taken`)
      this.#given.set(uid, range)
      await writeFileAtomic(join(this.#pods, uid, 'users.json'), JSON.stringify(range))
    }
    return { hostId: range * LENGTH, length: LENGTH }
  }

  forget(uid: string): void {
    this.#given.delete(uid)
  }

  async #restore(): Promise<void> {
    for (const uid of await readdir(this.#pods).catch(() => [])) {
      const range = await readJsonIfAny<number>(join(this.#pods, uid, 'users.json')).catch(() => undefined)
      if (Number.isInteger(range)) this.#given.set(uid, range as number)
    }
  }
}
