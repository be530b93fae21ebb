/**
 * The shape of a call to the API, shared by the server's pipeline and the client's transports, so that a part in the
 * server's process enters the same pipeline as everyone else, only without sockets and re-parsing.
 */

/** Who is calling, as authentication found it. */
export interface UserInfo {
  readonly name: string
  readonly uid?: string
  readonly groups: readonly string[]
  readonly extra?: Readonly<Record<string, readonly string[]>>
}

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Absolute path without query, percent-encoded as on the wire: `/api/v1/namespaces/default/pods/web`. */
  readonly path: string
  readonly query?: URLSearchParams
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string>>
  /** JSON text or bytes as received, or (in process only) the object itself, which the callee must not change. */
  readonly body?: string | Uint8Array | object
  /** Set by in-process callers only; the HTTP front end authenticates instead and ignores any such claim. */
  readonly user?: UserInfo
}

export interface ApiResponse {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /**
   * Whole body as text, or a stream of text chunks for watches and logs. A reader that stops early must call
   * `return()` on the iterator (a `for await` that breaks does); that ends the server's work for it.
   */
  readonly body: string | AsyncIterable<string | Uint8Array>
}

/** The server's front door without sockets. Never throws for API failures: they are answers with a Status body. */
export type ApiHandler = (request: ApiRequest, signal: AbortSignal) => Promise<ApiResponse>

/** Content types of the patch verbs. */
export const PATCH_TYPES = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
} as const
export type PatchType = keyof typeof PATCH_TYPES

/** Identities that Skerry's own parts carry. Groups decide, by RBAC's default ClusterRoleBindings. */
export const GROUP_MASTERS = 'system:masters'
export const GROUP_NODES = 'system:nodes'
export const GROUP_AUTHENTICATED = 'system:authenticated'
export const GROUP_BOOTSTRAPPERS = 'system:bootstrappers'
export const nodeUser = (node: string): UserInfo => ({ name: `system:node:${node}`, groups: [GROUP_NODES, GROUP_AUTHENTICATED] })

/** ALPN ids on the one port. Anything else, or none, is ordinary HTTP/1.1. */
export const ALPN_API_H2 = 'skerry-h2/1'
export const ALPN_LINK = 'skerry-link/1'

/**
 * Paths of the one port beside the Kubernetes API. `join/*` and `cacerts` need no client certificate.
 * - GET  /skerry/v1/cacerts          PEM bundle of the root CA (the token's hash pins it)
 * - POST /skerry/v1/join             Bearer bootstrap token; {node, csrPem, machineId} -> {certPem, caPem, clusterCidr...}
 * - POST /skerry/v1/renew            node client certificate; {csrPem} -> {certPem}
 * - POST /skerry/v1/serving          a node; {csrPem, address} -> {certPem, tokens}: for the API it serves to its own pods
 * - GET  /skerry/v1/bundle/...       the server's own bundle for install.sh
 * - GET  /install.sh
 * - *    /v2/...                     OCI distribution, for nodes (client certificate)
 * - *    /collect/v1/...             collector: ingest (nodes, things), query and review (users)
 * - GET  /pages/<namespace>/<name>/  pages that belong to workloads (ConfigMaps labelled skerry.io/page)
 */
export const PATHS = {
  cacerts: '/skerry/v1/cacerts',
  join: '/skerry/v1/join',
  renew: '/skerry/v1/renew',
  serving: '/skerry/v1/serving',
  /** Servers of one cluster pass streams to nodes on to each other here. */
  relay: '/skerry/v1/relay/',
  /** Forgets the history of the server's store, and gives its room back. */
  compact: '/skerry/v1/store/compact',
  bundle: '/skerry/v1/bundle/',
  install: '/install.sh',
  registry: '/v2/',
  collect: '/collect/v1/',
  pages: '/pages/',
} as const
