/** Validation of networking kinds: NetworkPolicy, Ingress, IngressClass, IPAddress, ServiceCIDR. */
import { isCidr } from '../formats.ts'
import type { HTTPIngressPath, Ingress, IngressBackend, IngressClass, IPAddress, IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, ServiceCIDR } from '../gen/types.ts'
import { dns1035Errors, dnsLabelErrors, dnsSubdomainErrors, pathSegmentErrors, portNameErrors } from '../names.ts'
import { addressBits, contains } from './addresses.ts'
import type { FieldError } from '../status.ts'
import { domainPath, wildcardErrors } from './addresses.ts'
import { findings, isDualStack, isIp, isPort, PORT_TEXT } from './field.ts'
import type { Findings } from './field.ts'
import { immutable } from './meta.ts'
import { selector } from './placement.ts'

const PROTOCOLS = ['TCP', 'UDP', 'SCTP']

/** NetworkPolicy: whom it selects, what it lets in and out. */
export function networkPolicyErrors(n: NetworkPolicy): FieldError[] {
  return findings((e) => {
    const { podSelector, ingress = [], egress = [], policyTypes = [] } = n.spec ?? {}
    selector(e, 'spec.podSelector', podSelector)
    const rules = [...ingress.map((r, i) => [`spec.ingress[${i}]`, 'from', r.ports, r.from] as const), ...egress.map((r, i) => [`spec.egress[${i}]`, 'to', r.ports, r.to] as const)]
    for (const [at, side, ports = [], peers = []] of rules) {
      for (const [i, p] of ports.entries()) policyPort(e, `${at}.ports[${i}]`, p)
      for (const [i, p] of peers.entries()) peer(e, `${at}.${side}[${i}]`, p)
    }
    if (policyTypes.length > 2) return e.invalid('spec.policyTypes', policyTypes, 'may not specify more than two policyTypes')
    for (const [i, t] of policyTypes.entries()) e.chosen(`spec.policyTypes[${i}]`, t, ['Ingress', 'Egress'])
  })
}

function policyPort(e: Findings, at: string, p: NetworkPolicyPort): void {
  const { port, endPort } = p
  e.chosen(`${at}.protocol`, p.protocol, PROTOCOLS)
  if (typeof port === 'number') {
    e.port(`${at}.port`, port)
    if (endPort === undefined) return
    if (endPort < port) e.invalid(`${at}.endPort`, port, 'must be greater than or equal to `port`')
    e.port(`${at}.endPort`, endPort)
  } else {
    if (endPort !== undefined) e.invalid(`${at}.endPort`, endPort, port === undefined ? 'may not be specified when `port` is not specified' : 'may not be specified when `port` is non-numeric')
    e.text(`${at}.port`, port, portNameErrors)
  }
}

function peer(e: Findings, at: string, p: NetworkPolicyPeer): void {
  selector(e, `${at}.podSelector`, p.podSelector)
  selector(e, `${at}.namespaceSelector`, p.namespaceSelector)
  if (p.ipBlock) block(e, `${at}.ipBlock`, p.ipBlock)
  const selects = p.podSelector !== undefined || p.namespaceSelector !== undefined
  if (!selects && !p.ipBlock) e.required(at, 'must specify a peer')
  if (selects && p.ipBlock) e.forbidden(at, 'may not specify both ipBlock and another peer')
}

function block(e: Findings, at: string, b: IPBlock): void {
  if (!b.cidr) return e.required(`${at}.cidr`)
  e.cidr(`${at}.cidr`, b.cidr)
  if (!isCidr(b.cidr)) return
  for (const [i, except] of (b.except ?? []).entries()) {
    e.cidr(`${at}.except[${i}]`, except)
    if (isCidr(except) && !contains(b.cidr, except)) e.invalid(`${at}.except[${i}]`, except, 'must be a strict subset of `cidr`')
  }
}

const CLASS_ANNOTATION = 'kubernetes.io/ingress.class'

/** Ingress: where requests go by host and path. */
export function ingressErrors(i: Ingress): FieldError[] {
  return findings((e) => {
    const { defaultBackend, rules = [], tls = [], ingressClassName } = i.spec ?? {}
    if (rules.length === 0 && !defaultBackend) e.invalid('spec', null, 'either `defaultBackend` or `rules` must be specified')
    if (defaultBackend) backend(e, 'spec.defaultBackend', defaultBackend)
    for (const [k, rule] of rules.entries()) {
      const at = `spec.rules[${k}]`
      if (rule.host) {
        if (isIp(rule.host)) e.invalid(`${at}.host`, rule.host, 'must be a DNS name, not an IP address')
        hostName(e, `${at}.host`, rule.host)
      }
      if (!rule.http) continue
      if (!rule.http.paths?.length) e.required(`${at}.http.paths`)
      for (const [j, p] of (rule.http.paths ?? []).entries()) httpPath(e, `${at}.http.paths[${j}]`, p)
    }
    for (const [k, t] of tls.entries()) {
      for (const [j, host] of (t.hosts ?? []).entries()) hostName(e, `spec.tls[${k}].hosts[${j}]`, host)
      e.optional(`spec.tls[${k}].secretName`, t.secretName, dnsSubdomainErrors)
    }
    e.text('spec.ingressClassName', ingressClassName, dnsSubdomainErrors)
  })
}

/** The class may be named once: as a field or as the old annotation. */
export function ingressCreateErrors(i: Ingress): FieldError[] {
  return findings((e) => {
    const [old, name] = [i.metadata?.annotations?.[CLASS_ANNOTATION], i.spec?.ingressClassName]
    if (old !== undefined && name !== undefined && old !== name) e.invalid(`annotations.${CLASS_ANNOTATION}`, old, 'must match `ingressClassName` when both are specified')
  })
}

/** Through the status door: where the load balancer is reached. */
export function ingressStatusErrors(i: Ingress): FieldError[] {
  return findings((e) => {
    for (const [k, entry] of (i.status?.loadBalancer?.ingress ?? []).entries()) {
      const at = `status.loadBalancer.ingress[${k}]`
      if (entry.ip) e.ip(`${at}.ip`, entry.ip)
      if (!entry.hostname) continue
      e.text(`${at}.hostname`, entry.hostname, dnsSubdomainErrors)
      if (isIp(entry.hostname)) e.invalid(`${at}.hostname`, entry.hostname, 'must be a DNS name, not an IP address')
    }
  })
}

function hostName(e: Findings, at: string, host: string): void {
  e.text(at, host, host.includes('*') ? wildcardErrors : dnsSubdomainErrors)
}

function httpPath(e: Findings, at: string, p: HTTPIngressPath): void {
  const { pathType, path = '' } = p
  if (!pathType) return e.required(`${at}.pathType`, 'pathType must be specified')
  const strict = pathType === 'Exact' || pathType === 'Prefix'
  if (!strict && pathType !== 'ImplementationSpecific') e.unsupported(`${at}.pathType`, pathType, ['Exact', 'ImplementationSpecific', 'Prefix'])
  else if (!path.startsWith('/') && (strict || path !== '')) e.invalid(`${at}.path`, path, 'must be an absolute path')
  if (strict) {
    for (const part of ['//', '/./', '/../', '%2f', '%2F']) if (path.includes(part)) e.invalid(`${at}.path`, path, `must not contain '${part}'`)
    for (const end of ['/..', '/.']) if (path.endsWith(end)) e.invalid(`${at}.path`, path, `cannot end with '${end}'`)
  }
  backend(e, `${at}.backend`, p.backend ?? {})
}

function backend(e: Findings, at: string, b: IngressBackend): void {
  const { resource, service } = b
  if (resource && service) return e.invalid(at, '', 'cannot set both resource and service backends')
  if (resource) return reference(e, `${at}.resource`, resource)
  if (!service) return e.invalid(at, '', 'resource or service backend is required')
  e.named(`${at}.service.name`, service.name, dns1035Errors)
  const { name, number } = service.port ?? {}
  if (name && number) e.invalid(at, '', 'cannot set both port name & port number')
  else if (name) e.text(`${at}.service.port.name`, name, portNameErrors)
  else if (!number) e.required(at, 'port name or number is required')
  else if (!isPort(number)) e.invalid(`${at}.service.port.number`, number, PORT_TEXT)
}

function reference(e: Findings, at: string, r: { readonly apiGroup?: string; readonly kind?: string; readonly name?: string }): void {
  e.text(`${at}.apiGroup`, r.apiGroup, dnsSubdomainErrors)
  for (const key of ['kind', 'name'] as const) {
    if (!r[key]) e.required(`${at}.${key}`, `${key} is required`)
    else e.text(`${at}.${key}`, r[key], pathSegmentErrors)
  }
}

/** IngressClass: controller and parameters. */
export function ingressClassErrors(c: IngressClass): FieldError[] {
  return findings((e) => {
    const { controller = '', parameters } = c.spec ?? {}
    if (controller.length > 250) e.tooLong('spec.controller', 250)
    domainPath(e, 'spec.controller', controller)
    if (!parameters) return
    const at = 'spec.parameters'
    reference(e, at, parameters)
    const { scope, namespace } = parameters
    if (scope === undefined) return e.required(`${at}.scope`)
    e.chosen(`${at}.scope`, scope, ['Cluster', 'Namespace'])
    if (scope === 'Namespace') {
      if (namespace === undefined) e.required(`${at}.namespace`, "`parameters.scope` is set to 'Namespace'")
      else e.text(`${at}.namespace`, namespace, dnsLabelErrors)
    } else if (scope === 'Cluster' && namespace !== undefined) e.forbidden(`${at}.namespace`, "`parameters.scope` is set to 'Cluster'")
  })
}

/** The controller of a class is fixed. */
export const ingressClassUpdateErrors = (next: IngressClass, old: IngressClass): FieldError[] =>
  immutable('spec.controller', next.spec?.controller, old.spec?.controller)

/** IPAddress: whose address it is. Its name is the address. */
export function ipAddressErrors(a: IPAddress): FieldError[] {
  return findings((e) => {
    const parent = a.spec?.parentRef
    const at = 'spec.parentRef'
    if (!parent) return e.required(at)
    e.optional(`${at}.group`, parent.group, dnsSubdomainErrors)
    e.named(`${at}.resource`, parent.resource, pathSegmentErrors)
    e.named(`${at}.name`, parent.name, pathSegmentErrors)
    e.optional(`${at}.namespace`, parent.namespace, pathSegmentErrors)
  })
}

export const ipAddressUpdateErrors = (next: IPAddress, old: IPAddress): FieldError[] => immutable('spec.parentRef', next.spec?.parentRef, old.spec?.parentRef)

/** ServiceCIDR: one range of a family, or one of each. */
export function serviceCidrErrors(c: ServiceCIDR): FieldError[] {
  return findings((e) => {
    const at = 'spec.cidrs'
    const cidrs = c.spec?.cidrs ?? []
    if (cidrs.length === 0) return e.required(at, 'at least one CIDR required')
    if (cidrs.length > 2) return e.invalid(at, c.spec, 'may only hold up to 2 values')
    if (cidrs.length === 2 && !(cidrs.every(isCidr) && isDualStack(cidrs))) {
      return e.invalid(at, c.spec, 'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64')
    }
    for (const [i, cidr] of cidrs.entries()) {
      e.cidr(`${at}[${i}]`, cidr)
      const [ip = '', length] = cidr.split('/')
      if (isCidr(cidr) && addressBits(ip)?.slice(Number(length)).includes('1')) e.invalid(`${at}[${i}]`, cidr, 'must not have bits set beyond the prefix length')
    }
  })
}

export const serviceCidrUpdateErrors = (next: ServiceCIDR, old: ServiceCIDR): FieldError[] => immutable('spec.cidrs', next.spec?.cidrs, old.spec?.cidrs)
