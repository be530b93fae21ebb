/** What a row of the table of kinds is, and the standard verbs and subresources. CRDs make rows of the same shape (`crd.ts`). */
import type { KubeObject } from './meta.ts'
import { DEFAULT_PRINTER } from './columns/column.ts'
import type { Printer } from './columns/column.ts'
import type { Schema } from './schema-types.ts'

export type Verb = 'create' | 'delete' | 'deletecollection' | 'get' | 'list' | 'patch' | 'update' | 'watch'

export interface SubresourceDef {
  readonly name: string
  /** Kind of its body; usually the parent's. */
  readonly kind: string
  /** Group and version of that kind when they are not the parent's (`autoscaling/v1` Scale). */
  readonly group?: string
  readonly version?: string
  readonly verbs: readonly Verb[]
  /** The body is not JSON but a stream to a node: log, exec, attach, portforward, proxy. */
  readonly stream?: boolean
}

export interface ResourceDef {
  readonly group: string
  readonly version: string
  /** Plural, lower case: `pods`. */
  readonly resource: string
  readonly kind: string
  readonly namespaced: boolean
  readonly listKind: string
  readonly singular: string
  readonly shortNames: readonly string[]
  readonly categories: readonly string[]
  readonly verbs: readonly Verb[]
  readonly subresources: readonly SubresourceDef[]
  /** Name of its type in the schema table; a CRD brings its own schema instead. */
  readonly schema: string
  /** Where its objects are kept: the key prefix without slashes at the ends, e.g. `apps/deployments`; empty when nothing is kept. */
  readonly storage: string
  /**
   * `full`: a controller or node acts on it. `stored`: kept and served, nothing acts yet (a create is answered with a Warning).
   * `virtual`: answered at once, never kept (reviews).
   */
  readonly served: 'full' | 'stored' | 'virtual'
  /** Field selectors beyond `metadata.name` and `metadata.namespace`: label to a function from object to its text. */
  readonly selectable: Readonly<Record<string, (object: KubeObject) => string>>
  readonly printer: Printer
  /** Set for the resources of CRDs. */
  readonly custom?: CustomParts
}

/** How a webhook is reached. */
export interface WebhookClient {
  readonly url?: string
  readonly service?: { readonly namespace?: string; readonly name?: string; readonly path?: string; readonly port?: number }
  /** PEM in base64. */
  readonly caBundle?: string
}

/** What a CRD brings instead of a place in the tables. */
export interface CustomParts {
  /** Name of the CRD: `devices.devices.kubeedge.io`. */
  readonly crd: string
  /** Structural schema of the whole object. */
  readonly schema: Schema
  /** What the definition's own schema says of `metadata`: rules for names. */
  readonly metadata?: Schema
  /** The version in which objects are stored. */
  readonly storageVersion: string
  /** Who converts between versions that differ in more than name; absent: nobody has to. */
  readonly converter?: { readonly client: WebhookClient; readonly reviews: readonly string[] }
  /** Objects written after this revision of the store were written by this very definition. Absent: unknown. */
  readonly since?: number
  /** All versions have one schema. */
  readonly uniform?: boolean
  /** Objects are shown as they are stored, in the version they are stored in: for the server's own use. */
  readonly keepsMark?: boolean
  /** Sent with every answer of a deprecated version. */
  readonly warning?: string
  /** Dotted paths of the scale subresource. */
  readonly scale?: { readonly spec: string; readonly status: string; readonly selector?: string }
}

/** `apps/v1`, or `v1` for the core group: what stands in `apiVersion`. */
export function apiVersionOf(of: { readonly group: string; readonly version: string }): string {
  return of.group === '' ? of.version : `${of.group}/${of.version}`
}

/** Splits an `apiVersion` into group and version. */
export function parseApiVersion(apiVersion: string): { group: string; version: string } {
  const slash = apiVersion.indexOf('/')
  return slash < 0 ? { group: '', version: apiVersion } : { group: apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) }
}

/** `deployments.apps`, or `pods` for the core group: how messages name a resource. */
export function qualifiedResource(of: { readonly group: string; readonly resource: string }): string {
  return of.group === '' ? of.resource : `${of.resource}.${of.group}`
}

export const ALL_VERBS: readonly Verb[] = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']
const READ_WRITE: readonly Verb[] = ['get', 'patch', 'update']

/** The subresource of this name as the parent kind has it. @throws Error for a name that no kind has */
export function subresource(name: string, parent: string): SubresourceDef {
  switch (name) {
    case 'status':
    case 'ephemeralcontainers':
    case 'resize':
    case 'approval':
      return { name, kind: parent, verbs: READ_WRITE }
    case 'finalize':
      return { name, kind: parent, verbs: ['update'] }
    case 'scale':
      return { name, kind: 'Scale', group: 'autoscaling', version: 'v1', verbs: READ_WRITE }
    case 'log':
      return { name, kind: parent, verbs: ['get'], stream: true }
    case 'exec':
    case 'attach':
    case 'portforward':
      return { name, kind: STREAM_KINDS[name], verbs: ['create', 'get'], stream: true }
    case 'proxy':
      return { name, kind: `${parent}ProxyOptions`, verbs: ['create', 'delete', 'get', 'patch', 'update'], stream: true }
    case 'binding':
      return { name, kind: 'Binding', verbs: ['create'] }
    case 'eviction':
      return { name, kind: 'Eviction', group: 'policy', version: 'v1', verbs: ['create'] }
    case 'token':
      return { name, kind: 'TokenRequest', group: 'authentication.k8s.io', version: 'v1', verbs: ['create'] }
  }
  throw new Error(`table of kinds: no subresource "${name}"`)
}

const STREAM_KINDS = { exec: 'PodExecOptions', attach: 'PodAttachOptions', portforward: 'PodPortForwardOptions' } as const

export interface RowOptions {
  readonly cluster?: boolean
  /** Short names, space separated. */
  readonly short?: string
  readonly categories?: readonly string[]
  /** Subresources, space separated. */
  readonly sub?: string
  readonly served?: ResourceDef['served']
  readonly schema?: string
  readonly storage?: string
  readonly verbs?: readonly Verb[]
  /** Field selectors: each label is the path of the field, unless a function says otherwise. */
  readonly fields?: string | Readonly<Record<string, (object: KubeObject) => string>>
  readonly printer?: Printer
}

/** One row of the table, with what most kinds have in common filled in. `gv` is `v1` or `apps/v1`. */
export function row(gv: string, kind: string, resource: string, options: RowOptions = {}): ResourceDef {
  const { group, version } = parseApiVersion(gv)
  const served = options.served ?? 'stored'
  return {
    group,
    version,
    kind,
    resource,
    namespaced: !options.cluster,
    listKind: `${kind}List`,
    singular: kind.toLowerCase(),
    shortNames: options.short?.split(' ') ?? [],
    categories: options.categories ?? [],
    verbs: options.verbs ?? (served === 'virtual' ? ['create'] : ALL_VERBS),
    subresources: options.sub?.split(' ').map((name) => subresource(name, kind)) ?? [],
    schema: options.schema ?? kind,
    storage: options.storage ?? (served === 'virtual' ? '' : group === '' ? resource : `${group}/${resource}`),
    served,
    selectable: typeof options.fields === 'string' ? fieldPaths(options.fields) : (options.fields ?? {}),
    printer: options.printer ?? DEFAULT_PRINTER,
  }
}

/** Selectable fields whose label is their path, space separated. */
export function fieldPaths(paths: string): Record<string, (object: KubeObject) => string> {
  return Object.fromEntries(paths.split(' ').map((path) => [path, fieldText(path)]))
}

/** Reads the scalar at a dotted path as text; absent is the empty text. */
export function fieldText(path: string): (object: KubeObject) => string {
  const keys = path.split('.')
  return (object) => {
    let value: unknown = object
    for (const key of keys) value = typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined
    return value === undefined || value === null ? '' : String(value)
  }
}
