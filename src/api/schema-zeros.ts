/**
 * Texts, numbers and flags that Kubernetes' types leave out when they are empty, zero or false: a chart that writes `nodeName: ""` says nothing by it.
 * Of the optional fields only those that users and controllers write so; of others (`storageClassName` of a claim, `hostUsers`) the zero says something. Used by `schema.ts`.
 */
import { factLines } from './schema-facts.ts'
import type { NamedSchema, Schema } from './schema-types.ts'

/** `Type field field ...`, the type by the last word of its published name. */
const TABLE = `
APIServiceSpec group insecureSkipTLSVerify version
CSIPersistentVolumeSource fsType readOnly
CertificateSigningRequestCondition message reason
CertificateSigningRequestSpec uid username
ComponentCondition error message
Condition observedGeneration
ConfigMapEnvSource name
ConfigMapKeySelector name
ConfigMapProjection name
ConfigMapVolumeSource name
Container image stdin stdinOnce tty workingDir
ContainerPort hostIP hostPort name
ContainerStateTerminated containerID message reason signal
ContainerStateWaiting message reason
ContainerStatus containerID
CustomResourceColumnDefinition description format priority
CustomResourceDefinitionCondition message observedGeneration reason
CustomResourceDefinitionNames listKind singular
CustomResourceDefinitionVersion deprecated
DaemonSetCondition message reason
DaemonSetSpec minReadySeconds
DaemonSetStatus numberAvailable numberUnavailable observedGeneration updatedNumberScheduled
DeploymentCondition message reason
DeploymentSpec minReadySeconds paused
DeploymentStatus availableReplicas observedGeneration readyReplicas replicas unavailableReplicas updatedReplicas
EmptyDirVolumeSource medium
EndpointAddress hostname
EnvFromSource prefix
EnvVar value
EphemeralContainer stdin stdinOnce targetContainerName tty workingDir
EventSource component host
ExternalDocumentation description url
HTTPGetAction host
HTTPIngressPath path
HorizontalPodAutoscalerCondition message reason
ISCSIPersistentVolumeSource fsType iscsiInterface readOnly
ISCSIVolumeSource fsType iscsiInterface readOnly
IngressLoadBalancerIngress hostname ip
IngressRule host
IngressTLS secretName
JobCondition message reason
JobStatus active completedIndexes failed succeeded
LoadBalancerIngress hostname ip
LocalObjectReference name
NFSVolumeSource readOnly
NamespaceCondition message reason
NamespaceStatus phase
NodeCondition message reason
NodeSpec externalID podCIDR providerID unschedulable
NodeStatus phase
ObjectFieldSelector apiVersion
ObjectMeta generateName
ObjectReference apiVersion fieldPath kind name namespace resourceVersion uid
PersistentVolumeClaimCondition message reason
PersistentVolumeClaimSpec volumeName
PersistentVolumeClaimStatus phase
PersistentVolumeClaimVolumeSource readOnly
PersistentVolumeSpec storageClassName
PersistentVolumeStatus message phase reason
PodCondition message observedGeneration reason
PodDisruptionBudgetStatus observedGeneration
PodSpec hostIPC hostNetwork hostPID hostname nodeName priorityClassName schedulerName serviceAccount serviceAccountName subdomain
PodStatus hostIP message nominatedNodeName observedGeneration phase podIP qosClass reason
PriorityClass description globalDefault
Probe initialDelaySeconds
ReplicaSetCondition message reason
ReplicaSetSpec minReadySeconds
ReplicaSetStatus availableReplicas fullyLabeledReplicas observedGeneration readyReplicas
ReplicationControllerCondition message reason
ReplicationControllerSpec minReadySeconds
ReplicationControllerStatus availableReplicas fullyLabeledReplicas observedGeneration readyReplicas
ResourceFieldSelector containerName
SELinuxOptions level role type user
SecretEnvSource name
SecretKeySelector name
SecretProjection name
SecretVolumeSource secretName
ServiceAccountTokenProjection audience
ServiceBackendPort name number
ServicePort name nodePort
ServiceSpec clusterIP externalName healthCheckNodePort loadBalancerIP publishNotReadyAddresses
StatefulSetCondition message reason
StatefulSetSpec minReadySeconds
StatefulSetStatus availableReplicas currentReplicas currentRevision observedGeneration readyReplicas updateRevision updatedReplicas
Subject apiGroup namespace
SubjectAccessReviewStatus denied evaluationError reason
TCPSocketAction host
Taint value
TokenReviewStatus authenticated error
Toleration effect key operator value
UserInfo uid username
VolumeError message
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
