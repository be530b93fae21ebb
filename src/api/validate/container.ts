/** Validation of one container: image, ports, environment, mounts, resources, probes. */
import type { Container, EnvVar, Probe, ResourceRequirements } from '../gen/types.ts'
import { configKeyErrors, dnsLabelErrors, envNameErrors, portNameErrors } from '../names.ts'
import { compareQuantities, tryParseQuantity } from '../quantity.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldNotFound, fieldNotSupported, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'

const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never']
const PROTOCOLS = ['SCTP', 'TCP', 'UDP']
const RESTART_POLICIES = ['Always', 'Never', 'OnFailure']
const MESSAGE_POLICIES = ['FallbackToLogsOnError', 'File']

/** What a container's rules need to know of its pod. */
export interface PodFacts {
  readonly volumes: ReadonlySet<string>
  readonly hostNetwork: boolean
  readonly init: boolean
}

/** A container at `path`, e.g. `spec.containers[0]`. */
export function containerErrors(c: Container, path: string, pod: PodFacts): FieldError[] {
  const errors: FieldError[] = []
  if (!c.name) errors.push(fieldRequired(`${path}.name`))
  else errors.push(...dnsLabelErrors(c.name).map((e) => fieldInvalid(`${path}.name`, c.name, e)))
  if (!c.image) errors.push(fieldRequired(`${path}.image`))
  else if (c.image.trim() !== c.image) errors.push(fieldInvalid(`${path}.image`, c.image, 'must not have leading or trailing whitespace'))
  supported(c.imagePullPolicy, PULL_POLICIES, `${path}.imagePullPolicy`, errors)
  supported(c.restartPolicy, RESTART_POLICIES, `${path}.restartPolicy`, errors)
  supported(c.terminationMessagePolicy, MESSAGE_POLICIES, `${path}.terminationMessagePolicy`, errors)
  errors.push(
    ...portErrors(c, path, pod.hostNetwork),
    ...(c.env ?? []).flatMap((e, i) => envErrors(e, `${path}.env[${i}]`)),
    ...envFromErrors(c, path),
    ...mountErrors(c, path, pod.volumes),
    ...resourceErrors(c.resources, `${path}.resources`),
    ...handlersErrors(c, path, pod.init),
  )
  return errors
}

/** Adds `Unsupported value` when a value is given that is not in the list. */
export function supported(value: string | undefined, values: readonly string[], path: string, errors: FieldError[]): void {
  if (value !== undefined && !values.includes(value)) errors.push(fieldNotSupported(path, value, values))
}

export const isPort = (n: unknown): boolean => typeof n === 'number' && n >= 1 && n <= 65535
export const PORT_TEXT = 'must be between 1 and 65535, inclusive'

function portErrors(c: Container, path: string, hostNetwork: boolean): FieldError[] {
  const errors: FieldError[] = []
  const names = new Set<string>()
  for (const [i, p] of (c.ports ?? []).entries()) {
    const at = `${path}.ports[${i}]`
    if (p.name) {
      const wrong = portNameErrors(p.name)
      errors.push(...wrong.map((e) => fieldInvalid(`${at}.name`, p.name, e)))
      if (wrong.length === 0 && names.has(p.name)) errors.push(fieldDuplicate(`${at}.name`, p.name))
      names.add(p.name)
    }
    if (!p.containerPort) errors.push(fieldRequired(`${at}.containerPort`))
    else if (!isPort(p.containerPort)) errors.push(fieldInvalid(`${at}.containerPort`, p.containerPort, PORT_TEXT))
    if (p.hostPort) {
      if (!isPort(p.hostPort)) errors.push(fieldInvalid(`${at}.hostPort`, p.hostPort, PORT_TEXT))
      else if (hostNetwork && p.hostPort !== p.containerPort) {
        errors.push(fieldInvalid(`${at}.hostPort`, p.hostPort, 'must match `containerPort` when `hostNetwork` is true'))
      }
    }
    supported(p.protocol || undefined, PROTOCOLS, `${at}.protocol`, errors)
  }
  return errors
}

const ENV_FIELD_NAMES = [
  'metadata.name', 'metadata.namespace', 'metadata.uid', 'spec.nodeName', 'spec.serviceAccountName', 'status.hostIP', 'status.hostIPs',
  'status.podIP', 'status.podIPs',
]
const ENV_FIELDS = new RegExp(`^(${ENV_FIELD_NAMES.map((n) => n.replace('.', '\\.')).join('|')}|metadata\\.(labels|annotations)\\['.*'\\])$`)

function envErrors(e: EnvVar, path: string): FieldError[] {
  const errors: FieldError[] = []
  if (!e.name) errors.push(fieldRequired(`${path}.name`))
  else errors.push(...envNameErrors(e.name).map((x) => fieldInvalid(`${path}.name`, e.name, x)))
  if (!e.valueFrom) return errors
  const from = `${path}.valueFrom`
  const sources = Object.values(e.valueFrom).filter((v) => v !== undefined).length
  if (sources === 0) errors.push(fieldInvalid(from, '', 'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`'))
  if (sources > 0 && e.value) errors.push(fieldInvalid(from, '', 'may not be specified when `value` is not empty'))
  if (sources > 1) errors.push(fieldInvalid(from, '', 'may not have more than one field specified at a time'))
  for (const key of ['configMapKeyRef', 'secretKeyRef'] as const) {
    const ref = e.valueFrom[key]
    if (!ref) continue
    if (!ref.key) errors.push(fieldRequired(`${from}.${key}.key`))
    else errors.push(...configKeyErrors(ref.key).map((x) => fieldInvalid(`${from}.${key}.key`, ref.key, x)))
  }
  const field = e.valueFrom.fieldRef
  if (field && !field.fieldPath) errors.push(fieldRequired(`${from}.fieldRef.fieldPath`))
  else if (field && !ENV_FIELDS.test(field.fieldPath)) errors.push(fieldNotSupported(`${from}.fieldRef.fieldPath`, field.fieldPath, ENV_FIELD_NAMES))
  const resource = e.valueFrom.resourceFieldRef
  if (resource && !resource.resource) errors.push(fieldRequired(`${from}.resourceFieldRef.resource`))
  return errors
}

function envFromErrors(c: Container, path: string): FieldError[] {
  return (c.envFrom ?? []).flatMap((e, i) => {
    const at = `${path}.envFrom[${i}]`
    const errors = e.prefix ? envNameErrors(e.prefix).map((x) => fieldInvalid(`${at}.prefix`, e.prefix, x)) : []
    const count = Number(e.configMapRef !== undefined) + Number(e.secretRef !== undefined)
    if (count === 0) errors.push(fieldInvalid(at, '', 'must specify one of: `configMapRef` or `secretRef`'))
    if (count > 1) errors.push(fieldInvalid(at, '', 'may not have more than one field specified at a time'))
    for (const key of ['configMapRef', 'secretRef'] as const) if (e[key] && !e[key]?.name) errors.push(fieldRequired(`${at}.${key}.name`))
    return errors
  })
}

function mountErrors(c: Container, path: string, volumes: ReadonlySet<string>): FieldError[] {
  const errors: FieldError[] = []
  const paths = new Set<string>()
  for (const [i, m] of (c.volumeMounts ?? []).entries()) {
    const at = `${path}.volumeMounts[${i}]`
    if (!m.name) errors.push(fieldRequired(`${at}.name`))
    else if (!volumes.has(m.name)) errors.push(fieldNotFound(`${at}.name`, m.name))
    if (!m.mountPath) errors.push(fieldRequired(`${at}.mountPath`))
    else if (paths.has(m.mountPath)) errors.push(fieldInvalid(`${at}.mountPath`, m.mountPath, 'must be unique'))
    paths.add(m.mountPath)
    if (m.subPath && m.subPathExpr) errors.push(fieldInvalid(`${at}.subPathExpr`, m.subPathExpr, 'subPathExpr and subPath are mutually exclusive'))
    for (const key of ['subPath', 'subPathExpr'] as const) {
      if (m[key]?.startsWith('/')) errors.push(fieldInvalid(`${at}.${key}`, m[key], 'must be a relative path'))
      if (m[key]?.split('/').includes('..')) errors.push(fieldInvalid(`${at}.${key}`, m[key], "must not contain '..'"))
    }
  }
  return errors
}

/** Limits and requests: known names, no negatives, requests within limits. */
export function resourceErrors(r: ResourceRequirements | undefined, path: string): FieldError[] {
  const errors: FieldError[] = []
  for (const which of ['limits', 'requests'] as const) {
    for (const [name, text] of Object.entries(r?.[which] ?? {})) {
      const q = tryParseQuantity(text)
      if (q === undefined) continue // The schema walker has already refused it.
      const at = `${path}.${which}[${name}]`
      if (q.nano < 0n) errors.push(fieldInvalid(at, text, 'must be greater than or equal to 0'))
      const standard = name === 'cpu' || name === 'memory' || name === 'ephemeral-storage' || name.startsWith('hugepages-')
      if (!standard && !name.includes('/')) {
        errors.push(fieldInvalid(at, name, 'must be a standard resource type or fully qualified'))
        errors.push(fieldInvalid(at, name, 'must be a standard resource for containers'))
      }
      if (!standard && q.nano % 1_000_000_000n !== 0n) errors.push(fieldInvalid(at, text, 'must be an integer'))
    }
  }
  for (const [name, text] of Object.entries(r?.requests ?? {})) {
    const limit = r?.limits?.[name]
    const [a, b] = [tryParseQuantity(text), limit === undefined ? undefined : tryParseQuantity(limit)]
    if (a && b && compareQuantities(a, b) > 0) errors.push(fieldInvalid(`${path}.requests`, text, `must be less than or equal to ${name} limit of ${limit}`))
  }
  return errors
}

function handlersErrors(c: Container, path: string, init: boolean): FieldError[] {
  const errors: FieldError[] = []
  const plainInit = init && c.restartPolicy !== 'Always'
  for (const key of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
    const probe = c[key]
    if (!probe) continue
    if (plainInit) errors.push(fieldForbidden(`${path}.${key}`, 'may not be set for init containers without restartPolicy=Always'))
    else errors.push(...probeErrors(probe, `${path}.${key}`, key !== 'readinessProbe'))
  }
  if (plainInit && c.lifecycle) errors.push(fieldForbidden(`${path}.lifecycle`, 'may not be set for init containers without restartPolicy=Always'))
  for (const key of ['postStart', 'preStop'] as const) {
    const hook = c.lifecycle?.[key]
    if (hook) errors.push(...handlerErrors(hook, `${path}.lifecycle.${key}`, ['exec', 'httpGet', 'tcpSocket', 'sleep']))
  }
  return errors
}

function probeErrors(p: Probe, path: string, once: boolean): FieldError[] {
  const errors = handlerErrors(p, path, ['exec', 'httpGet', 'tcpSocket', 'grpc'])
  for (const key of ['initialDelaySeconds', 'timeoutSeconds', 'periodSeconds', 'successThreshold', 'failureThreshold'] as const) {
    if ((p[key] ?? 0) < 0) errors.push(fieldInvalid(`${path}.${key}`, p[key], 'must be greater than or equal to 0'))
  }
  if (once && p.successThreshold !== undefined && p.successThreshold !== 1) {
    errors.push(fieldInvalid(`${path}.successThreshold`, p.successThreshold, 'must be 1'))
  }
  return errors
}

type Handler = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'> & { readonly sleep?: unknown }

function handlerErrors(h: Handler, path: string, kinds: readonly (keyof Handler)[]): FieldError[] {
  const errors: FieldError[] = []
  const given = kinds.filter((k) => h[k] !== undefined)
  if (given.length === 0) return [fieldRequired(path, 'must specify a handler type')]
  for (const extra of given.slice(1)) errors.push(fieldForbidden(`${path}.${extra}`, 'may not specify more than 1 handler type'))
  if (h.exec && !h.exec.command?.length) errors.push(fieldRequired(`${path}.exec.command`))
  supported(h.httpGet?.scheme || undefined, ['HTTP', 'HTTPS'], `${path}.httpGet.scheme`, errors)
  for (const key of ['httpGet', 'tcpSocket', 'grpc'] as const) {
    if (h[key] === undefined) continue
    const { port } = h[key]
    if (typeof port === 'string') errors.push(...portNameErrors(port).map((e) => fieldInvalid(`${path}.${key}.port`, port, e)))
    else if (!isPort(port)) errors.push(fieldInvalid(`${path}.${key}.port`, port ?? 0, PORT_TEXT))
  }
  return errors
}
