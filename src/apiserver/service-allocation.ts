/**
 * Addresses of Services chosen: a cluster IP and node ports are kept when given, picked when missing, dropped when the type
 * wants none. What is picked is free as this server knows; `service-claims.ts` then takes it for all servers.
 */
import type { Service } from '../api/gen/types.ts'
import { KINDS } from '../api/kinds.ts'
import { fieldInvalid, invalid } from '../api/status.ts'
import { AppError } from '../base/errors.ts'
import type { Core } from './core.ts'
import { settleFamilies } from './service-families.ts'
import { freeAddress, inCidr } from './service-ips.ts'
import type { Obj } from './stored-text.ts'

const NODE_PORTS = { from: 30_000, to: 32_767 }

/** A thing that one Service alone may have. */
export type Holding = { readonly kind: 'ip'; readonly value: string } | { readonly kind: 'port'; readonly value: number }

type ServiceSpec = NonNullable<Service['spec']>

/** What was picked here for an object, not asked for by its author: may be picked anew. */
const picked = new WeakMap<Obj, Set<string | number>>()

const specOf = (object: Obj): ServiceSpec => (object.spec ?? {}) as ServiceSpec

/** All that a Service has for itself. */
export function holdingsOf(object: Obj): Holding[] {
  const { clusterIP, ports = [], healthCheckNodePort } = specOf(object)
  const numbers = new Set([...ports.flatMap((p) => p.nodePort || []), ...(healthCheckNodePort ? [healthCheckNodePort] : [])])
  return [...(clusterIP && clusterIP !== 'None' ? [{ kind: 'ip' as const, value: clusterIP }] : []), ...[...numbers].map((value) => ({ kind: 'port' as const, value }))]
}

/** Fills in what a Service of its type needs, before it is admitted. @throws ApiError 422 */
export function allocate(core: Core, object: Obj, old: Obj | undefined): void {
  const spec = (object.spec ??= {}) as ServiceSpec
  const before: ServiceSpec = old ? specOf(old) : {}
  const type = spec.type ?? 'ClusterIP'
  object.status ??= { loadBalancer: {} }
  if (type === 'ExternalName') return
  if (!spec.clusterIP && before.clusterIP) {
    spec.clusterIP = before.clusterIP
    if (before.clusterIPs) spec.clusterIPs ??= before.clusterIPs
  }
  const wrong = settleFamilies(spec, old && before, core.serviceCidr.includes(':') ? 'IPv6' : 'IPv4')
  if (wrong.length > 0) throw invalid(KINDS.Service, object.metadata.name ?? '', wrong)
  if (!spec.clusterIP) pickAddress(core, object)
  else if (spec.clusterIP !== 'None' && spec.clusterIP !== before.clusterIP) {
    if (!inCidr(core.serviceCidr, spec.clusterIP)) refuseAddress(object, spec.clusterIP, `the provided IP (${spec.clusterIP}) is not in the valid range. The range of valid IPs is ${core.serviceCidr}`)
    if (taken(core, object).has(spec.clusterIP)) refuseTaken(object, { kind: 'ip', value: spec.clusterIP })
  }
  if (type === 'NodePort' || type === 'LoadBalancer') allocatePorts(core, object, spec, before)
  if (type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local') {
    spec.healthCheckNodePort ||= before.healthCheckNodePort || pickPort(core, object)
    if (spec.healthCheckNodePort !== before.healthCheckNodePort) checkPort(core, object, spec.healthCheckNodePort, 'spec.healthCheckNodePort')
  }
}

function allocatePorts(core: Core, object: Obj, spec: ServiceSpec, before: Partial<ServiceSpec>): void {
  const wanted = spec.type === 'NodePort' || spec.allocateLoadBalancerNodePorts !== false
  const ports = spec.ports ?? []
  const seen = new Map<number, Set<string>>()
  for (const [i, port] of ports.entries()) {
    const path = `spec.ports[${i}].nodePort`
    // The same port under another protocol goes by the same number.
    port.nodePort ||= before.ports?.find((p) => p.port === port.port && p.protocol === port.protocol)?.nodePort || ports.find((p) => p !== port && p.port === port.port && p.protocol !== port.protocol)?.nodePort || (wanted ? pickPort(core, object) : 0)
    if (!port.nodePort) {
      delete port.nodePort
      continue
    }
    checkPort(core, object, port.nodePort, path)
    const protocols = seen.get(port.nodePort) ?? new Set()
    if (protocols.has(port.protocol ?? 'TCP')) refusePort(object, path, port.nodePort, 'provided port is already allocated')
    seen.set(port.nodePort, protocols.add(port.protocol ?? 'TCP'))
  }
}

function checkPort(core: Core, object: Obj, port: number, path: string): void {
  if (taken(core, object).has(port)) refusePort(object, path, port, 'provided port is already allocated')
  if (port < NODE_PORTS.from || port > NODE_PORTS.to) refusePort(object, path, port, `provided port is not in the valid range. The range of valid ports is ${NODE_PORTS.from}-${NODE_PORTS.to}`)
}

/** What others have, as this server knows. */
function taken(core: Core, object: Obj): Set<string | number> {
  const { name, namespace } = object.metadata
  const others = [...core.cache.resource('services').scan()].filter((e) => e.name !== name || e.namespace !== namespace)
  return new Set(others.flatMap((e) => holdingsOf(e.parsed() as Obj).map((h) => h.value)))
}

function pickAddress(core: Core, object: Obj, without: readonly string[] = []): void {
  const spec = specOf(object)
  try {
    spec.clusterIP = freeAddress(core.serviceCidr, new Set([...taken(core, object), ...without] as string[]))
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    throw invalid(KINDS.Service, object.metadata.name ?? '', [fieldInvalid('spec.clusterIP', '', error.message)])
  }
  spec.clusterIPs = [spec.clusterIP]
  note(object, spec.clusterIP)
}

function pickPort(core: Core, object: Obj, without: readonly number[] = []): number {
  const not = new Set([...taken(core, object), ...without, ...holdingsOf(object).map((h) => h.value)])
  const size = NODE_PORTS.to - NODE_PORTS.from + 1
  const start = Math.floor(Math.random() * size)
  for (let i = 0; i < size; i++) {
    const port = NODE_PORTS.from + ((start + i) % size)
    if (not.has(port)) continue
    note(object, port)
    return port
  }
  throw new AppError('full', `give out a node port: all ports from ${NODE_PORTS.from} to ${NODE_PORTS.to} are taken`)
}

function note(object: Obj, value: string | number): void {
  const values = picked.get(object) ?? new Set()
  picked.set(object, values.add(value))
}

/**
 * Another server was faster with `lost`: picks anew what this server had picked.
 * @param tried all that was lost so far
 * @throws ApiError 422 when the author had asked for it
 */
export function pickAnew(core: Core, object: Obj, lost: Holding, tried: readonly Holding[]): Holding {
  if (picked.get(object)?.has(lost.value) !== true) refuseTaken(object, lost)
  const without = tried.map((h) => h.value)
  const spec = specOf(object)
  if (lost.kind === 'ip') {
    pickAddress(core, object, without as string[])
    return { kind: 'ip', value: spec.clusterIP as string }
  }
  const value = pickPort(core, object, without as number[])
  for (const port of spec.ports ?? []) if (port.nodePort === lost.value) port.nodePort = value
  if (spec.healthCheckNodePort === lost.value) spec.healthCheckNodePort = value
  return { kind: 'port', value }
}

function refuseTaken(object: Obj, lost: Holding): never {
  if (lost.kind === 'ip') return refuseAddress(object, lost.value, 'provided IP is already allocated')
  const at = specOf(object).ports?.findIndex((p) => p.nodePort === lost.value) ?? -1
  return refusePort(object, at < 0 ? 'spec.healthCheckNodePort' : `spec.ports[${at}].nodePort`, lost.value, 'provided port is already allocated')
}

function refuseAddress(object: Obj, address: string, why: string): never {
  throw invalid(KINDS.Service, object.metadata.name ?? '', [fieldInvalid('spec.clusterIPs', [address], `failed to allocate IP ${address}: ${why}`)])
}

function refusePort(object: Obj, path: string, port: number, why: string): never {
  throw invalid(KINDS.Service, object.metadata.name ?? '', [fieldInvalid(path, port, why)])
}
