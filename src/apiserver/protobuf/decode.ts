/**
 * Protobuf bodies into the same objects that JSON gives. Typed Kubernetes clients (`kubectl create namespace`, `auth can-i`,
 * client-go controllers) send protobuf without asking; answers are JSON, which they accept. Types come from the schema table,
 * numbers from `fields.ts`. Loaded when the first such body arrives.
 *
 * Absence: the format always carries fields that are not pointers, so empty text, 0 and false mean "not set" except for the
 * fields of {@link ZERO_COUNTS}, where a zero says something, and those a schema requires.
 */
import { resolve, schemaTable } from '../../api/schema-table.ts'
import type { Schema } from '../../api/schema-types.ts'
import { badRequest, unsupportedMediaType } from '../../api/status.ts'
import { MAX_DEPTH } from '../body.ts'
import { FIELD_NUMBERS } from './fields.ts'

export const PROTOBUF = 'application/vnd.kubernetes.protobuf'
const MAGIC = [0x6b, 0x38, 0x73, 0x00]

/** Optional scalars for which zero, false or the empty text differ from absence. */
const ZERO_COUNTS = new Set(
  `replicas minReplicas terminationGracePeriodSeconds gracePeriodSeconds deletionGracePeriodSeconds backoffLimit backoffLimitPerIndex maxFailedIndexes completions parallelism
  ttlSecondsAfterFinished revisionHistoryLimit successfulJobsHistoryLimit failedJobsHistoryLimit activeDeadlineSeconds startingDeadlineSeconds progressDeadlineSeconds
  runAsUser runAsGroup fsGroup runAsNonRoot allowPrivilegeEscalation readOnlyRootFilesystem privileged automountServiceAccountToken enableServiceLinks
  shareProcessNamespace setHostnameAsFQDN hostUsers priority tolerationSeconds defaultMode mode partition suspend immutable optional controller
  blockOwnerDeletion orphanDependents allocateLoadBalancerNodePorts storageClassName ready serving terminating value weight leaseDurationSeconds
  leaseTransitions attachRequired podInfoOnMount storageCapacity requiresRepublish seLinuxMount stabilizationWindowSeconds currentHealthy disruptionsAllowed desiredHealthy expectedPods allowed allowVolumeExpansion`.split(/\s+/),
)

let messages: Map<string, readonly string[]> | undefined

/** True when the bytes are Kubernetes' protobuf envelope. */
export function isProtobuf(bytes: Uint8Array): boolean {
  return MAGIC.every((b, i) => bytes[i] === b)
}

/** The object inside an envelope. @throws ApiError 400 for bytes that do not decode or an unknown kind, 415 for a kind that is read from JSON and YAML only */
export function decodeProtobuf(bytes: Uint8Array): Record<string, unknown> {
  if (!isProtobuf(bytes)) throw badRequest('the protobuf body does not start with the Kubernetes envelope')
  let apiVersion = ''
  let kind = ''
  let raw: Uint8Array = new Uint8Array()
  for (const f of read(bytes.subarray(MAGIC.length))) {
    if (f.number === 1) {
      for (const t of read(f.bytes)) {
        if (t.number === 1) apiVersion = text(t.bytes)
        else if (t.number === 2) kind = text(t.bytes)
      }
    } else if (f.number === 2) raw = f.bytes
  }
  const name = typeName(apiVersion, kind)
  return { kind, apiVersion, ...message(name, raw, schemaTable()[name] as Schema, 0) }
}

/** Our name of a type, found by the published name; options of any group are meta's. */
function typeName(apiVersion: string, kind: string): string {
  if (kind === 'DeleteOptions') return kind
  const [group = '', version = ''] = apiVersion.includes('/') ? apiVersion.split('/') : ['core', apiVersion]
  const ending = `.${group.split('.')[0]}.${version}.${kind}`
  for (const [name, schema] of Object.entries(schemaTable())) {
    if (!schema['x-name']?.endsWith(ending)) continue
    if (table().has(name)) return name
    throw unsupportedMediaType(['application/json', 'application/yaml'], `a protobuf body of kind "${kind}" in version "${apiVersion}" is not read here`)
  }
  throw badRequest(`no protobuf form of kind "${kind}" in version "${apiVersion}" is known here, send it as JSON`)
}

function table(): Map<string, readonly string[]> {
  messages ??= new Map(
    FIELD_NUMBERS.trim()
      .split('\n')
      .map((line) => {
        const [name = '', ...fields] = line.split(' ')
        return [name, fields]
      }),
  )
  return messages
}

function message(name: string, bytes: Uint8Array, schema: Schema, depth: number): Record<string, unknown> {
  if (depth > MAX_DEPTH) throw badRequest('the object provided is nested too deep')
  const fields = table().get(name)
  if (!fields) throw badRequest(`no protobuf form of type "${name}" is known here, send it as JSON`)
  const out: Record<string, unknown> = {}
  for (const field of read(bytes)) {
    const property = fields[field.number - 1]
    if (property === undefined || property === '-') continue
    if (property.startsWith('^')) {
      Object.assign(out, message(property, field.bytes, schema, depth + 1))
      continue
    }
    const of = schema.properties?.[property]
    if (!of) continue
    if (of.type === 'array') {
      const list = (out[property] ??= []) as unknown[]
      list.push(...items(field, of.items ?? {}, depth))
    } else if (of.type === 'object' && of.additionalProperties) {
      const map = (out[property] ??= {}) as Record<string, unknown>
      const [key, value] = entry(field.bytes, of.additionalProperties === true ? {} : of.additionalProperties, depth)
      Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true })
    } else {
      const value = single(field, of, depth)
      const empty = value === '' || value === 0 || value === false
      if (value === undefined || (empty && !ZERO_COUNTS.has(property) && !schema.required?.includes(property))) continue
      out[property] = value
    }
  }
  return out
}

/** Values of one occurrence of a repeated field; numbers may come packed. */
function items(field: Field, of: Schema, depth: number): unknown[] {
  if ((of.type === 'integer' || of.type === 'boolean') && field.wire === 2) {
    const out: unknown[] = []
    for (let at = 0; at < field.bytes.length; ) {
      const [value, next] = varint(field.bytes, at)
      out.push(of.type === 'boolean' ? value !== 0n : Number(BigInt.asIntN(64, value)))
      at = next
    }
    return out
  }
  return [single(field, of, depth)]
}

function entry(bytes: Uint8Array, of: Schema, depth: number): [string, unknown] {
  let key = ''
  let value: unknown = of.type === 'array' ? [] : of.type === 'string' ? '' : undefined
  for (const f of read(bytes)) {
    if (f.number === 1) key = text(f.bytes)
    else if (f.number !== 2) continue
    // A list as a map's value is a message of its own that repeats field 1.
    else if (of.type === 'array') value = [...read(f.bytes)].filter((x) => x.number === 1).map((x) => single(x, of.items ?? {}, depth + 1))
    else value = single(f, of, depth + 1)
  }
  return [key, value]
}

function single(field: Field, of: Schema, depth: number): unknown {
  switch (of.$ref) {
    case 'Quantity':
      return text(find(field.bytes, 1)?.bytes ?? new Uint8Array())
    case 'IntOrString': {
      const isText = Number(find(field.bytes, 1)?.value ?? 0n) === 1
      return isText ? text(find(field.bytes, 3)?.bytes ?? new Uint8Array()) : Number(BigInt.asIntN(32, find(field.bytes, 2)?.value ?? 0n))
    }
    case 'Time':
    case 'MicroTime':
      return time(field.bytes, of.$ref === 'MicroTime')
    case undefined:
      break
    default:
      // A named type without fields is a free-form object (`FieldsV1`).
      if (table().has(of.$ref) || resolve(of).properties) return message(of.$ref, field.bytes, resolve(of), depth + 1)
  }
  switch (of.type) {
    case 'string':
      return of.format === 'byte' ? Buffer.from(field.bytes).toString('base64') : text(field.bytes)
    case 'integer':
      return Number(BigInt.asIntN(64, field.value))
    case 'boolean':
      return field.value !== 0n
    case 'number':
      return field.bytes.length === 8 ? Buffer.from(field.bytes).readDoubleLE() : Buffer.from(field.bytes).readFloatLE()
    default: {
      // Free-form objects (fieldsV1, raw extensions) carry their JSON in field 1.
      const raw = text(find(field.bytes, 1)?.bytes ?? new Uint8Array())
      if (raw === '') return undefined
      try {
        return JSON.parse(raw) as unknown
      } catch {
        throw badRequest('the protobuf body carries a raw object that is not JSON')
      }
    }
  }
}

function time(bytes: Uint8Array, micro: boolean): string | undefined {
  const seconds = find(bytes, 1)?.value
  const nanos = Number(find(bytes, 2)?.value ?? 0n)
  if (seconds === undefined && nanos === 0) return undefined
  const at = new Date(Number(BigInt.asIntN(64, seconds ?? 0n)) * 1_000)
  if (Number.isNaN(at.getTime())) throw badRequest('the protobuf body carries a time out of range')
  const head = at.toISOString().slice(0, 19)
  return micro ? `${head}.${String(Math.floor(nanos / 1_000)).padStart(6, '0')}Z` : `${head}Z`
}

interface Field {
  readonly number: number
  readonly wire: number
  /** Of a varint. */
  readonly value: bigint
  /** Of anything with a length, or a fixed-size number. */
  readonly bytes: Uint8Array
}

const NONE = new Uint8Array()

function find(bytes: Uint8Array, number: number): Field | undefined {
  let found: Field | undefined
  for (const f of read(bytes)) if (f.number === number) found = f
  return found
}

function* read(bytes: Uint8Array): Generator<Field> {
  for (let at = 0; at < bytes.length; ) {
    const [tag, next] = varint(bytes, at)
    at = next
    const number = Number(tag >> 3n)
    const wire = Number(tag & 7n)
    if (wire === 0) {
      const [value, end] = varint(bytes, at)
      at = end
      yield { number, wire, value, bytes: NONE }
      continue
    }
    let length = wire === 1 ? 8 : wire === 5 ? 4 : -1
    if (wire === 2) {
      const [size, start] = varint(bytes, at)
      length = Number(size)
      at = start
    }
    if (length < 0 || at + length > bytes.length) throw badRequest('the protobuf body is cut off or not protobuf')
    yield { number, wire, value: 0n, bytes: bytes.subarray(at, at + length) }
    at += length
  }
}

function varint(bytes: Uint8Array, from: number): [bigint, number] {
  let value = 0n
  for (let at = from, shift = 0n; at < bytes.length && shift < 70n; at++, shift += 7n) {
    const byte = bytes[at] as number
    value |= BigInt(byte & 127) << shift
    if (byte < 128) return [value, at + 1]
  }
  throw badRequest('the protobuf body is cut off or not protobuf')
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
