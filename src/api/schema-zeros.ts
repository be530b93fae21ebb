/**
 * Texts, numbers and flags that Kubernetes' types leave out when they are empty, zero or false: a chart that writes `nodeName: ""` says nothing by it.
 * Of the optional fields only those that users write so; of others (`storageClassName` of a claim, `hostUsers`) the zero says something. Used by `schema.ts`.
 */
import { factLines } from './schema-facts.ts'
import type { NamedSchema, Schema } from './schema-types.ts'

/** `Type field field ...`, the type by the last word of its published name. */
const TABLE = `
Container stdin stdinOnce tty workingDir
ContainerPort hostIP hostPort name
DaemonSetSpec minReadySeconds
DeploymentSpec minReadySeconds paused
EmptyDirVolumeSource medium
EnvFromSource prefix
EnvVar value
EphemeralContainer stdin stdinOnce targetContainerName tty workingDir
HTTPGetAction host
NFSVolumeSource readOnly
NodeSpec podCIDR providerID unschedulable
ObjectMeta generateName
PersistentVolumeClaimSpec volumeName
PersistentVolumeClaimVolumeSource readOnly
PersistentVolumeSpec storageClassName
PodSpec hostIPC hostNetwork hostPID hostname nodeName priorityClassName serviceAccount serviceAccountName subdomain
PriorityClass description globalDefault
Probe initialDelaySeconds
ReplicaSetSpec minReadySeconds
ReplicationControllerSpec minReadySeconds
ServicePort name nodePort
ServiceSpec clusterIP externalName healthCheckNodePort loadBalancerIP publishNotReadyAddresses
StatefulSetSpec minReadySeconds
TCPSocketAction host
Toleration effect key operator value
VolumeMount readOnly subPath subPathExpr
`

const ZEROS: ReadonlyMap<string, ReadonlySet<string>> = new Map(factLines(TABLE).map(([type = '', ...fields]) => [type, new Set(fields)]))

/** True for the zero of a field that is left out then. `owner` is the type that the field stands in. */
export function isOmittedZero(owner: Schema & Partial<NamedSchema>, key: string, value: unknown): boolean {
  if (value !== '' && value !== 0 && value !== false) return false
  const name = owner['x-name']
  return name !== undefined && ZEROS.get(name.slice(name.lastIndexOf('.') + 1))?.has(key) === true
}

/** Every `[type, field]` of the table, for the check that it names nothing that is not there. */
export const zeroFields = (): [string, string][] => [...ZEROS].flatMap(([type, fields]) => [...fields].map((field): [string, string] => [type, field]))
