/**
 * What the API server needs from outside and offers to the one port: options, peer identity, pod streams, extra routes.
 * Implemented by `streams/` (pod streams) and by the composition root (routes, links); used by every file here.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Duplex } from 'node:stream'
import type { ApiHandler, ApiResponse, UserInfo } from '../api/contract.ts'
import type { KubeObject } from '../api/meta.ts'
import type { ResourceDef } from '../api/resource.ts'
import type { Clock } from '../base/clock.ts'
import type { Metrics } from '../base/metrics.ts'
import type { PodSecurityConfig } from './admission/pod-security-config.ts'
import type { AuditOptions } from './audit/audit.ts'
import type { Store } from '../store/store.ts'

/** The subject of a client certificate that our CA signed. */
export interface PeerSubject {
  readonly cn: string
  readonly o: readonly string[]
  /** sha256 of the certificate, lower-case hex. */
  readonly fingerprint?: string
  /** When the certificate expires, ms wall clock: a connection may outlive it. */
  readonly expiresMs?: number
}

/** What a connection proves before a header is read. `problem`: a certificate was shown but does not count. */
export interface Peer {
  readonly subject?: PeerSubject
  readonly problem?: string
}

/** One authorized request for a stream of a pod that is bound to a node. */
export interface PodTarget {
  readonly kind: 'log' | 'exec' | 'attach' | 'portforward'
  readonly namespace: string
  readonly pod: string
  /** Chosen or defaulted container; undefined for port-forward. */
  readonly container: string | undefined
  readonly node: string
  readonly query: URLSearchParams
}

/** Carries pod streams to nodes; `streams/` implements it on a NodeDialer. */
export interface PodStreams {
  /** The log as text chunks. @throws ApiError or AppError, which become the Status answer */
  log(target: PodTarget, signal: AbortSignal): Promise<ApiResponse>
  /** A page that the node serves about itself: `/metrics`, `/metrics/resource`, `/stats/summary` or `/healthz`. @throws as `log` */
  nodePage(node: string, path: string, signal: AbortSignal): Promise<ApiResponse>
  /** A connection to a TCP port of a pod, as port-forward makes it. @throws AppError when node or port do not answer */
  connect(pod: { readonly node: string; readonly namespace: string; readonly pod: string }, port: number, signal: AbortSignal): Promise<Duplex>
  /** A connection to a TCP port of a node, by the address that the cluster knows it by. @throws as `connect` */
  connectNode(node: string, port: number, signal: AbortSignal): Promise<Duplex>
  /** Takes the socket over (WebSocket or SPDY) and answers on it, errors included. */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer, target: PodTarget): void | Promise<void>
}

/** The key that signs service-account tokens (ES256, PEM) and the issuer named in them. */
export interface ServiceAccountKey {
  readonly privateKeyPem: string
  readonly publicKeyPem: string
  /** Keys that signed before: their tokens count until they expire. @default none */
  readonly formerPublicKeysPem?: readonly string[]
  /** Named in new tokens. @default https://kubernetes.default.svc.cluster.local */
  readonly issuer?: string
  /** Issuers named in tokens before, which still count. @default none */
  readonly formerIssuers?: readonly string[]
  /** Where the discovery document says the key set is. @default `<issuer>/openid/v1/jwks` */
  readonly jwksUri?: string
}

/** A resource that is not kept but made when asked for, e.g. `metrics.k8s.io` pods. Read only. */
export interface ProvidedResource {
  readonly def: ResourceDef
  /** One object by name. @throws ApiError */
  get(name: string, namespace: string | undefined, signal: AbortSignal): Promise<KubeObject>
  list(query: { readonly namespace: string | undefined; readonly labelSelector: string | undefined; readonly fieldSelector: string | undefined }, signal: AbortSignal): Promise<readonly KubeObject[]>
}

export interface ApiServerOptions {
  readonly store: Store
  readonly clock: Clock
  readonly serviceAccountKey: ServiceAccountKey
  /** CIDR of Service cluster IPs, e.g. `10.43.0.0/16`; its first address is the `kubernetes` Service. */
  readonly serviceCidr: string
  readonly podStreams?: PodStreams
  /** PEM of the CA that pods are given beside tokens in Secrets; those Secrets are not filled without. */
  readonly rootCaPem?: () => string
  readonly metrics?: Metrics
  /** What is recorded of requests, and where; nothing without. */
  readonly audit?: AuditOptions
  /** Levels and exemptions for the whole cluster; nothing is forbidden and nobody exempt without it. */
  readonly podSecurity?: PodSecurityConfig
  /** Served and discovered beside the table of kinds. @default none */
  readonly provided?: readonly ProvidedResource[]
  /** Shown by `/version` behind `+skerry`; e.g. a git commit. */
  readonly gitCommit?: string
  /** Address and port published as Endpoints of the `kubernetes` Service, when known. */
  readonly advertise?: { readonly address: string; readonly port: number }
}

export interface Attributes {
  readonly verb: string
  readonly group?: string
  readonly version?: string
  readonly resource?: string
  readonly subresource?: string
  readonly namespace?: string
  readonly name?: string
  /** Non-resource path; set instead of the resource fields. */
  readonly path?: string
  readonly fieldSelector?: string
  readonly labelSelector?: string
}

export interface Decision {
  readonly allowed: boolean
  readonly reason: string
}

export type HttpRequest = IncomingMessage | Http2ServerRequest
export type HttpResponse = ServerResponse | Http2ServerResponse

export interface ApiServer extends AsyncDisposable {
  /** In process: trusts `request.user` (no user: anonymous). Everything else of the pipeline applies. */
  readonly handler: ApiHandler
  /** Who is calling. undefined: anonymous. @throws ApiError 401 when credentials were shown and none of them counts */
  authenticate(credentials: { readonly peer?: Peer | undefined; readonly headers: Readonly<Record<string, string | string[] | undefined>> }): Promise<UserInfo | undefined>
  authorize(user: UserInfo, attributes: Attributes): Promise<Decision>
  /** Answers one HTTP/1.1 or HTTP/2 request completely, errors included. */
  handleHttp(req: HttpRequest, res: HttpResponse, peer: Peer): Promise<void>
  /** Answers one HTTP/1.1 upgrade (exec, attach, port-forward). */
  handleUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer, peer: Peer): Promise<void>
  /** Signs service-account tokens with another key from now on. @throws AppError `invalid` */
  setServiceAccountKey(key: ServiceAccountKey): Promise<void>
  /** Stops watches and background work; the store stays open. */
  close(): Promise<void>
}

export interface RouteContext {
  readonly user: UserInfo | undefined
  readonly path: string
  readonly query: URLSearchParams
}

/** A part of the one port beside the Kubernetes API. */
export interface Route {
  /** Path prefix, e.g. `/collect/v1/`; one without a final slash matches only itself and what follows a slash. */
  readonly prefix: string
  /** `required`: others get 401. `optional`: the handler decides; bad credentials show as no user. */
  readonly auth: 'required' | 'optional'
  handler(req: HttpRequest, res: HttpResponse, context: RouteContext): void | Promise<void>
}
