/** Validation of a container's environment, and of what a pod may read of itself (the downward API). */
import type { Container, EnvVar, ObjectFieldSelector, ResourceFieldSelector } from '../gen/types.ts'
import { configKeyErrors, dnsLabelErrors, dnsSubdomainErrors, envNameErrors, labelKeyErrors } from '../names.ts'
import { quantityText, tryParseQuantity } from '../quantity.ts'
import type { Findings } from './field.ts'
import { noBacksteps } from './paths.ts'

/** Fields of a pod that an environment variable can have. */
export const ENV_FIELDS: readonly string[] = [
  'metadata.name', 'metadata.namespace', 'metadata.uid', 'spec.nodeName', 'spec.serviceAccountName', 'status.hostIP', 'status.hostIPs',
  'status.podIP', 'status.podIPs',
]
/** Fields of a pod that a file of a volume can have. */
export const FILE_FIELDS: readonly string[] = ['metadata.annotations', 'metadata.labels', 'metadata.name', 'metadata.namespace', 'metadata.uid']

/** All that a field path can name; others are not known at all. */
const KNOWN = new Set([...ENV_FIELDS, ...FILE_FIELDS])
const RESOURCES = ['limits.cpu', 'limits.ephemeral-storage', 'limits.memory', 'requests.cpu', 'requests.ephemeral-storage', 'requests.memory']
const SIZES = ['1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei']
const SIZES_TEXT = `only divisor's values ${SIZES.join(', ')} are supported with the`

/** Variables, and where whole sets of them come from. */
export function environment(e: Findings, path: string, c: Pick<Container, 'env' | 'envFrom'>): void {
  for (const [i, v] of (c.env ?? []).entries()) {
    e.named(`${path}.env[${i}].name`, v.name, envNameErrors)
    valueFrom(e, `${path}.env[${i}].valueFrom`, v)
  }
  for (const [i, source] of (c.envFrom ?? []).entries()) {
    const at = `${path}.envFrom[${i}]`
    e.optional(`${at}.prefix`, source.prefix, envNameErrors)
    const given = (['configMapRef', 'secretRef'] as const).filter((key) => source[key] !== undefined)
    for (const key of given) e.named(`${at}.${key}.name`, source[key]?.name, dnsSubdomainErrors)
    if (given.length === 0) e.invalid(`${path}.envFrom`, '', 'must specify one of: `configMapRef` or `secretRef`')
    if (given.length > 1) e.invalid(`${path}.envFrom`, '', 'may not have more than one field specified at a time')
  }
}

function valueFrom(e: Findings, path: string, v: EnvVar): void {
  const from = v.valueFrom
  if (!from) return
  if (from.fieldRef) podField(e, `${path}.fieldRef`, from.fieldRef, ENV_FIELDS)
  if (from.resourceFieldRef) containerResource(e, `${path}.resourceFieldRef`, from.resourceFieldRef, false)
  for (const key of ['configMapKeyRef', 'secretKeyRef'] as const) {
    const ref = from[key]
    if (!ref) continue
    e.text(`${path}.${key}.name`, ref.name ?? '', dnsSubdomainErrors)
    e.named(`${path}.${key}.key`, ref.key, configKeyErrors)
  }
  const file = from.fileKeyRef
  if (file) {
    e.named(`${path}.fileKeyRef.key`, file.key, envNameErrors)
    e.named(`${path}.fileKeyRef.volumeName`, file.volumeName, dnsLabelErrors)
    if (e.named(`${path}.fileKeyRef.path`, file.path)) noBacksteps(e, `${path}.fileKeyRef.path`, file.path)
  }
  const count = Object.values(from).filter((x) => x !== undefined).length
  if (count === 0) e.invalid(path, '', 'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`')
  else if (v.value) e.invalid(path, '', 'may not be specified when `value` is not empty')
  else if (count > 1) e.invalid(path, '', 'may not have more than one field specified at a time')
}

/** A field of the pod: `metadata.name`, `metadata.labels['app']`, … */
export function podField(e: Findings, path: string, ref: ObjectFieldSelector, allowed: readonly string[]): void {
  if (!e.named(`${path}.apiVersion`, ref.apiVersion) || !e.named(`${path}.fieldPath`, ref.fieldPath)) return
  const m = /^([^[]+)\['(.*)'\]$/.exec(ref.fieldPath)
  const [field, key] = m ? [m[1] as string, m[2] as string] : [ref.fieldPath, undefined]
  if (ref.apiVersion !== 'v1') {
    e.invalid(`${path}.fieldPath`, ref.fieldPath, `error converting fieldPath: unsupported pod version: ${ref.apiVersion}`)
  } else if (!KNOWN.has(field)) {
    e.invalid(`${path}.fieldPath`, ref.fieldPath, `error converting fieldPath: field label not supported: ${ref.fieldPath}`)
  } else if (key === undefined) {
    if (!allowed.includes(field)) e.unsupported(`${path}.fieldPath`, field, allowed)
  } else if (field === 'metadata.annotations') e.text(path, key.toLowerCase(), labelKeyErrors)
  else if (field === 'metadata.labels') e.text(path, key, labelKeyErrors)
  else e.invalid(path, field, 'does not support subscript')
}

/** An amount that a container asks for or is held to; in a volume it says which container (`volume`). */
export function containerResource(e: Findings, path: string, ref: ResourceFieldSelector, volume: boolean): void {
  const { resource } = ref
  if (volume && !ref.containerName) e.required(`${path}.containerName`)
  else if (!resource) e.required(`${path}.resource`)
  else if (!RESOURCES.includes(resource) && !/^(requests|limits)\.hugepages-/.test(resource)) e.unsupported(`${path}.resource`, resource, RESOURCES)
  const q = ref.divisor === undefined ? undefined : tryParseQuantity(ref.divisor)
  if (!q || q.nano === 0n || !resource) return
  const divisor = quantityText(q)
  if (resource.endsWith('.cpu')) {
    if (divisor !== '1m' && divisor !== '1') e.invalid(`${path}.divisor`, resource, "only divisor's values 1m and 1 are supported with the cpu resource")
  } else if (!SIZES.includes(divisor)) {
    const what = resource.endsWith('.memory') ? 'memory' : resource.endsWith('.ephemeral-storage') ? 'local ephemeral storage' : 'hugepages'
    e.invalid(`${path}.divisor`, resource, `${SIZES_TEXT} ${what} resource`)
  }
}
