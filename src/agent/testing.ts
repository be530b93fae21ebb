/** An agent on a fake runtime, a fake clock and an API of a few maps, for this area's tests and `test/integration/agent-memory.test.ts`. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeClock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import type { Pod } from '../api/gen/types.ts'
import type { KubeObject } from '../api/meta.ts'
import { applyStrategicPatch } from '../api/patch/mod.ts'
import { schemaOf } from '../api/schema-table.ts'
import type { Cache, CacheOptions, CacheSet, Client, EventRecorder, InvolvedObject, ResourceClient, ResourceRef } from '../client/mod.ts'
import { FakeRuntime, type FakeImage } from '../cri/mod.ts'
import { createAgent, type Agent } from './agent.ts'
import type { AgentOptions, HostPort, NodeFacts } from './ports.ts'

const idOf = (resource: string, namespace: string | undefined, name: string): string => `${resource}/${namespace ?? ''}/${name}`

/** Objects by resource, namespace and name; watchers hear of changes at once. `away` makes every call `unavailable`. */
export class FakeApi {
  readonly objects = new Map<string, KubeObject>()
  readonly calls: string[] = []
  away = false
  /** False: caches are not synced, as on a first boot without server. */
  known = true
  #revision = 1
  readonly #listeners = new Set<(resource: string, now: KubeObject | undefined, old: KubeObject | undefined) => void>()

  put(resource: string, object: KubeObject): KubeObject {
    const { name = '', namespace } = object.metadata ?? {}
    const id = idOf(resource, namespace, name)
    const old = this.objects.get(id)
    const now = { ...object, metadata: { uid: old?.metadata?.uid ?? `uid-${name}`, ...object.metadata, resourceVersion: String(++this.#revision) } }
    this.objects.set(id, now)
    for (const fn of this.#listeners) fn(resource, now, old)
    return now
  }

  remove(resource: string, namespace: string | undefined, name: string): void {
    const id = idOf(resource, namespace, name)
    const old = this.objects.get(id)
    if (this.objects.delete(id)) for (const fn of this.#listeners) fn(resource, undefined, old)
  }

  pod(name: string): Pod {
    return this.objects.get(idOf('pods', 'default', name)) as Pod
  }

  readonly client: Client = {
    resource: <T extends KubeObject>(ref: ResourceRef) => this.#resource(ref) as unknown as ResourceClient<T>,
    transport: { request: (request) => this.#request(request) },
  }

  #enter(what: string): void {
    if (this.away) throw new AppError('unavailable', `${what}: the server is away`)
    this.calls.push(what)
  }

  async #request(request: ApiRequest): Promise<ApiResponse> {
    this.#enter(`${request.method} ${request.path}`)
    const body = { status: { token: `token-${this.calls.length}`, expirationTimestamp: '2026-01-01T01:00:00Z' } }
    return { status: 201, headers: {}, body: JSON.stringify(body) }
  }

  #resource(ref: ResourceRef): Partial<ResourceClient<KubeObject>> {
    const get = (name: string, namespace?: string): KubeObject => {
      const found = this.objects.get(idOf(ref.resource, namespace, name))
      if (!found) throw new AppError('not-found', `${ref.resource} "${name}" not found`)
      return found
    }
    return {
      ref,
      get: async (name, namespace) => {
        this.#enter(`get ${ref.resource} ${name}`)
        return get(name, namespace)
      },
      create: async (object) => {
        const name = object.metadata?.name ?? ''
        this.#enter(`create ${ref.resource} ${name}`)
        if (this.objects.has(idOf(ref.resource, object.metadata?.namespace, name))) throw new AppError('exists', `${name} exists`)
        return this.put(ref.resource, object)
      },
      patch: async (name, namespace, patch, type, query) => {
        this.#enter(`patch ${ref.resource} ${name} ${query?.subresource ?? ''}`.trim())
        const old = get(name, namespace)
        const uid = (patch as KubeObject).metadata?.uid
        if (uid !== undefined && uid !== old.metadata?.uid) throw new AppError('conflict', `uid of ${name} differs`)
        if (type === 'strategic') return this.put(ref.resource, applyStrategicPatch(old as Record<string, unknown>, patch, schemaOf(ref.kind)) as KubeObject)
        return this.put(ref.resource, mergePatch(old, patch) as KubeObject)
      },
      delete: async (name, namespace, query) => {
        this.#enter(`delete ${ref.resource} ${name}`)
        if (query?.preconditions?.uid !== undefined && get(name, namespace).metadata?.uid !== query.preconditions.uid) throw new AppError('conflict', 'uid differs')
        this.remove(ref.resource, namespace, name)
      },
    }
  }

  readonly caches: CacheSet = {
    cache: <T extends KubeObject>(ref: ResourceRef, options: CacheOptions<T> = {}) => this.#cache<T>(ref, options),
    run: async () => {},
  }

  #cache<T extends KubeObject>(ref: ResourceRef, options: CacheOptions<T>): Cache<T> {
    const [field, value] = (options.fieldSelector ?? '').split('=')
    const fits = (o: KubeObject): boolean =>
      (options.namespace === undefined || o.metadata?.namespace === options.namespace) &&
      (field === 'metadata.name' ? o.metadata?.name === value : field === 'spec.nodeName' ? (o as Pod).spec?.nodeName === value : true)
    const list = (): T[] => [...this.objects].filter(([id, o]) => id.startsWith(`${ref.resource}/`) && fits(o)).map(([, o]) => o as T)
    const isSynced = (): boolean => this.known
    return {
      ref,
      get isSynced() {
        return isSynced()
      },
      synced: async (signal) => {
        while (!isSynced()) {
          signal?.throwIfAborted()
          await new Promise((resolve) => setTimeout(resolve, 2))
        }
      },
      get: (name, namespace) => list().find((o) => o.metadata?.name === name && o.metadata.namespace === namespace),
      list: () => list(),
      byIndex: () => [],
      onChange: (fn) => {
        const listener = (resource: string, now: KubeObject | undefined, old: KubeObject | undefined): void => {
          if (resource === ref.resource && fits((now ?? old) as KubeObject)) fn(now as T | undefined, old as T | undefined)
        }
        this.#listeners.add(listener)
        return () => void this.#listeners.delete(listener)
      },
    }
  }
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const out: Record<string, unknown> = { ...(typeof target === 'object' && target !== null ? target : {}) }
  for (const [k, v] of Object.entries(patch)) {
    if (v === null) delete out[k]
    else out[k] = mergePatch(out[k], v)
  }
  return out
}

const FACTS: NodeFacts = {
  capacity: { cpu: '4', memory: '4Gi', pods: '110' },
  allocatable: { cpu: '4', memory: '3Gi', pods: '110' },
  nodeInfo: { kernelVersion: '6' },
  addresses: [{ type: 'InternalIP', address: '192.0.2.7' }],
  pressure: { memory: false, disk: false, pid: false },
}

export interface TestNode extends AsyncDisposable {
  readonly api: FakeApi
  readonly runtime: FakeRuntime
  readonly clock: FakeClock
  readonly dirs: { readonly data: string; readonly run: string }
  readonly said: string[]
  readonly hostPorts: HostPort[][]
  agent: Agent
  /** Stops the agent; containers run on. */
  stop(): Promise<void>
  start(): void
  /** Waits (in real time, at most 3 s) until `fn` holds, letting work settle; the fake clock does not move. */
  until(what: string, fn: () => boolean): Promise<void>
  /** Moves the fake clock in small steps, letting work settle in between. */
  pass(ms: number): Promise<void>
}

/** A node named `n1` with a podCIDR, whose agent runs. */
export async function testNode(images: Readonly<Record<string, FakeImage>> = { app: {} }, extra: Partial<AgentOptions> = {}): Promise<TestNode> {
  const root = await mkdtemp(join(tmpdir(), 'skerry-agent-'))
  const clock = new FakeClock()
  const api = new FakeApi()
  const runtime = new FakeRuntime({ clock, images })
  const dirs = { data: join(root, 'data'), run: join(root, 'run') }
  const said: string[] = []
  const hostPorts: HostPort[][] = []
  const events: EventRecorder = {
    event: (about, type, reason, message) => void said.push(`${type} ${reason} ${(about as InvolvedObject).name}: ${message}`),
    run: async () => {},
    dropped: 0,
  }
  api.put('nodes', { metadata: { name: 'n1' }, spec: { podCIDR: '10.0.0.0/24' } } as KubeObject)
  const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 2))
  let over = new AbortController()
  let done: Promise<void> = Promise.resolve()
  const node: TestNode = {
    api,
    runtime,
    clock,
    dirs,
    said,
    hostPorts,
    agent: undefined as unknown as Agent,
    start() {
      over = new AbortController()
      const mounter = { tmpfs: async () => {}, hugePages: async () => {}, readOnly: async () => {}, unmountUnder: async () => {} }
      const network = { configure: async () => {}, setHostPorts: async (ports: readonly HostPort[]) => void hostPorts.push([...ports]) }
      node.agent = createAgent({
        nodeName: 'n1', client: api.client, caches: api.caches, runtime, dirs, clock, events, network, mounter, facts: async () => FACTS, ...extra,
      })
      done = node.agent.run(over.signal)
      done.catch((error: unknown) => said.push(`agent failed: ${String(error)}`))
    },
    async stop() {
      over.abort()
      await done
    },
    async until(what, fn) {
      for (let i = 0; i < 1000; i++) {
        if (fn()) return
        if (i % 20 === 19) await clock.advance(10)
        await settle()
      }
      throw new Error(`waited for ${what}; said:\n${said.slice(-10).join('\n')}\npods: ${JSON.stringify([...api.objects.values()].map((o) => (o as Pod).status?.containerStatuses ?? 0))}\ncalls: ${runtime.calls.slice(-12).join(', ')}`)
    },
    async pass(ms) {
      for (let left = ms; left > 0; left -= 1000) {
        await clock.advance(Math.min(1000, left))
        await settle()
      }
    },
    async [Symbol.asyncDispose]() {
      await node.stop()
      await rm(root, { recursive: true, force: true })
    },
  }
  node.start()
  return node
}

/** A pod of one container `main` with image `app` on node n1. */
export function testPod(name: string, spec: Partial<NonNullable<Pod['spec']>> = {}, uid = `uid-${name}`): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid, generation: 1 },
    spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent' }], ...spec },
  }
}
