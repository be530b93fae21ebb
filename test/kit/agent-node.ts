/** A real agent on the fake container runtime as a node of the test cluster: for tests that cross the API and the node. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAgent, parseDeviceRule, type Agent } from '../../src/agent/mod.ts'
import { nodeUser, type ApiHandler } from '../../src/api/contract.ts'
import { AppError } from '../../src/base/errors.ts'
import type { Clock } from '../../src/base/clock.ts'
import { Scope } from '../../src/base/scope.ts'
import { createCaches, createClient, createInProcessTransport, openFileStash } from '../../src/client/mod.ts'
import { FakeRuntime, type FakeImage } from '../../src/cri/mod.ts'
import type { TestLinks } from './links.ts'

export interface AgentNodeOptions {
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
  /** Images this node has, or can pull. */
  readonly images?: Readonly<Record<string, FakeImage>>
  /** Device nodes that pods may claim; see `--device` of the agent. */
  readonly devices?: readonly string[]
}

export class AgentNode implements AsyncDisposable {
  readonly name: string
  readonly runtime: FakeRuntime
  readonly agent: Agent
  readonly #scope: Scope
  readonly #links: TestLinks
  readonly #kick: () => void
  readonly #cut: AbortController[]
  readonly #state: { away: boolean }

  private constructor(parts: { name: string; runtime: FakeRuntime; agent: Agent; scope: Scope; links: TestLinks; kick: () => void; cuts: AbortController[]; state: { away: boolean } }) {
    this.name = parts.name
    this.runtime = parts.runtime
    this.agent = parts.agent
    this.#scope = parts.scope
    this.#links = parts.links
    this.#kick = parts.kick
    this.#cut = parts.cuts
    this.#state = parts.state
  }

  /** Starts the agent; its directories go with it. */
  static async create(options: AgentNodeOptions, handler: ApiHandler, links: TestLinks, clock: Clock): Promise<AgentNode> {
    const root = await mkdtemp(join(tmpdir(), `skerry-${options.name}-`))
    const scope = new Scope(`agent ${options.name}`)
    scope.onClose(() => rm(root, { recursive: true, force: true }))
    const cuts = [new AbortController()]
    const inner = createInProcessTransport(handler, nodeUser(options.name))
    const state = { away: false }
    const client = createClient({
      async request(request, signal) {
        if (state.away) throw new AppError('unavailable', `${request.method} ${request.path}: the node is cut off`)
        const cut = (cuts[0] as AbortController).signal
        return await inner.request(request, signal === undefined ? cut : AbortSignal.any([signal, cut]))
      },
    })
    const stash = await openFileStash(join(root, 'stash'), { clock })
    scope.onClose(() => stash[Symbol.asyncDispose]())
    const caches = createCaches(client, { clock, stash, schedule: { firstMs: 20, factor: 2, maxMs: 500, jitter: 0 } })
    const runtime = new FakeRuntime({ clock, ...(options.images === undefined ? {} : { images: options.images }) })
    const agent = createAgent({
      nodeName: options.name,
      client,
      caches,
      runtime,
      dirs: { data: join(root, 'data'), run: join(root, 'run') },
      clock,
      network: { configure: async (podCIDR) => void (runtime.podCIDR = podCIDR), setHostPorts: async () => {} },
      mounter: { tmpfs: async () => {}, hugePages: async () => {}, readOnly: async () => {}, unmountUnder: async () => {} },
      online: () => !state.away,
      devices: (options.devices ?? []).map(parseDeviceRule),
      ...(options.labels === undefined ? {} : { nodeLabels: options.labels }),
    })
    const kick = (): void => {
      caches.retryNow()
      agent.kick()
    }
    const node = new AgentNode({ name: options.name, runtime, agent, scope, links, cuts, state, kick })
    scope.run('caches', (signal) => caches.run(signal))
    scope.run('agent', (signal) => agent.run(signal))
    links.connect(options.name)
    return node
  }

  /** Breaks every call and watch; the node carries on alone. */
  cut(): void {
    this.#state.away = true
    this.#links.cut(this.name)
    this.#cut[0]?.abort()
    this.#cut[0] = new AbortController()
  }

  restore(): void {
    this.#state.away = false
    this.#links.connect(this.name)
    this.#kick()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.close()
  }
}
