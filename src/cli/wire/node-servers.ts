/**
 * The servers a node may go to: the address it was given, and those that a server told. All its connections follow the link:
 * when that finds its server away and goes to another, they do too.
 */
import { parseServer } from '../../tunnel/mod.ts'
import type { NodeIdentity } from './node-identity.ts'

/** One node's view of its servers. */
export class NodeServers {
  readonly #identity: () => NodeIdentity
  readonly #keep: (servers: readonly string[]) => Promise<void>
  #linked: string | undefined

  /** @param keep puts told addresses into the identity, at once and on disk */
  constructor(identity: () => NodeIdentity, keep: (servers: readonly string[]) => Promise<void>) {
    this.#identity = identity
    this.#keep = keep
  }

  /** All addresses in a fixed order, for the link. */
  all(): readonly string[] {
    const { server, servers = [] } = this.#identity()
    return [...new Set([server, ...servers])]
  }

  /** The linked server first, for what goes beside the link. */
  preferred(): readonly string[] {
    const all = this.all()
    return this.#linked === undefined ? all : [this.#linked, ...all.filter((url) => url !== this.#linked)]
  }

  /** The one to ask now. */
  get current(): string {
    return this.preferred()[0] as string
  }

  /** The link is up. */
  linked(server: string): void {
    this.#linked = server
  }

  /** A server told where all are. Kept when it is news; what is no address is left out. */
  async learn(told: readonly string[]): Promise<void> {
    const servers = told.filter(isAddress)
    if (servers.length === 0 || servers.toSorted().join() === (this.#identity().servers ?? []).toSorted().join()) return
    await this.#keep(servers)
  }
}

function isAddress(url: string): boolean {
  try {
    parseServer(url)
    return true
  } catch {
    return false
  }
}
