/**
 * The `default`s of built-in types in OpenAPI version 3 documents: what absence means to a reader of Kubernetes' Go types. A field that is there by
 * value has its zero (`{}`, `""`, `0`, `false`), a pointer, list or map has none, and a few fields name their own. Used by `openapi-schemas.ts`.
 */
import { factLines } from './schema-facts.ts'
import type { Schema } from './schema-types.ts'

/** Optional fields that hold a struct by value, beside each `metadata`, `spec` and `status`: `Type field field ...`. */
const BY_VALUE = `
APIGroup preferredVersion
AllocationResult devices
Container resources
ContainerStatus lastState state
CustomResourceDefinitionStatus acceptedNames
DaemonSetSpec updateStrategy
DeploymentSpec strategy
Endpoint conditions
EphemeralContainer resources
Event source
EventsEvent deprecatedSource regarding
IngressServiceBackend port
IngressStatus loadBalancer
LimitedPriorityLevelConfiguration limitResponse
NetworkPolicySpec podSelector
NodeDaemonEndpoints kubeletEndpoint
NodeStatus daemonEndpoints nodeInfo
PersistentVolumeClaimSpec resources
PodTemplate template
ReplicaSetSpec template
ResourceClaimSpec devices
SelfSubjectReviewStatus userInfo
ServiceStatus loadBalancer
StatefulSetSpec updateStrategy
TokenReviewStatus user
`

/** Required fields that are pointers all the same. */
const BY_POINTER = `
CustomResourceSubresources status
DaemonSetSpec selector
DeploymentSpec selector
HTTPIngressPath pathType
IPAddressSpec parentRef
MutatingWebhook sideEffects
ReplicaSetSpec selector
ScaleIOPersistentVolumeSource secretRef
ScaleIOVolumeSource secretRef
StatefulSetSpec selector
ValidatingWebhook sideEffects
`

/** Optional numbers and texts that Kubernetes writes even when they are zero. */
const WRITTEN = `
Event reportingComponent reportingInstance
FlowSchemaSpec matchingPrecedence
QueuingConfiguration handSize queueLengthLimit queues
StatefulSetOrdinals start
StatefulSetSpec serviceName
StatefulSetStatus availableReplicas
`

/** Fields whose default is said in words: `Type field=value ...`, the value as JSON. */
const NAMED = `
AzureDiskVolumeSource cachingMode="ReadWrite" fsType="ext4" kind="Shared" readOnly=false
ConfigMapEnvSource name=""
ConfigMapKeySelector name=""
ConfigMapProjection name=""
ConfigMapVolumeSource name=""
ContainerPort protocol="TCP"
DeviceToleration operator="Equal"
FileKeySelector optional=false
GRPCAction service=""
ISCSIPersistentVolumeSource iscsiInterface="default"
ISCSIVolumeSource iscsiInterface="default"
LocalObjectReference name=""
RBDPersistentVolumeSource keyring="/etc/ceph/keyring" pool="rbd" user="admin"
RBDVolumeSource keyring="/etc/ceph/keyring" pool="rbd" user="admin"
ScaleIOPersistentVolumeSource fsType="xfs" storageMode="ThinProvisioned"
ScaleIOVolumeSource fsType="xfs" storageMode="ThinProvisioned"
SecretEnvSource name=""
SecretKeySelector name=""
SecretProjection name=""
ServicePort protocol="TCP"
`

/** Types that say themselves how they are written: they have no zero. */
const OWN_FORM = new Set([
  'CustomResourceSubresourceStatus', 'FieldsV1', 'IntOrString', 'JSON', 'JSONSchemaPropsOrArray', 'JSONSchemaPropsOrBool', 'JSONSchemaPropsOrStringArray', 'MicroTime', 'Patch', 'Quantity',
  'RawExtension', 'Time',
])

const ALWAYS = new Set(['metadata', 'spec', 'status'])

let facts: { readonly pointers: ReadonlySet<string>; readonly values: ReadonlySet<string>; readonly named: ReadonlyMap<string, unknown> } | undefined

/** The default of a field of a built-in type, undefined when it has none. `owner` is the schema that the field stands in. */
export function fieldDefault(type: string, owner: Schema, name: string, field: Schema): unknown {
  facts ??= { pointers: keys(BY_POINTER), values: keys(`${BY_VALUE}${WRITTEN}`), named: new Map(named()) }
  const key = `${type}.${name}`
  if (facts.named.has(key)) return facts.named.get(key)
  if (facts.pointers.has(key)) return undefined
  const byValue = owner.required?.includes(name) === true || facts.values.has(key) || (field.$ref !== undefined && ALWAYS.has(name))
  return byValue ? zeroOf(field) : undefined
}

/** What an item of a list or a value of a map is when nothing is said of it. */
export function zeroOf(schema: Schema): unknown {
  if (schema.$ref !== undefined) return OWN_FORM.has(schema.$ref) ? undefined : {}
  if (schema['x-kubernetes-preserve-unknown-fields'] === true || schema.format === 'byte') return undefined
  return { string: '', integer: 0, number: 0, boolean: false, object: undefined, array: undefined }[schema.type ?? 'object']
}

function keys(table: string): Set<string> {
  return new Set(factLines(table).flatMap(([type, ...fields]) => fields.map((field) => `${type}.${field}`)))
}

function named(): [string, unknown][] {
  return factLines(NAMED).flatMap(([type, ...fields]) => fields.map((field): [string, unknown] => [`${type}.${field.slice(0, field.indexOf('='))}`, JSON.parse(field.slice(field.indexOf('=') + 1))]))
}

/** Every `Type.field` that the tables above name, for the check that they name nothing that is not there. */
export function namedFields(): string[] {
  return [...keys(BY_VALUE), ...keys(BY_POINTER), ...keys(WRITTEN), ...named().map(([key]) => key)]
}
