import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KINDS, RESOURCES } from '../kinds.ts'
import type { KubeObject } from '../meta.ts'
import { tableOf } from '../table.ts'

const NOW = Date.UTC(2026, 0, 2)
const metadata = { name: 'x', namespace: 'default', creationTimestamp: '2026-01-01T23:55:00Z' }
const WORKLOAD = '+CONTAINERS +IMAGES'
/** As `kubectl get -o wide` heads each kind; a `+` marks what is shown with `-o wide` only. Names with blanks are joined by `_`. */
const HEADS: Readonly<Record<string, string>> = {
  ComponentStatus: 'NAME STATUS MESSAGE ERROR',
  ConfigMap: 'NAME DATA AGE',
  Endpoints: 'NAME ENDPOINTS AGE',
  Event: 'LAST_SEEN TYPE REASON OBJECT +SUBOBJECT +SOURCE MESSAGE +FIRST_SEEN +COUNT +NAME',
  LimitRange: 'NAME CREATED_AT',
  Namespace: 'NAME STATUS AGE',
  Node: 'NAME STATUS ROLES AGE VERSION +INTERNAL-IP +EXTERNAL-IP +OS-IMAGE +KERNEL-VERSION +CONTAINER-RUNTIME',
  PersistentVolumeClaim: 'NAME STATUS VOLUME CAPACITY ACCESS_MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE +VOLUMEMODE',
  PersistentVolume: 'NAME CAPACITY ACCESS_MODES RECLAIM_POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE +VOLUMEMODE',
  Pod: 'NAME READY STATUS RESTARTS AGE +IP +NODE +NOMINATED_NODE +READINESS_GATES',
  PodTemplate: 'NAME CONTAINERS IMAGES POD_LABELS',
  ReplicationController: `NAME DESIRED CURRENT READY AGE ${WORKLOAD} +SELECTOR`,
  ResourceQuota: 'NAME REQUEST LIMIT AGE',
  Secret: 'NAME TYPE DATA AGE',
  ServiceAccount: 'NAME SECRETS AGE',
  Service: 'NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE +SELECTOR',
  ControllerRevision: 'NAME CONTROLLER REVISION AGE',
  DaemonSet: `NAME DESIRED CURRENT READY UP-TO-DATE AVAILABLE NODE_SELECTOR AGE ${WORKLOAD} +SELECTOR`,
  Deployment: `NAME READY UP-TO-DATE AVAILABLE AGE ${WORKLOAD} +SELECTOR`,
  ReplicaSet: `NAME DESIRED CURRENT READY AGE ${WORKLOAD} +SELECTOR`,
  StatefulSet: `NAME READY AGE ${WORKLOAD}`,
  CronJob: `NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST_SCHEDULE AGE ${WORKLOAD} +SELECTOR`,
  Job: `NAME STATUS COMPLETIONS DURATION AGE ${WORKLOAD} +SELECTOR`,
  V2HorizontalPodAutoscaler: 'NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE',
  HorizontalPodAutoscaler: 'NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE',
  PodDisruptionBudget: 'NAME MIN_AVAILABLE MAX_UNAVAILABLE ALLOWED_DISRUPTIONS AGE',
  ClusterRoleBinding: 'NAME ROLE AGE +USERS +GROUPS +SERVICEACCOUNTS',
  ClusterRole: 'NAME CREATED_AT',
  RoleBinding: 'NAME ROLE AGE +USERS +GROUPS +SERVICEACCOUNTS',
  Role: 'NAME CREATED_AT',
  CertificateSigningRequest: 'NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION',
  CustomResourceDefinition: 'NAME CREATED_AT',
  APIService: 'NAME SERVICE AVAILABLE AGE',
  MutatingWebhookConfiguration: 'NAME WEBHOOKS AGE',
  ValidatingWebhookConfiguration: 'NAME WEBHOOKS AGE',
  ValidatingAdmissionPolicy: 'NAME VALIDATIONS PARAMKIND AGE',
  ValidatingAdmissionPolicyBinding: 'NAME POLICYNAME PARAMREF AGE',
  Lease: 'NAME HOLDER AGE',
  EventsEvent: 'LAST_SEEN TYPE REASON OBJECT +SUBOBJECT +SOURCE MESSAGE +FIRST_SEEN +COUNT +NAME',
  EndpointSlice: 'NAME ADDRESSTYPE PORTS ENDPOINTS AGE',
  IngressClass: 'NAME CONTROLLER PARAMETERS AGE',
  Ingress: 'NAME CLASS HOSTS ADDRESS PORTS AGE',
  IPAddress: 'NAME PARENTREF',
  NetworkPolicy: 'NAME POD-SELECTOR AGE',
  ServiceCIDR: 'NAME CIDRS AGE',
  RuntimeClass: 'NAME HANDLER AGE',
  PriorityClass: 'NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY',
  CSIDriver: 'NAME ATTACHREQUIRED PODINFOONMOUNT STORAGECAPACITY TOKENREQUESTS REQUIRESREPUBLISH MODES AGE',
  CSINode: 'NAME DRIVERS AGE',
  CSIStorageCapacity: 'NAME STORAGECLASSNAME CAPACITY',
  StorageClass: 'NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE',
  VolumeAttachment: 'NAME ATTACHER PV NODE ATTACHED AGE',
  VolumeAttributesClass: 'NAME DRIVERNAME AGE',
  DeviceClass: 'NAME AGE',
  ResourceResourceClaim: 'NAME STATE AGE',
  ResourceClaimTemplate: 'NAME AGE',
  ResourceSlice: 'NAME NODE DRIVER POOL AGE',
  FlowSchema: 'NAME PRIORITYLEVEL MATCHINGPRECEDENCE DISTINGUISHERMETHOD AGE MISSINGPL',
  PriorityLevelConfiguration: 'NAME TYPE NOMINALCONCURRENCYSHARES QUEUES HANDSIZE QUEUELENGTHLIMIT AGE',
}

test('every kind is headed as kubectl users know it, and its columns say what they mean', () => {
  for (const [name, def] of Object.entries(KINDS)) {
    if (!RESOURCES.some((r) => r === def) || !(def.verbs as readonly string[]).includes('list')) continue
    const head = def.printer.columns.map((c) => `${c.priority === 1 ? '+' : ''}${c.name.toUpperCase().replaceAll(' ', '_')}`).join(' ')
    assert.equal(head, HEADS[name], name)
    for (const c of def.printer.columns) assert.notEqual(c.description, '', `${name}: ${c.name}`)
  }
})

const hpa = (metrics: object[], currentMetrics: object[] = []): object => ({
  spec: { scaleTargetRef: { kind: 'Deployment', name: 'web' }, maxReplicas: 5, metrics }, status: { currentReplicas: 2, currentMetrics },
})
const cpu = { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } }
const memory = { type: 'Resource', resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '1Gi' } } }
const queue = { type: 'External', external: { metric: { name: 'q' }, target: { type: 'AverageValue', averageValue: '30' } } }
const template = { spec: { nodeSelector: { a: 'b' }, containers: [{ name: 'a', image: 'i' }, { name: 'b', image: 'j' }] } }
const rules = ['a', 'b', '', 'c', 'd'].map((host) => ({ host }))

/** Kind, object, cells. */
const CELLS: readonly (readonly [keyof typeof KINDS, object, readonly unknown[]])[] = [
  ['V2HorizontalPodAutoscaler', hpa([]), ['x', 'Deployment/web', '<none>', '<unset>', 5, 2, '5m']],
  ['V2HorizontalPodAutoscaler', hpa([cpu], [{ resource: { current: { averageUtilization: 7 } } }]), ['x', 'Deployment/web', 'cpu: 7%/80%', '<unset>', 5, 2, '5m']],
  ['HorizontalPodAutoscaler', hpa([memory, cpu, queue]), ['x', 'Deployment/web', 'memory: <unknown>/1Gi, cpu: <unknown>/80% + 1 more...', '<unset>', 5, 2, '5m']],
  ['V2HorizontalPodAutoscaler', hpa([queue], [{ external: { current: { averageValue: '4' } } }]), ['x', 'Deployment/web', '4/30 (avg)', '<unset>', 5, 2, '5m']],
  ['DaemonSet', { spec: { selector: {}, template }, status: { desiredNumberScheduled: 2, numberReady: 1 } }, ['x', 2, 0, 1, 0, 0, 'a=b', '5m', 'a,b', 'i,j', '<none>']],
  ['CronJob', { spec: { schedule: '* * * * *', jobTemplate: { spec: { template } } } }, ['x', '* * * * *', '<none>', '<unset>', 0, '<none>', '5m', 'a,b', 'i,j', '<none>']],
  ['Job', { spec: { parallelism: 3, template }, status: { succeeded: 1, startTime: '2026-01-01T23:59:00Z', conditions: [{ type: 'Suspended', status: 'True' }] } }, ['x', 'Suspended', '1/1 of 3', '60s', '5m', 'a,b', 'i,j', '<none>']],
  ['Service', { spec: { type: 'LoadBalancer', clusterIPs: ['10.0.0.1'], externalIPs: ['9.9.9.9'] }, status: { loadBalancer: { ingress: [{ ip: '2.2.2.2' }, { ip: '1.1.1.1' }] } } }, ['x', 'LoadBalancer', '10.0.0.1', '1.1.1.1,2.2.2.2,9.9.9.9', '<none>', '5m', '<none>']],
  ['Service', { spec: { type: 'LoadBalancer' } }, ['x', 'LoadBalancer', '<none>', '<pending>', '<none>', '5m', '<none>']],
  ['Service', { spec: { type: 'ExternalName', externalName: 'a.b' } }, ['x', 'ExternalName', '<none>', 'a.b', '<none>', '5m', '<none>']],
  ['Endpoints', { subsets: [{ addresses: [{ ip: '1.1.1.1' }, { ip: '::1' }, { ip: '3.3.3.3' }, { ip: '4.4.4.4' }], ports: [{ port: 80 }] }] }, ['x', '1.1.1.1:80,[::1]:80,3.3.3.3:80 + 1 more...', '5m']],
  ['PersistentVolume', { metadata: { ...metadata, annotations: { 'volume.beta.kubernetes.io/storage-class': 'old' } }, spec: { accessModes: ['ReadWriteMany', 'ReadWriteOnce'], claimRef: { namespace: 'n', name: 'c' } } }, ['x', '0', 'RWO,RWX', '', '', 'n/c', 'old', '<unset>', '', '5m', '<unset>']],
  ['Event', { involvedObject: { kind: 'Pod', name: 'p' }, reportingComponent: 'kubelet', reportingInstance: 'n1', eventTime: '2026-01-01T23:58:00.000000Z', series: { count: 4, lastObservedTime: '2026-01-01T23:59:50.000000Z' }, message: ' hi\n' }, ['10s', '', '', 'pod/p', '', 'kubelet, n1', 'hi', '2m', 4, 'x']],
  ['RoleBinding', { roleRef: { kind: 'Role', name: 'r' }, subjects: [{ kind: 'User', name: 'u' }, { kind: 'Group', name: 'g' }, { kind: 'ServiceAccount', namespace: 'n', name: 's' }, { kind: 'User', name: 'v' }] }, ['x', 'Role/r', '5m', 'u, v', 'g', 'n/s']],
  ['CertificateSigningRequest', { spec: { signerName: '', expirationSeconds: 3600 }, status: { conditions: [{ type: 'Approved' }, { type: 'Failed' }] } }, ['x', '5m', '<none>', '', '60m', 'Approved,Failed']],
  ['APIService', { spec: { service: { namespace: 'n', name: 's' } }, status: { conditions: [{ type: 'Available', status: 'False', reason: 'MissingEndpoints' }] } }, ['x', 'n/s', 'False (MissingEndpoints)', '5m']],
  ['ValidatingAdmissionPolicy', { spec: { validations: [{}, {}], paramKind: { apiVersion: 'v1', kind: 'ConfigMap' } } }, ['x', 2, 'v1/ConfigMap', '5m']],
  ['ValidatingAdmissionPolicyBinding', { spec: { policyName: 'p', paramRef: { name: 'c' } } }, ['x', 'p', '*/c', '5m']],
  ['EndpointSlice', { addressType: 'IPv4', ports: [{ port: 80 }, { name: 'm' }, {}], endpoints: [{ addresses: ['1.1.1.1'] }] }, ['x', 'IPv4', '80,m,*', '1.1.1.1', '5m']],
  ['EndpointSlice', { addressType: 'FQDN' }, ['x', 'FQDN', '<unset>', '<unset>', '5m']],
  ['IngressClass', { spec: { controller: 'c', parameters: { apiGroup: 'g.io', kind: 'K', name: 'n' } } }, ['x', 'c', 'K.g.io/n', '5m']],
  ['Ingress', { spec: { rules, tls: [{}] } }, ['x', '<none>', 'a,b,c + 2 more...', '', '80, 443', '5m']],
  ['Ingress', { spec: { rules: [{}] }, status: { loadBalancer: { ingress: [{ hostname: 'h' }] } } }, ['x', '<none>', '*', 'h', '80', '5m']],
  ['IPAddress', { spec: { parentRef: { resource: 'services', namespace: 'default', name: 'kubernetes' } } }, ['x', 'services/default/kubernetes']],
  ['ServiceCIDR', { spec: { cidrs: ['10.0.0.0/16', 'fd00::/112'] } }, ['x', '10.0.0.0/16,fd00::/112', '5m']],
  ['CSIDriver', { spec: {} }, ['x', true, false, false, '<unset>', false, '<none>', '5m']],
  ['CSIDriver', { spec: { attachRequired: false, tokenRequests: [{ audience: 'a' }, { audience: 'b' }], volumeLifecycleModes: ['Persistent'] } }, ['x', false, false, false, 'a,b', false, 'Persistent', '5m']],
  ['StorageClass', { metadata: { ...metadata, annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } }, provisioner: 'p' }, ['x (default)', 'p', 'Delete', 'Immediate', false, '5m']],
  ['VolumeAttributesClass', { driverName: 'd' }, ['x', 'd', '5m']],
  ['CSIStorageCapacity', { storageClassName: 's' }, ['x', 's', '<unset>']],
  ['VolumeAttachment', { spec: { attacher: 'a', nodeName: 'n', source: { persistentVolumeName: 'pv' } } }, ['x', 'a', 'pv', 'n', false, '5m']],
  ['ResourceResourceClaim', { spec: {}, status: { allocation: {}, reservedFor: [{}] } }, ['x', 'allocated,reserved', '5m']],
  ['ResourceResourceClaim', { spec: {} }, ['x', 'pending', '5m']],
  ['ResourceSlice', { spec: { driver: 'd', nodeName: 'n', pool: { name: 'p' } } }, ['x', 'n', 'd', 'p', '5m']],
  ['FlowSchema', { spec: { priorityLevelConfiguration: { name: 'exempt' }, matchingPrecedence: 1 }, status: { conditions: [{ type: 'Dangling', status: 'False' }] } }, ['x', 'exempt', 1, '<none>', '5m', 'False']],
  ['PriorityLevelConfiguration', { spec: { type: 'Limited', limited: { nominalConcurrencyShares: 30, limitResponse: { type: 'Queue', queuing: { queues: 64, handSize: 6, queueLengthLimit: 50 } } } } }, ['x', 'Limited', 30, 64, 6, 50, '5m']],
  ['PriorityLevelConfiguration', { spec: { type: 'Exempt' } }, ['x', 'Exempt', '<none>', '<none>', '<none>', '<none>', '5m']],
  ['ComponentStatus', { conditions: [{ type: 'Healthy', status: 'True', message: 'ok' }] }, ['x', 'Healthy', 'ok', '']],
]

test('cells read as kubectl users know them', () => {
  for (const [kind, object, cells] of CELLS) {
    const table = tableOf(KINDS[kind], [{ metadata, ...object } as KubeObject], { now: NOW })
    assert.deepEqual(table.rows[0]?.cells, cells, kind)
  }
})

test('pods that have ended say so beside their row, and flow schemas stand in the order they are tried', () => {
  const pod = (phase: string): unknown => tableOf(KINDS.Pod, [{ metadata, spec: { containers: [] }, status: { phase } } as unknown as KubeObject], { now: NOW }).rows[0]?.conditions
  assert.deepEqual(pod('Succeeded'), [{ type: 'Completed', status: 'True', reason: 'Succeeded', message: 'The pod has completed successfully.' }])
  assert.equal(pod('Running'), undefined)
  const schemas = ['b', 'a', 'c'].map((name, i) => ({ metadata: { name }, spec: { matchingPrecedence: i === 2 ? 1 : 9 } })) as unknown as KubeObject[]
  assert.deepEqual(tableOf(KINDS.FlowSchema, schemas, { now: NOW }).rows.map((r) => r.cells[0]), ['c', 'a', 'b'])
})
