/** Validation of configuration and services: ConfigMap, Secret, Service. */
import { isIpv4, isIpv6 } from '../formats.ts'
import type { ConfigMap, Secret, Service, ServicePort } from '../gen/types.ts'
import { configKeyErrors, dnsLabelErrors, dnsSubdomainErrors, portNameErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { PORT_TEXT, isPort, supported } from './container.ts'
import { immutable, labelErrors } from './meta.ts'

/** Bytes of all values in one ConfigMap or Secret. */
const MAX_DATA_BYTES = 1024 * 1024

type Part = readonly [field: string, data: Readonly<Record<string, string>> | undefined, base64: boolean]

function dataErrors(parts: readonly Part[]): FieldError[] {
  const errors: FieldError[] = []
  const seen = new Set<string>()
  let size = 0
  for (const [field, data, base64] of parts) {
    for (const [key, value] of Object.entries(data ?? {})) {
      errors.push(...configKeyErrors(key).map((e) => fieldInvalid(`${field}[${key}]`, key, e)))
      if (seen.has(key)) errors.push(fieldInvalid(`${field}[${key}]`, key, 'duplicate of key present in data'))
      seen.add(key)
      size += base64 ? Math.floor((value.length * 3) / 4) : new TextEncoder().encode(value).length
    }
  }
  if (size > MAX_DATA_BYTES) {
    errors.push({ field: parts[0]?.[0] ?? '', reason: 'FieldValueTooLong', message: `Too long: may not be more than ${MAX_DATA_BYTES} bytes` })
  }
  return errors
}

export const configMapErrors = (c: ConfigMap): FieldError[] => dataErrors([['data', c.data, false], ['binaryData', c.binaryData, true]])

/** Keys that a Secret of a type must have. */
const SECRET_KEYS: Readonly<Record<string, readonly string[]>> = {
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
}

/** Secret: keys, size, and what its type asks for. */
export function secretErrors(s: Secret): FieldError[] {
  const errors = dataErrors([['data', s.data, true]])
  for (const key of SECRET_KEYS[s.type ?? ''] ?? []) if (s.data?.[key] === undefined) errors.push(fieldRequired(`data[${key}]`))
  if (s.type === 'kubernetes.io/basic-auth' && s.data?.username === undefined && s.data?.password === undefined) {
    errors.push(fieldRequired('data[username]'), fieldRequired('data[password]'))
  }
  const account = 'kubernetes.io/service-account.name'
  if (s.type === 'kubernetes.io/service-account-token' && !s.metadata?.annotations?.[account]) errors.push(fieldRequired(`metadata.annotations[${account}]`))
  return errors
}

/** Once `immutable` is true it stays, and the data with it; a Secret's type never changes. */
export function frozenDataErrors(next: ConfigMap & Secret, old: ConfigMap & Secret): FieldError[] {
  const errors = immutable('type', next.type, old.type)
  if (!old.immutable) return errors
  const text = 'field is immutable when `immutable` is set'
  if (!next.immutable) errors.push(fieldForbidden('immutable', text))
  for (const key of ['data', 'binaryData'] as const) if (!equal(next[key] ?? {}, old[key] ?? {})) errors.push(fieldForbidden(key, text))
  return errors
}

const SERVICE_TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort']

/** Service: type, addresses, ports. */
export function serviceErrors(s: Service): FieldError[] {
  const { spec } = s
  if (!spec) return [fieldRequired('spec.ports')]
  const errors: FieldError[] = []
  const headless = spec.clusterIP === 'None'
  supported(spec.type, SERVICE_TYPES, 'spec.type', errors)
  if (spec.type === 'ExternalName') {
    if (!spec.externalName) errors.push(fieldRequired('spec.externalName'))
    else errors.push(...dnsSubdomainErrors(spec.externalName.replace(/\.$/, '')).map((e) => fieldInvalid('spec.externalName', spec.externalName, e)))
    if (spec.clusterIP) errors.push(fieldForbidden('spec.clusterIPs[0]', 'may not be set for ExternalName services'))
  } else {
    if (!spec.ports?.length && !headless) errors.push(fieldRequired('spec.ports'))
    if (spec.clusterIP && !headless && !isIpv4(spec.clusterIP) && !isIpv6(spec.clusterIP)) {
      errors.push(fieldInvalid('spec.clusterIPs[0]', spec.clusterIP, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'))
    }
  }
  errors.push(...labelErrors(spec.selector, 'spec.selector'))
  const names = new Set<string>()
  const ports = new Set<string>()
  const exposed = spec.type === 'NodePort' || spec.type === 'LoadBalancer'
  for (const [i, p] of (spec.ports ?? []).entries()) {
    const at = `spec.ports[${i}]`
    errors.push(...servicePortErrors(p, at, exposed, (spec.ports?.length ?? 0) > 1))
    if (p.name && names.has(p.name)) errors.push(fieldDuplicate(`${at}.name`, p.name))
    if (p.name) names.add(p.name)
    const key = `${p.protocol ?? 'TCP'}/${p.port}`
    if (ports.has(key)) errors.push(fieldDuplicate(at, { port: p.port, protocol: p.protocol ?? 'TCP' }))
    ports.add(key)
  }
  return errors
}

function servicePortErrors(p: ServicePort, at: string, exposed: boolean, several: boolean): FieldError[] {
  const errors: FieldError[] = []
  if (p.name) errors.push(...dnsLabelErrors(p.name).map((e) => fieldInvalid(`${at}.name`, p.name, e)))
  else if (several) errors.push(fieldRequired(`${at}.name`))
  if (!isPort(p.port)) errors.push(fieldInvalid(`${at}.port`, p.port ?? 0, PORT_TEXT))
  supported(p.protocol || undefined, ['SCTP', 'TCP', 'UDP'], `${at}.protocol`, errors)
  if (typeof p.targetPort === 'number' && !isPort(p.targetPort)) errors.push(fieldInvalid(`${at}.targetPort`, p.targetPort, PORT_TEXT))
  if (typeof p.targetPort === 'string') errors.push(...portNameErrors(p.targetPort).map((e) => fieldInvalid(`${at}.targetPort`, p.targetPort, e)))
  if (p.nodePort && !exposed) errors.push(fieldForbidden(`${at}.nodePort`, "may not be used when `type` is 'ClusterIP'"))
  return errors
}

/** A Service keeps its cluster IP unless it is or becomes an ExternalName. */
export function serviceUpdateErrors(next: Service, old: Service): FieldError[] {
  const before = old.spec?.clusterIP
  if (!before || old.spec?.type === 'ExternalName' || next.spec?.type === 'ExternalName') return []
  return next.spec?.clusterIP === before ? [] : [fieldInvalid('spec.clusterIPs[0]', [next.spec?.clusterIP ?? ''], 'may not change once set')]
}
