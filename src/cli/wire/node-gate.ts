/**
 * Which key speaks for which node: a certificate that our CA signed counts only while its key is the one the name is bound to
 * and nobody has revoked it. Follows the records of joined nodes; a record that changes ends the link of the former key. Used
 * by the server's one port, for links and for every request.
 */
import type { Secret } from '../../api/gen/types.ts'
import type { Cache } from '../../client/mod.ts'
import type { NodeRecord } from '../../tunnel/mod.ts'
import { nodeRecordOf } from '../tokens.ts'

/** Ends the link of a node, saying why. */
export type EndLink = (node: string, why: string) => void

/** The keys of joined nodes as the records say, and which of them hold a link now. Bounded by the names that ever joined. Asking never waits. */
export class NodeGate {
  readonly #records = new Map<string, Pick<NodeRecord, 'keyHash' | 'revoked'>>()
  readonly #linked = new Map<string, string>()
  readonly #endLink: EndLink

  constructor(endLink: EndLink) {
    this.#endLink = endLink
  }

  /** Keeps up with the records; returns how to stop. */
  follow(cache: Pick<Cache<Secret>, 'onChange'>): () => void {
    return cache.onChange((now, old) => {
      const record = nodeRecordOf((now ?? old) as Secret)
      if (!record) return
      if (now) this.take(record)
      else this.#records.delete(record.node)
    })
  }

  /** A record as it is now. */
  take(record: NodeRecord): void {
    this.#records.set(record.node, record)
    const linked = this.#linked.get(record.node)
    const why = linked === undefined ? undefined : this.refusal(record.node, linked)
    if (why === undefined) return
    this.#linked.delete(record.node)
    this.#endLink(record.node, why)
  }

  /** Why this key (sha256 of its SPKI DER, hex) does not speak for the node; undefined when it does, or nothing is known. */
  refusal(node: string, keyHash: string): string | undefined {
    const record = this.#records.get(node)
    if (record?.revoked) return `node "${node}" was revoked; \`skerry node approve ${node}\` on the server lets it in again`
    if (record && record.keyHash !== keyHash) return `another machine has taken over the name "${node}"; join again with a token, under another name`
    return undefined
  }

  /** A link was taken in with this key. */
  linked(node: string, keyHash: string): void {
    this.#linked.set(node, keyHash)
  }
}
