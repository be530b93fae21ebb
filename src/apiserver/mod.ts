/** The API server's front door. */
export { createApiServer } from './server.ts'
export { createPodStreams } from './streams/pod-streams.ts'
export { listen, type Listener, type ListenOptions } from './listen.ts'
export type { ApiServer, ApiServerOptions, Attributes, Decision, HttpRequest, HttpResponse, Peer, PeerSubject, PodStreams, PodTarget, ProvidedResource, Route, RouteContext, ServiceAccountKey } from './ports.ts'
export { parseAdmissionConfig, type PodSecurityConfig } from './admission/pod-security-config.ts'
export { AuditLog } from './audit/log.ts'
export { AuditWebhook } from './audit/webhook.ts'
export { keyOf } from './resources.ts'
export { parsePolicy, type Policy } from './audit/policy.ts'
import type { matchesDevice } from './cel/device-selectors.ts'

/** Loads what evaluates the selectors of device claims; the scheduler asks for it with its first claim. */
export const loadDeviceSelectors = async (): Promise<typeof matchesDevice> => (await import('./cel/device-selectors.ts')).matchesDevice
