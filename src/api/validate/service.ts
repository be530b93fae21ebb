/** Validation of Services: type, addresses and their families, ports, where traffic goes. */
import type { Service, ServicePort, ServiceSpec } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors, labelKeyErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { PROTOCOLS } from './container.ts'
import { IMMUTABLE, findings, isDualStack, isIp } from './field.ts'
import type { Findings } from './field.ts'
import { publicAddress } from './endpoints.ts'
import { labelErrors } from './meta.ts'
import { portOrName } from './probe.ts'

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort']
const POLICIES = ['Cluster', 'Local']
const FAMILIES = ['IPv4', 'IPv6']
const FAMILY_POLICIES = ['PreferDualStack', 'RequireDualStack', 'SingleStack']
const DISTRIBUTIONS = ['PreferClose', 'PreferSameZone', 'PreferSameNode']
/** A day. */
const MAX_AFFINITY_SECONDS = 86_400
const HINTS = 'service.kubernetes.io/topology-aware-hints'
const MODE = 'service.kubernetes.io/topology-mode'
const RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges'
const ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"

const isHeadless = (spec: ServiceSpec): boolean => spec.clusterIPs?.length === 1 && spec.clusterIPs[0] === 'None'
const isBalanced = (spec: ServiceSpec): boolean => spec.type === 'LoadBalancer'
/** Whether traffic can come from outside of the cluster. */
const isExposed = (spec: ServiceSpec): boolean =>
  isBalanced(spec) || spec.type === 'NodePort' || (spec.type === 'ClusterIP' && (spec.externalIPs?.length ?? 0) > 0)
/** Whether balancers ask a node if it has pods of the Service. */
export const needsHealthCheck = (spec: ServiceSpec): boolean => isBalanced(spec) && spec.externalTrafficPolicy === 'Local'

/** A Service, on create and on update, after addresses were given out. */
export function serviceErrors(s: Service): FieldError[] {
  return findings((e) => {
    const spec: ServiceSpec = s.spec ?? {}
    const annotations = s.metadata?.annotations ?? {}
    const [mode, hints] = [annotations[MODE], annotations[HINTS]]
    if (mode !== undefined && hints !== undefined && mode !== hints) {
      e.invalid(`metadata.annotations[${MODE}]`, mode, `must match annotations[${HINTS}] when both are specified`)
    }
    if (!spec.ports?.length && !isHeadless(spec) && spec.type !== 'ExternalName') e.required('spec.ports')
    byType(e, spec)
    ports(e, spec)
    e.add(labelErrors(spec.selector, 'spec.selector'))
    e.choice('spec.sessionAffinity', spec.sessionAffinity, ['ClientIP', 'None'])
    affinity(e, spec)
    e.add(clusterIpErrors(spec))
    for (const [i, ip] of (spec.externalIPs ?? []).entries()) {
      e.ip(`spec.externalIPs[${i}]`, ip)
      if (isIp(ip)) publicAddress(e, `spec.externalIPs[${i}]`, ip)
    }
    e.choice('spec.type', spec.type, TYPES)
    portNumbers(e, spec)
    sourceRanges(e, spec, annotations[RANGES])
    if (spec.allocateLoadBalancerNodePorts !== undefined && !isBalanced(spec)) e.forbidden('spec.allocateLoadBalancerNodePorts', ONLY_BALANCED)
    if (spec.allocateLoadBalancerNodePorts === undefined && isBalanced(spec)) e.required('allocateLoadBalancerNodePorts')
    if (spec.loadBalancerClass !== undefined) {
      if (isBalanced(spec)) e.text('spec.loadBalancerClass', spec.loadBalancerClass, labelKeyErrors)
      else e.forbidden('spec.loadBalancerClass', ONLY_BALANCED)
    }
    traffic(e, spec)
  })
}

function byType(e: Findings, spec: ServiceSpec): void {
  if (isHeadless(spec) && (spec.type === 'LoadBalancer' || spec.type === 'NodePort')) {
    e.invalid('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`)
  }
  if (spec.type !== 'ExternalName') return
  const text = 'may not be set for ExternalName services'
  if (spec.clusterIPs?.length) e.forbidden('spec.clusterIPs', text)
  if (spec.ipFamilies?.length) e.forbidden('spec.ipFamilies', text)
  if (spec.ipFamilyPolicy !== undefined) e.forbidden('spec.ipFamilyPolicy', text)
  e.named('spec.externalName', spec.externalName?.replace(/\.$/, ''), dnsSubdomainErrors)
}

function ports(e: Findings, spec: ServiceSpec): void {
  const names = new Set<string>()
  const several = (spec.ports?.length ?? 0) > 1
  for (const [i, p] of (spec.ports ?? []).entries()) {
    const at = `spec.ports[${i}]`
    if (p.name) {
      e.text(`${at}.name`, p.name, dnsLabelErrors)
      if (names.has(p.name)) e.duplicate(`${at}.name`, p.name)
      names.add(p.name)
    } else if (several) e.required(`${at}.name`)
    e.port(`${at}.port`, p.port)
    e.choice(`${at}.protocol`, p.protocol, PROTOCOLS)
    portOrName(e, `${at}.targetPort`, p.targetPort)
    e.text(`${at}.appProtocol`, p.appProtocol, labelKeyErrors)
  }
}

/** As Kubernetes shows a port in a finding. */
const shown = (p: ServicePort): object => ({ Name: '', Protocol: p.protocol, AppProtocol: null, Port: p.port, TargetPort: 0, NodePort: 0 })

function portNumbers(e: Findings, spec: ServiceSpec): void {
  const list = spec.ports ?? []
  if (spec.type === 'ClusterIP') {
    for (const [i, p] of list.entries()) if (p.nodePort) e.forbidden(`spec.ports[${i}].nodePort`, "may not be used when `type` is 'ClusterIP'")
  }
  const [nodePorts, own] = [new Set<string>(), new Set<string>()]
  for (const [i, p] of list.entries()) {
    if (!p.nodePort) continue
    const key = `${p.protocol}/${p.nodePort}`
    if (nodePorts.has(key)) e.duplicate(`spec.ports[${i}].nodePort`, p.nodePort)
    nodePorts.add(key)
  }
  for (const [i, p] of list.entries()) {
    const key = `${p.protocol}/${p.port}`
    if (own.has(key)) e.duplicate(`spec.ports[${i}]`, shown(p))
    own.add(key)
  }
}

function affinity(e: Findings, spec: ServiceSpec): void {
  const path = 'spec.sessionAffinityConfig'
  const config = spec.sessionAffinityConfig
  if (spec.sessionAffinity === 'None') {
    if (config) e.forbidden(path, 'must not be set when session affinity is None')
    return
  }
  if (spec.sessionAffinity !== 'ClientIP') return
  const text = 'when session affinity type is ClientIP'
  const seconds = config?.clientIP?.timeoutSeconds
  if (!config) e.required(path, text)
  else if (!config.clientIP) e.required(`${path}.clientIP`, text)
  else if (seconds === undefined) e.required(`${path}.clientIP.timeoutSeconds`, text)
  else if (seconds <= 0 || seconds > MAX_AFFINITY_SECONDS) {
    e.invalid(`${path}.clientIP.timeoutSeconds`, seconds, `must be greater than 0 and less than ${MAX_AFFINITY_SECONDS}`)
  }
}

/** `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` agree with each other. Asked before addresses are given out, too. */
export function clusterIpErrors(spec: ServiceSpec): FieldError[] {
  return findings((e) => {
    if (spec.type === 'ExternalName') return
    const { clusterIP, clusterIPs = [], ipFamilies = [] } = spec
    const path = 'spec.clusterIPs'
    if (clusterIP) {
      if (clusterIPs.length === 0) e.required(path)
      else if (clusterIPs[0] !== clusterIP) e.invalid(path, clusterIPs, 'first value must match `clusterIP`')
    } else if (clusterIPs.length > 0) e.invalid(path, clusterIPs, 'must be empty when `clusterIP` is not specified')
    for (const [i, family] of ipFamilies.entries()) {
      e.chosen(`spec.ipFamilies[${i}]`, family, FAMILIES)
      if (ipFamilies.indexOf(family) < i) e.duplicate(`spec.ipFamilies[${i}]`, family)
    }
    e.chosen('spec.ipFamilyPolicy', spec.ipFamilyPolicy, FAMILY_POLICIES)
    const before = e.list.length
    for (const [i, ip] of clusterIPs.entries()) {
      if (i > 0 || ip !== 'None') e.ip(`${path}[${i}]`, ip)
      else if (clusterIPs.length > 1) e.invalid(path, clusterIPs, "'None' must be the first and only value")
    }
    const unreadable = e.list.length > before
    if (clusterIPs.length > 2) e.invalid(path, clusterIPs, 'may only hold up to 2 values')
    if (unreadable) return
    if (clusterIPs.length > 1 && !isDualStack(clusterIPs)) e.invalid(path, clusterIPs, 'may specify no more than one IP for each IP family')
    if (isHeadless(spec)) return
    for (const [i, ip] of clusterIPs.entries()) {
      const family = ipFamilies[i]
      if (family !== undefined && family !== familyOf(ip)) e.invalid(`${path}[${i}]`, ip, `expected an ${family} value as indicated by \`ipFamilies[${i}]\``)
    }
  })
}

export const familyOf = (ip: string): string => (ip.includes(':') ? 'IPv6' : 'IPv4')

function sourceRanges(e: Findings, spec: ServiceSpec, annotation: string | undefined): void {
  const list = spec.loadBalancerSourceRanges ?? []
  if (list.length > 0) {
    // Kubernetes writes it so.
    const path = 'spec.LoadBalancerSourceRanges'
    if (!isBalanced(spec)) e.forbidden(path, ONLY_BALANCED)
    for (const [i, range] of list.entries()) e.cidr(`${path}[${i}]`, range.trim())
  } else if (annotation !== undefined) {
    const path = `metadata.annotations[${RANGES}]`
    if (!isBalanced(spec)) e.forbidden(path, ONLY_BALANCED)
    for (const range of annotation.trim() === '' ? [] : annotation.split(',')) e.cidr(path, range.trim())
  }
}

function traffic(e: Findings, spec: ServiceSpec): void {
  const { externalTrafficPolicy: external, healthCheckNodePort: health } = spec
  if (isExposed(spec)) e.choice('spec.externalTrafficPolicy', external, POLICIES)
  else if (external) e.invalid('spec.externalTrafficPolicy', external, 'may only be set for externally-accessible services')
  if (needsHealthCheck(spec)) {
    if (health) e.port('spec.healthCheckNodePort', health)
    else e.required('spec.healthCheckNodePort')
  } else if (health) {
    e.invalid('spec.healthCheckNodePort', health, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
  }
  if (spec.internalTrafficPolicy === undefined && ['ClusterIP', 'NodePort', 'LoadBalancer'].includes(spec.type ?? '')) e.required('spec.internalTrafficPolicy')
  e.chosen('spec.internalTrafficPolicy', spec.internalTrafficPolicy, POLICIES)
  e.chosen('spec.trafficDistribution', spec.trafficDistribution, DISTRIBUTIONS)
}

/** A Service keeps its first address and family, unless it is or becomes an ExternalName; the second may come and go. */
export function serviceUpdateErrors(next: Service, old: Service): FieldError[] {
  return findings((e) => {
    const [n, o]: [ServiceSpec, ServiceSpec] = [next.spec ?? {}, old.spec ?? {}]
    if (n.type !== 'ExternalName' && o.type !== 'ExternalName') {
      if (!isHeadless(n) || !isHeadless(o)) pair(e, n, o, 'clusterIPs', 'clusterIP')
      if (!isHeadless(n) && !isHeadless(o)) pair(e, n, o, 'ipFamilies', 'ipFamily')
    }
    if (isBalanced(n) && isBalanced(o) && n.loadBalancerClass !== o.loadBalancerClass) {
      e.invalid('spec.loadBalancerClass', n.loadBalancerClass ?? null, 'may not change once set')
    }
    if (needsHealthCheck(n) && needsHealthCheck(o) && n.healthCheckNodePort !== o.healthCheckNodePort) e.forbidden('spec.healthCheckNodePort', IMMUTABLE)
  })
}

function pair(e: Findings, next: ServiceSpec, old: ServiceSpec, key: 'clusterIPs' | 'ipFamilies', one: string): void {
  const [n, o] = [next[key] ?? [], old[key] ?? []]
  const path = `spec.${key}`
  if (n.length === o.length) {
    for (const [i, value] of o.entries()) if (value !== n[i]) e.invalid(`${path}[${key === 'clusterIPs' ? i : 0}]`, n, 'may not change once set')
    return
  }
  if (n.length === 0) e.invalid(`${path}[0]`, n, `primary ${one} can not be unset`)
  else if (o.length > 0 && n[0] !== o[0]) e.invalid(`${path}[0]`, n, 'may not change once set')
  if (o.length > n.length && n.length === 1 && next.ipFamilyPolicy !== 'SingleStack') {
    e.invalid('spec.ipFamilyPolicy', next.ipFamilyPolicy ?? null, `must be set to 'SingleStack' when releasing the secondary ${one}`)
  }
}

/** What a load balancer may say of itself. */
export function serviceStatusErrors(next: Service): FieldError[] {
  return findings((e) => {
    const ingress = next.status?.loadBalancer?.ingress ?? []
    const path = 'status.loadBalancer.ingress'
    if (ingress.length > 0 && next.spec?.type !== 'LoadBalancer') return e.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
    for (const [i, x] of ingress.entries()) {
      const at = `${path}[${i}]`
      if (x.ip) e.ip(`${at}.ip`, x.ip)
      if (x.ipMode === undefined) {
        if (x.ip) e.required(`${at}.ipMode`, 'must be specified when `ip` is set')
      } else if (!x.ip) e.forbidden(`${at}.ipMode`, 'may not be specified when `ip` is not set')
      else e.chosen(`${at}.ipMode`, x.ipMode, ['Proxy', 'VIP'])
      e.optional(`${at}.hostname`, x.hostname, dnsSubdomainErrors)
      if (isIp(x.hostname)) e.invalid(`${at}.hostname`, x.hostname, 'must be a DNS name, not an IP address')
    }
  })
}
