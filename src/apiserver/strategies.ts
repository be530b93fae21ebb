/**
 * What the server itself sets on objects of certain kinds, beyond defaults: allocated addresses, first status, who asked.
 * Called by the write verbs before admission and again before validation, so each must bear being run twice.
 */
import { KINDS } from '../api/kinds.ts'
import { prepareCreate, prepareUpdate } from '../api/prepare.ts'
import { fieldInvalid, invalid } from '../api/status.ts'
import { AppError } from '../base/errors.ts'
import { acceptDefinition } from './crd-status.ts'
import type { Call, Core } from './core.ts'
import { freeAddress, inCidr } from './service-ips.ts'
import type { Obj } from './stored-text.ts'

interface Strategy {
  create?(core: Core, call: Call, object: Obj): void
  update?(core: Core, call: Call, next: Obj, old: Obj): void
}

const NODE_PORTS = { from: 30_000, to: 32_767 }

/** By `group/resource`. */
const STRATEGIES: Readonly<Record<string, Strategy>> = {
  '/services': {
    create: (core, _call, object) => allocate(core, object, undefined),
    update(core, call, next, old) {
      if (call.info.subresource === undefined) allocate(core, next, old)
    },
  },
  'certificates.k8s.io/certificatesigningrequests': {
    create(_core, call, object) {
      const { name, uid, groups, extra } = call.user
      object.spec = {
        ...(object.spec as object | undefined),
        username: name,
        ...(uid === undefined ? {} : { uid }),
        groups,
        ...(extra && Object.keys(extra).length > 0 ? { extra } : {}),
      }
    },
    update(_core, _call, next, old) {
      next.spec = old.spec
    },
  },
  'apiextensions.k8s.io/customresourcedefinitions': {
    create: (core, _call, object) => acceptDefinition(core, object),
    update(core, call, next) {
      if (call.info.subresource === undefined) acceptDefinition(core, next)
    },
  },
}

/** Before admission and again after it: what the kind begins with, then what this server gives out. */
export function beforeCreate(core: Core, call: Call, object: Obj): void {
  const { def } = call
  prepareCreate(def, object)
  STRATEGIES[`${def.group}/${def.resource}`]?.create?.(core, call, object)
}

/** The same for an update: what the old state keeps, then what this server gives out. */
export function beforeUpdate(core: Core, call: Call, next: Obj, old: Obj): void {
  const { def, info } = call
  prepareUpdate(def, next, old, info.subresource)
  STRATEGIES[`${def.group}/${def.resource}`]?.update?.(core, call, next, old)
}

interface ServiceSpec {
  type?: string
  clusterIP?: string
  clusterIPs?: string[]
  ipFamilies?: string[]
  ipFamilyPolicy?: string
  ports?: { nodePort?: number; protocol?: string; port?: number }[]
  externalName?: string
}

/** Cluster IP and node ports of a Service: kept when it has them, given out when it lacks them, dropped when its type wants none. */
function allocate(core: Core, object: Obj, old: Obj | undefined): void {
  const spec = (object.spec ??= {}) as ServiceSpec
  const before = (old?.spec ?? {}) as ServiceSpec
  const type = spec.type ?? 'ClusterIP'
  object.status ??= { loadBalancer: {} }
  if (type === 'ExternalName') {
    delete spec.clusterIP
    delete spec.clusterIPs
    return
  }
  if (!spec.clusterIP && before.clusterIP) {
    spec.clusterIP = before.clusterIP
    if (before.clusterIPs) spec.clusterIPs ??= before.clusterIPs
  }
  const others = [...core.cache.resource('services').scan()].filter((e) => e.name !== object.metadata.name || e.namespace !== object.metadata.namespace)
  const specs = (): ServiceSpec[] => others.map((e) => (e.parsed().spec ?? {}) as ServiceSpec)
  const refuse = (field: string, value: unknown, why: string): never => {
    throw invalid(KINDS.Service, object.metadata.name ?? '', [fieldInvalid(field, value, why)])
  }
  if (!spec.clusterIP) {
    try {
      spec.clusterIP = freeAddress(core.serviceCidr, new Set(specs().flatMap((s) => s.clusterIP ?? [])))
    } catch (error) {
      if (!(error instanceof AppError)) throw error
      refuse('spec.clusterIP', '', error.message)
    }
  } else if (spec.clusterIP !== 'None' && spec.clusterIP !== before.clusterIP) {
    if (!inCidr(core.serviceCidr, spec.clusterIP)) refuse('spec.clusterIPs', [spec.clusterIP], `failed to allocate IP ${spec.clusterIP}: the provided IP (${spec.clusterIP}) is not in the valid range. The range of valid IPs is ${core.serviceCidr}`)
    if (specs().some((s) => s.clusterIP === spec.clusterIP)) refuse('spec.clusterIPs', [spec.clusterIP], `failed to allocate IP ${spec.clusterIP}: provided IP is already allocated`)
  }
  spec.clusterIPs = [spec.clusterIP as string]
  spec.ipFamilies ??= ['IPv4']
  spec.ipFamilyPolicy ??= 'SingleStack'
  if (type !== 'NodePort' && type !== 'LoadBalancer') {
    for (const port of spec.ports ?? []) delete port.nodePort
    return
  }
  const taken = new Set(specs().flatMap((s) => (s.ports ?? []).flatMap((p) => p.nodePort ?? [])))
  for (const [i, port] of (spec.ports ?? []).entries()) {
    const path = `spec.ports[${i}].nodePort`
    port.nodePort ??= before.ports?.find((p) => p.port === port.port && p.protocol === port.protocol)?.nodePort ?? freePort(taken)
    if (taken.has(port.nodePort)) refuse(path, port.nodePort, 'provided port is already allocated')
    if (port.nodePort < NODE_PORTS.from || port.nodePort > NODE_PORTS.to) refuse(path, port.nodePort, `provided port is not in the valid range. The range of valid ports is ${NODE_PORTS.from}-${NODE_PORTS.to}`)
    taken.add(port.nodePort)
  }
}

function freePort(taken: ReadonlySet<number>): number {
  const size = NODE_PORTS.to - NODE_PORTS.from + 1
  const start = Math.floor(Math.random() * size)
  for (let i = 0; i < size; i++) {
    const port = NODE_PORTS.from + ((start + i) % size)
    if (!taken.has(port)) return port
  }
  throw new AppError('full', `give out a node port: all ports from ${NODE_PORTS.from} to ${NODE_PORTS.to} are taken`)
}
