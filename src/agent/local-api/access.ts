/**
 * What each service account of this node may read while the server is away: the rules that the server last told for it,
 * kept on disk. While the server is there it decides itself and these are not asked. Bounded: one small file an account,
 * {@link MOST_ACCOUNTS} at most, the longest unused forgotten first.
 */
import { createHash } from 'node:crypto'
import { readFile, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../base/atomic-file.ts'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import type { Seal } from '../ports.ts'
import type { Caller } from './caller.ts'
import type { ResourceRequest } from './request.ts'

const log = logger('agent.local-api')
const MOST_ACCOUNTS = 200
/** Rules are asked again when used after this long, ms. */
const FRESH_MS = 10 * 60_000
/** No namespace can have this name, so no RoleBinding counts in it: what is left holds in the whole cluster. */
const NOWHERE = 'no.namespace'

export interface Rule {
  readonly verbs: readonly string[]
  readonly apiGroups?: readonly string[]
  readonly resources?: readonly string[]
  readonly resourceNames?: readonly string[]
}

/** The rules of one account: inside its own namespace, and everywhere. */
export interface Rules {
  readonly own: readonly Rule[]
  readonly cluster: readonly Rule[]
}

/** Whether rules, as RBAC reads them, permit a request of an account of `namespace`; pure. */
export function permits(rules: Rules, namespace: string, request: ResourceRequest, names: readonly string[]): boolean {
  const has = (list: readonly string[] | undefined, value: string): boolean => list?.some((v) => v === '*' || v === value) === true
  const resource = request.subresource === undefined ? request.resource : `${request.resource}/${request.subresource}`
  return (request.namespace === namespace ? rules.own : rules.cluster).some(
    (r) =>
      has(r.verbs, request.verb) &&
      has(r.apiGroups, request.group) &&
      has(r.resources, resource) &&
      (r.resourceNames === undefined || r.resourceNames.length === 0 || (names.length > 0 && names.every((n) => r.resourceNames?.includes(n)))),
  )
}

export interface AccessOptions {
  readonly directory: string
  readonly clock: Clock
  readonly seal?: Seal | undefined
  /** Asks the server, with the account's own token, for its rules in a namespace. */
  ask(token: string, namespace: string): Promise<readonly Rule[]>
}

/** The kept rules; see the header. */
export class Access {
  readonly #o: AccessOptions
  readonly #askedAt = new Map<string, number>()

  constructor(options: AccessOptions) {
    this.#o = options
  }

  /** The server is there and this account acts: its rules are asked again when they are old. Never fails. */
  async learn(caller: Pick<Caller, 'namespace' | 'account'>, token: string): Promise<void> {
    const file = fileOf(caller)
    const now = this.#o.clock.monotonic()
    const asked = this.#askedAt.get(file)
    if (asked !== undefined && now - asked < FRESH_MS) return
    if (this.#askedAt.size >= MOST_ACCOUNTS) this.#askedAt.clear()
    this.#askedAt.set(file, now)
    try {
      const [own, cluster] = await Promise.all([this.#o.ask(token, caller.namespace), this.#o.ask(token, NOWHERE)])
      const text = Buffer.from(JSON.stringify({ account: `${caller.namespace}/${caller.account}`, own, cluster }))
      const path = join(this.#o.directory, file)
      const sealed = this.#o.seal ? this.#o.seal.seal(text) : text
      const former = await this.#read(path)
      if (former && JSON.stringify(former) === JSON.stringify({ own, cluster })) return
      await writeFileAtomic(path, sealed)
      await this.#bound()
    } catch (error) {
      this.#askedAt.delete(file)
      log.debug('rules of a service account not learnt', { account: `${caller.namespace}/${caller.account}`, why: messageOf(error) })
    }
  }

  /** The last known rules; undefined when the server has never told them. */
  async rules(caller: Pick<Caller, 'namespace' | 'account'>): Promise<Rules | undefined> {
    return await this.#read(join(this.#o.directory, fileOf(caller)))
  }

  async #read(path: string): Promise<Rules | undefined> {
    try {
      const bytes = await readFile(path)
      const { own, cluster } = JSON.parse(Buffer.from(this.#o.seal ? this.#o.seal.open(bytes) : bytes).toString()) as Partial<Rules>
      if (Array.isArray(own) && Array.isArray(cluster)) return { own, cluster }
    } catch {
      // absent or damaged: not known
    }
    return undefined
  }

  async #bound(): Promise<void> {
    const names = await readdir(this.#o.directory)
    if (names.length <= MOST_ACCOUNTS) return
    const aged = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(this.#o.directory, name))).mtimeMs })))
    aged.sort((a, b) => a.at - b.at)
    for (const { name } of aged.slice(0, names.length - MOST_ACCOUNTS)) await rm(join(this.#o.directory, name), { force: true })
  }
}

function fileOf(caller: Pick<Caller, 'namespace' | 'account'>): string {
  return `${createHash('sha256').update(`${caller.namespace}/${caller.account}`).digest('hex').slice(0, 24)}.json`
}
