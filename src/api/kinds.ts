/**
 * Every resource once: the table from which discovery, routes, storage keys, field selectors, printed columns and OpenAPI are
 * derived. A kind's key here is the name of its type in `gen/types.ts`. To add a kind, add a row.
 */
import * as access from './columns/access.ts'
import * as apps from './columns/apps.ts'
import { NAME_AGE } from './columns/column.ts'
import * as core from './columns/core.ts'
import * as extension from './columns/extension.ts'
import * as network from './columns/network.ts'
import * as storage from './columns/storage.ts'
import type { KubeObject } from './meta.ts'
import { fieldPaths, fieldText, row } from './resource.ts'
import type { ResourceDef } from './resource.ts'

export { apiVersionOf, parseApiVersion, qualifiedResource } from './resource.ts'
export type { ResourceDef, SubresourceDef, Verb } from './resource.ts'

const ALL = ['all']
const EXT = ['api-extensions']
const WEBHOOK_GROUP = 'admissionregistration.k8s.io/v1'

const POD_FIELDS = {
  ...fieldPaths(
    'spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName status.phase status.podIP status.podIPs status.nominatedNodeName',
  ),
  'spec.hostNetwork': (o: KubeObject) => fieldText('spec.hostNetwork')(o) || 'false',
}
const EVENT_PATHS = 'kind namespace name uid apiVersion resourceVersion fieldPath'.split(' ')
/** Both event resources share storage (as core Events), so the labels of each read the stored shape. */
const EVENT_FIELDS = (prefix: string) => ({
  ...Object.fromEntries(EVENT_PATHS.map((p) => [`${prefix}.${p}`, fieldText(`involvedObject.${p}`)])),
  ...fieldPaths('reason type'),
  source: (o: KubeObject) => fieldText('source.component')(o) || fieldText('reportingComponent')(o),
  [prefix === 'regarding' ? 'reportingController' : 'reportingComponent']: fieldText('reportingComponent'),
})

/** All built-in resources, by the name of their type. */
export const KINDS = {
  // Core.
  Binding: row('v1', 'Binding', 'bindings', { served: 'virtual' }),
  ComponentStatus: row('v1', 'ComponentStatus', 'componentstatuses', {
    cluster: true, short: 'cs', served: 'virtual', verbs: ['get', 'list'], printer: core.componentStatuses,
  }),
  ConfigMap: row('v1', 'ConfigMap', 'configmaps', { short: 'cm', served: 'full', printer: core.configMaps }),
  Endpoints: row('v1', 'Endpoints', 'endpoints', { short: 'ep', printer: core.endpoints }),
  Event: row('v1', 'Event', 'events', { short: 'ev', served: 'full', fields: EVENT_FIELDS('involvedObject'), printer: core.events }),
  LimitRange: row('v1', 'LimitRange', 'limitranges', { served: 'full', short: 'limits' }),
  Namespace: row('v1', 'Namespace', 'namespaces', {
    cluster: true, short: 'ns', sub: 'finalize status', served: 'full', fields: 'status.phase', printer: core.namespaces,
    verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
  }),
  Node: row('v1', 'Node', 'nodes', {
    cluster: true, short: 'no', sub: 'proxy status', served: 'full', printer: core.nodes,
    fields: { 'spec.unschedulable': (o) => fieldText('spec.unschedulable')(o) || 'false' },
  }),
  PersistentVolumeClaim: row('v1', 'PersistentVolumeClaim', 'persistentvolumeclaims', { served: 'full', short: 'pvc', sub: 'status', printer: core.persistentVolumeClaims }),
  PersistentVolume: row('v1', 'PersistentVolume', 'persistentvolumes', { served: 'full', cluster: true, short: 'pv', sub: 'status', printer: core.persistentVolumes }),
  Pod: row('v1', 'Pod', 'pods', {
    short: 'po', categories: ALL, sub: 'attach binding ephemeralcontainers eviction exec log portforward proxy resize status',
    served: 'full', fields: POD_FIELDS, printer: core.pods,
  }),
  PodTemplate: row('v1', 'PodTemplate', 'podtemplates', { served: 'full', printer: core.podTemplates }),
  ReplicationController: row('v1', 'ReplicationController', 'replicationcontrollers', {
    short: 'rc', categories: ALL, sub: 'scale status', fields: { 'status.replicas': (o) => fieldText('status.replicas')(o) || '0' },
    printer: core.replicationControllers,
  }),
  ResourceQuota: row('v1', 'ResourceQuota', 'resourcequotas', { served: 'full', short: 'quota', sub: 'status', printer: core.resourceQuotas }),
  Secret: row('v1', 'Secret', 'secrets', { served: 'full', fields: 'type', printer: core.secrets }),
  ServiceAccount: row('v1', 'ServiceAccount', 'serviceaccounts', { short: 'sa', sub: 'token', served: 'full', printer: core.serviceAccounts }),
  Service: row('v1', 'Service', 'services', {
    short: 'svc', categories: ALL, sub: 'proxy status', served: 'full', fields: 'spec.clusterIP spec.type', printer: core.services,
  }),
  // Workloads.
  ControllerRevision: row('apps/v1', 'ControllerRevision', 'controllerrevisions', { served: 'full', printer: apps.controllerRevisions }),
  DaemonSet: row('apps/v1', 'DaemonSet', 'daemonsets', { short: 'ds', categories: ALL, sub: 'status', printer: apps.daemonSets }),
  Deployment: row('apps/v1', 'Deployment', 'deployments', {
    short: 'deploy', categories: ALL, sub: 'scale status', served: 'full', printer: apps.deployments,
  }),
  ReplicaSet: row('apps/v1', 'ReplicaSet', 'replicasets', {
    short: 'rs', categories: ALL, sub: 'scale status', served: 'full', fields: { 'status.replicas': (o) => fieldText('status.replicas')(o) || '0' },
    printer: apps.replicaSets,
  }),
  StatefulSet: row('apps/v1', 'StatefulSet', 'statefulsets', { short: 'sts', categories: ALL, sub: 'scale status', printer: apps.statefulSets }),
  CronJob: row('batch/v1', 'CronJob', 'cronjobs', { short: 'cj', categories: ALL, sub: 'status', printer: apps.cronJobs }),
  Job: row('batch/v1', 'Job', 'jobs', {
    categories: ALL, sub: 'status', fields: { 'status.successful': (o) => fieldText('status.succeeded')(o) || '0' }, printer: apps.jobs,
  }),
  V2HorizontalPodAutoscaler: row('autoscaling/v2', 'HorizontalPodAutoscaler', 'horizontalpodautoscalers', {
    short: 'hpa', categories: ALL, sub: 'status', schema: 'V2HorizontalPodAutoscaler', printer: apps.autoscalers,
  }),
  HorizontalPodAutoscaler: row('autoscaling/v1', 'HorizontalPodAutoscaler', 'horizontalpodautoscalers', {
    short: 'hpa', categories: ALL, sub: 'status', printer: apps.autoscalers,
  }),
  PodDisruptionBudget: row('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets', { short: 'pdb', sub: 'status', printer: extension.disruptionBudgets }),
  // Who and what may.
  TokenReview: row('authentication.k8s.io/v1', 'TokenReview', 'tokenreviews', { cluster: true, served: 'virtual' }),
  SelfSubjectReview: row('authentication.k8s.io/v1', 'SelfSubjectReview', 'selfsubjectreviews', { cluster: true, served: 'virtual' }),
  LocalSubjectAccessReview: row('authorization.k8s.io/v1', 'LocalSubjectAccessReview', 'localsubjectaccessreviews', { served: 'virtual' }),
  SelfSubjectAccessReview: row('authorization.k8s.io/v1', 'SelfSubjectAccessReview', 'selfsubjectaccessreviews', { cluster: true, served: 'virtual' }),
  SelfSubjectRulesReview: row('authorization.k8s.io/v1', 'SelfSubjectRulesReview', 'selfsubjectrulesreviews', { cluster: true, served: 'virtual' }),
  SubjectAccessReview: row('authorization.k8s.io/v1', 'SubjectAccessReview', 'subjectaccessreviews', { cluster: true, served: 'virtual' }),
  ClusterRoleBinding: row('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'clusterrolebindings', {
    cluster: true, served: 'full', printer: access.clusterRoleBindings,
  }),
  ClusterRole: row('rbac.authorization.k8s.io/v1', 'ClusterRole', 'clusterroles', { cluster: true, served: 'full' }),
  RoleBinding: row('rbac.authorization.k8s.io/v1', 'RoleBinding', 'rolebindings', { served: 'full', printer: access.roleBindings }),
  Role: row('rbac.authorization.k8s.io/v1', 'Role', 'roles', { served: 'full' }),
  CertificateSigningRequest: row('certificates.k8s.io/v1', 'CertificateSigningRequest', 'certificatesigningrequests', {
    cluster: true, short: 'csr', sub: 'approval status', served: 'full', fields: 'spec.signerName', printer: access.signingRequests,
  }),
  // Extension of the API itself.
  CustomResourceDefinition: row('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'customresourcedefinitions', {
    cluster: true, short: 'crd crds', categories: EXT, sub: 'status', served: 'full',
  }),
  APIService: row('apiregistration.k8s.io/v1', 'APIService', 'apiservices', { cluster: true, categories: EXT, sub: 'status', served: 'full', printer: extension.apiServices }),
  MutatingWebhookConfiguration: row(WEBHOOK_GROUP, 'MutatingWebhookConfiguration', 'mutatingwebhookconfigurations', {
    served: 'full',
    cluster: true, categories: EXT, printer: extension.webhookConfigurations,
  }),
  ValidatingWebhookConfiguration: row(WEBHOOK_GROUP, 'ValidatingWebhookConfiguration', 'validatingwebhookconfigurations', {
    served: 'full',
    cluster: true, categories: EXT, printer: extension.webhookConfigurations,
  }),
  ValidatingAdmissionPolicy: row(WEBHOOK_GROUP, 'ValidatingAdmissionPolicy', 'validatingadmissionpolicies', {
    cluster: true, categories: EXT, sub: 'status', printer: extension.admissionPolicies,
  }),
  ValidatingAdmissionPolicyBinding: row(WEBHOOK_GROUP, 'ValidatingAdmissionPolicyBinding', 'validatingadmissionpolicybindings', {
    cluster: true, categories: EXT, printer: extension.admissionPolicyBindings,
  }),
  // Coordination, events, discovery, network.
  Lease: row('coordination.k8s.io/v1', 'Lease', 'leases', { served: 'full', printer: access.leases }),
  EventsEvent: row('events.k8s.io/v1', 'Event', 'events', {
    short: 'ev', served: 'full', schema: 'EventsEvent', storage: 'events', fields: EVENT_FIELDS('regarding'), printer: core.events,
  }),
  EndpointSlice: row('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices', { printer: network.endpointSlices }),
  IngressClass: row('networking.k8s.io/v1', 'IngressClass', 'ingressclasses', { cluster: true, served: 'full', printer: network.ingressClasses }),
  Ingress: row('networking.k8s.io/v1', 'Ingress', 'ingresses', { short: 'ing', sub: 'status', printer: network.ingresses }),
  IPAddress: row('networking.k8s.io/v1', 'IPAddress', 'ipaddresses', { cluster: true, short: 'ip', printer: network.ipAddresses }),
  NetworkPolicy: row('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies', { short: 'netpol', printer: network.networkPolicies }),
  ServiceCIDR: row('networking.k8s.io/v1', 'ServiceCIDR', 'servicecidrs', { cluster: true, sub: 'status', printer: network.serviceCidrs }),
  // Nodes, scheduling, storage, devices of DRA, flow control.
  RuntimeClass: row('node.k8s.io/v1', 'RuntimeClass', 'runtimeclasses', { cluster: true, served: 'full', printer: extension.runtimeClasses }),
  PriorityClass: row('scheduling.k8s.io/v1', 'PriorityClass', 'priorityclasses', { served: 'full', cluster: true, short: 'pc', printer: extension.priorityClasses }),
  CSIDriver: row('storage.k8s.io/v1', 'CSIDriver', 'csidrivers', { cluster: true, printer: storage.csiDrivers }),
  CSINode: row('storage.k8s.io/v1', 'CSINode', 'csinodes', { cluster: true, printer: storage.csiNodes }),
  CSIStorageCapacity: row('storage.k8s.io/v1', 'CSIStorageCapacity', 'csistoragecapacities', { printer: storage.csiStorageCapacities }),
  StorageClass: row('storage.k8s.io/v1', 'StorageClass', 'storageclasses', { served: 'full', cluster: true, short: 'sc', printer: storage.storageClasses }),
  VolumeAttachment: row('storage.k8s.io/v1', 'VolumeAttachment', 'volumeattachments', { cluster: true, sub: 'status', printer: storage.volumeAttachments }),
  VolumeAttributesClass: row('storage.k8s.io/v1', 'VolumeAttributesClass', 'volumeattributesclasses', { cluster: true, short: 'vac', printer: storage.volumeAttributesClasses }),
  DeviceClass: row('resource.k8s.io/v1', 'DeviceClass', 'deviceclasses', { served: 'full', cluster: true, printer: NAME_AGE }),
  ResourceResourceClaim: row('resource.k8s.io/v1', 'ResourceClaim', 'resourceclaims', { served: 'full', sub: 'status', schema: 'ResourceResourceClaim', printer: extension.resourceClaims }),
  ResourceClaimTemplate: row('resource.k8s.io/v1', 'ResourceClaimTemplate', 'resourceclaimtemplates', { served: 'full', printer: NAME_AGE }),
  ResourceSlice: row('resource.k8s.io/v1', 'ResourceSlice', 'resourceslices', { served: 'full', cluster: true, printer: extension.resourceSlices, fields: 'spec.driver spec.nodeName' }),
  FlowSchema: row('flowcontrol.apiserver.k8s.io/v1', 'FlowSchema', 'flowschemas', { cluster: true, sub: 'status', printer: extension.flowSchemas }),
  PriorityLevelConfiguration: row('flowcontrol.apiserver.k8s.io/v1', 'PriorityLevelConfiguration', 'prioritylevelconfigurations', {
    cluster: true, sub: 'status', printer: extension.priorityLevels,
  }),
} as const satisfies Record<string, ResourceDef>

/** Every built-in resource; the preferred version of a group stands first. */
export const RESOURCES: readonly ResourceDef[] = Object.values(KINDS)

const BY_RESOURCE = new Map(RESOURCES.map((r) => [`${r.group}/${r.version}/${r.resource}`, r]))

/** The built-in resource of this plural name, if there is one. */
export function findResource(group: string, version: string, resource: string): ResourceDef | undefined {
  return BY_RESOURCE.get(`${group}/${version}/${resource}`)
}
