/**
 * Both ends of the node connection. The node dials out; two HTTP/2 sessions: an ordinary one (node is client: API,
 * telemetry, images) and a reversed one (the node answers the server: logs, exec, port-forward, metrics).
 * Knows no Kubernetes: names of nodes are opaque strings taken from the client certificate by the composition root.
 */
import type { TLSSocket } from 'node:tls'
import type { NodeDialer, NodeLinks } from '../base/stream.ts'

/** Server end: holds one reversed session a node. A newer session of the same node replaces the older. */
export interface Hub extends NodeDialer, NodeLinks, AsyncDisposable {
  /** Takes a TLS socket whose ALPN is ALPN_LINK and whose peer was authenticated as `node`. */
  accept(socket: TLSSocket, node: string): void
  /** Ends a node's session, e.g. after its identity was revoked. */
  disconnect(node: string, why: string): void
  /** Tells the connected nodes where servers are now, see `HubOptions.servers`. */
  tellServers(): void
}
