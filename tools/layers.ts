/** Which area may import which, with the reason for each border; the one place that says it. Read by check-layers and the drawing. */

export interface Area {
  readonly imports: readonly string[]
  readonly what: string
  /** Why it must not know the others. */
  readonly why: string
}

export const AREAS: Readonly<Record<string, Area>> = {
  base: { imports: [], what: 'clock, lifetimes, retry, errors, streams, logs, PKI', why: 'words every area shares cannot depend on any of them' },
  api: { imports: ['base'], what: 'the contract: kinds, schemas, patches, selectors', why: 'server, client and browser must read the same contract' },
  store: { imports: ['base'], what: 'revisioned text: memory, sqlite', why: 'a store that knows kinds cannot be swapped' },
  images: { imports: ['base'], what: 'OCI archives, blob store, registry and mirror', why: 'both ends of the link use it; neither is its home' },
  tunnel: { imports: ['base'], what: 'both ends of the node connection', why: 'it carries Kubernetes but must not know it' },
  cri: { imports: ['base'], what: 'container runtime port; containerd; a fake', why: 'the agent must run on any runtime' },
  telemetry: { imports: ['base'], what: 'the bounded log, spool and forwarder', why: 'readings flow beside the API, never through it' },
  apiserver: { imports: ['base', 'api', 'store'], what: 'HTTP in, revisions out', why: 'it alone reaches the store, and reaches nodes only through a dialer given to it' },
  client: { imports: ['base', 'api'], what: 'the only way anyone reaches the API', why: 'a client that knew the server would be a back door' },
  collector: { imports: ['base', 'api', 'client', 'telemetry'], what: 'records: ingest, keep, query, review', why: 'records are beside the API, permissions are asked of it' },
  control: { imports: ['base', 'api', 'client'], what: 'our small controller-runtime', why: 'controllers talk only through the API' },
  controllers: { imports: ['base', 'api', 'client', 'control'], what: 'one folder per controller', why: 'controllers talk only through the API' },
  scheduler: { imports: ['base', 'api', 'client', 'control'], what: 'one decision at a time on a frozen view', why: 'it binds through the API like any scheduler' },
  devices: { imports: ['base', 'api', 'client', 'control', 'telemetry'], what: 'drivers, twins, local bus', why: 'a device fault must not reach pods or the server' },
  agent: { imports: ['base', 'api', 'client', 'control', 'cri', 'tunnel', 'images'], what: 'the node: pods, volumes, probes, network', why: 'the node works without the server' },
  cli: { imports: ['*'], what: 'composes the parts; reads env, flags, files', why: 'the only composition root' },
}

/** Areas that are entered file by file; all others through their `mod.ts`. */
export const OPEN_AREAS: readonly string[] = ['base', 'api']
