/**
 * A whole cluster in one process, up in a fraction of a second: memory store, the real API server, controllers, scheduler,
 * all talking in process. Nodes are played (`play-node.ts`) or real agents given by the test. Used by integration tests.
 */
import { generateKeyPairSync } from 'node:crypto'
import { createApiServer, listen, loadDeviceSelectors } from '../../src/apiserver/mod.ts'
import { GROUP_AUTHENTICATED, GROUP_MASTERS, type UserInfo } from '../../src/api/contract.ts'
import { systemClock, type Clock } from '../../src/base/clock.ts'
import { createCa, createKey, issue } from '../../src/base/pki.ts'
import { Scope } from '../../src/base/scope.ts'
import { createCaches, createClient, createInProcessTransport, formatKubeconfig, type Client } from '../../src/client/mod.ts'
import { createControllers } from '../../src/controllers/mod.ts'
import { createScheduler } from '../../src/scheduler/mod.ts'
import { createMemoryStore, type Store } from '../../src/store/mod.ts'
import { AgentNode, type AgentNodeOptions } from './agent-node.ts'
import { TestLinks } from './links.ts'
import { PlayNode, type PlayNodeOptions } from './play-node.ts'

export interface TestClusterOptions {
  /** @default the system's */
  readonly clock?: Clock
  /** @default a fresh one in memory */
  readonly store?: Store
  /** The controllers know that no other server judges nodes. @default false */
  readonly alone?: boolean
  /** Run controllers and scheduler. @default true */
  readonly control?: boolean
  /** @default `10.42.0.0/16` */
  readonly clusterCidr?: string
}

export interface TestCluster extends AsyncDisposable {
  readonly api: Awaited<ReturnType<typeof createApiServer>>
  readonly store: Store
  readonly links: TestLinks
  readonly clock: Clock
  /** A client with all rights. */
  readonly admin: Client
  /** A client of anyone else, in process. */
  clientOf(user: UserInfo): Client
  /** Opens the port with TLS and returns a kubeconfig of an administrator. */
  listen(): Promise<string>
  /** Adds a played node and starts it. */
  addNode(options: PlayNodeOptions): PlayNode
  /** Adds a node with a real agent on the fake runtime and starts it. */
  addAgent(options: AgentNodeOptions): Promise<AgentNode>
}

const CONTROLLERS: UserInfo = { name: 'system:skerry-controllers', groups: [GROUP_AUTHENTICATED] }
const SCHEDULER: UserInfo = { name: 'system:kube-scheduler', groups: [GROUP_AUTHENTICATED] }

export async function createTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  const clock = options.clock ?? systemClock
  const store = options.store ?? createMemoryStore()
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const serviceAccountKey = {
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }) as string,
  }
  const api = await createApiServer({ store, clock, serviceAccountKey, serviceCidr: '10.43.0.0/16', advertise: { address: '10.0.0.2', port: 6443 } })
  const scope = new Scope('test cluster')
  scope.onClose(() => store[Symbol.asyncDispose]())
  scope.onClose(() => api.close())
  const clientOf = (user: UserInfo): Client => createClient(createInProcessTransport(api.handler, user))
  const links = new TestLinks(clock)
  scope.onClose(() => links.close())

  // The certificate library is slow to load: a CA is made only when something is to be signed.
  let authority: ReturnType<typeof createCa> | undefined
  if (options.control !== false) {
    const client = clientOf(CONTROLLERS)
    const caches = createCaches(client, { clock })
    const parts = { client, caches, clock, links }
    const managers = [
      createControllers({
        ...parts,
        alone: options.alone ?? false,
        clusterCidr: options.clusterCidr ?? '10.42.0.0/16',
        caPem: () => '-----BEGIN CERTIFICATE-----\ntest\n-----END CERTIFICATE-----\n',
        sign: async (request) => await issue({ ca: await (authority ??= createCa({ cn: 'test CA', years: 1 })), ...request }),
      }),
    ]
    scope.run('caches', (signal) => caches.run(signal))
    const schedulerClient = clientOf(SCHEDULER)
    const schedulerCaches = createCaches(schedulerClient, { clock })
    scope.run('scheduler caches', (signal) => schedulerCaches.run(signal))
    managers.push(createScheduler({ client: schedulerClient, caches: schedulerCaches, clock, deviceSelectors: loadDeviceSelectors }))
    for (const manager of managers) scope.run('manager', (signal) => manager.run(signal))
  }

  return {
    api,
    store,
    links,
    clock,
    admin: clientOf({ name: 'admin', groups: [GROUP_MASTERS, GROUP_AUTHENTICATED] }),
    clientOf,
    async listen() {
      const ca = await (authority ??= createCa({ cn: 'test CA', years: 1 }))
      const { keyPem, publicKeyPem } = await createKey()
      const certPem = await issue({ ca, publicKeyPem, cn: 'test server', sans: { ip: ['127.0.0.1'] }, usage: 'server', days: 1 })
      const admin = await createKey()
      const adminCert = await issue({ ca, publicKeyPem: admin.publicKeyPem, cn: 'admin', o: [GROUP_MASTERS], usage: 'client', days: 1 })
      const listener = await listen({ port: 0, bindAddress: '127.0.0.1', key: keyPem, cert: certPem, ca: ca.certPem, api })
      scope.onClose(() => listener.close(0))
      return formatKubeconfig({ server: `https://127.0.0.1:${listener.port}`, caPem: ca.certPem, certPem: adminCert, keyPem: admin.keyPem })
    },
    addNode(node) {
      const played = new PlayNode(node, api.handler, links, clock)
      scope.run(`node ${node.name}`, (signal) => played.run(signal))
      return played
    },
    async addAgent(node) {
      const agent = await AgentNode.create(node, api.handler, links, clock)
      scope.onClose(() => agent[Symbol.asyncDispose]())
      return agent
    },
    [Symbol.asyncDispose]: () => scope.close(),
  }
}
