import { test } from 'node:test'
import { KINDS } from '../kinds.ts'
import { refuses, refusesUpdate, warns } from '../../../test/kit/kinds.ts'

const PORT = 'must be between 1 and 65535, inclusive'
const GE0 = 'must be greater than or equal to 0'
const SUBDOMAIN =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
const LABEL1035 = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
const KEY = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
const IP = 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'
const FIXED = 'field is immutable'

test('Services', () => {
  const base = { spec: { ports: [{ name: 'http', port: 80 }], selector: { app: 'a' } } }
  refuses(KINDS.Service, { spec: { type: 'ExternalName', externalName: 'example.com' } }, [
    [{ 'spec.externalName': '' }, 'spec.externalName: Required value'],
    [{ 'spec.clusterIP': '10.43.0.9' }, 'spec.clusterIPs: Forbidden: may not be set for ExternalName services'],
  ])
  refuses(KINDS.Service, base, [
    [{ 'metadata.name': '1a' }, `metadata.name: Invalid value: "1a": ${LABEL1035}`],
    [{ 'spec.ports': [] }, 'spec.ports: Required value'],
    [{ 'spec.ports': [], 'spec.clusterIP': 'None' }, []],
    [{ 'spec.type': 'Big' }, 'spec.type: Unsupported value: "Big": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'],
    [{ 'spec.ports[0].port': 0 }, [`spec.ports[0].port: Invalid value: 0: ${PORT}`, `spec.ports[0].targetPort: Invalid value: 0: ${PORT}`]],
    [{ 'spec.ports[0].protocol': 'X' }, 'spec.ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"'],
    [{ 'spec.ports[+]': { port: 81 } }, 'spec.ports[1].name: Required value'],
    [{ 'spec.ports[+]': { name: 'http', port: 81 } }, 'spec.ports[1].name: Duplicate value: "http"'],
    [{ 'spec.ports[+]': { name: 'b', port: 80 } }, 'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}'],
    [{ 'spec.ports[0].nodePort': 30000 }, 'spec.ports[0].nodePort: Forbidden: may not be used when `type` is \'ClusterIP\''],
    [{ 'spec.sessionAffinity': 'X' }, 'spec.sessionAffinity: Unsupported value: "X": supported values: "ClientIP", "None"'],
    [{ 'spec.sessionAffinity': 'ClientIP', 'spec.sessionAffinityConfig': { clientIP: { timeoutSeconds: 86_401 } } }, 'spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400'],
    [{ 'spec.externalIPs': ['127.0.0.1'] }, 'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    [{ 'spec.externalTrafficPolicy': 'Local' }, 'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services'],
    [{ 'spec.type': 'NodePort', 'spec.externalTrafficPolicy': 'X' }, 'spec.externalTrafficPolicy: Unsupported value: "X": supported values: "Cluster", "Local"'],
    [{ 'spec.internalTrafficPolicy': 'X' }, 'spec.internalTrafficPolicy: Unsupported value: "X": supported values: "Cluster", "Local"'],
    [{ 'spec.loadBalancerClass': 'example.com/x' }, "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
    [{ 'spec.type': 'LoadBalancer', 'spec.loadBalancerSourceRanges': ['10.0.0.0'] }, 'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'],
    [{ 'spec.clusterIP': 'here' }, `spec.clusterIPs[0]: Invalid value: "here": ${IP}`],
    [{ 'spec.ipFamilies': ['IPv5'] }, 'spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'],
    [{ 'spec.type': 'LoadBalancer', 'spec.clusterIP': 'None' }, "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services"],
  ])
  refusesUpdate(KINDS.Service, { spec: { ...base.spec, clusterIP: '10.43.0.9', clusterIPs: ['10.43.0.9'], ipFamilies: ['IPv4'] } }, [
    [{ 'spec.ports[0].port': 81, 'spec.selector': { app: 'b' } }, []],
    [{ 'spec.clusterIP': '10.43.0.10', 'spec.clusterIPs': ['10.43.0.10'] }, `spec.clusterIPs[0]: Invalid value: ["10.43.0.10"]: may not change once set`],
  ])
  warns(KINDS.Service, base, [
    [{}, []],
    [{ 'spec.externalName': 'x' }, 'spec.externalName is ignored when spec.type is not "ExternalName"'],
    [{ 'spec.clusterIP': 'None', 'spec.sessionAffinity': 'ClientIP' }, 'spec.SessionAffinity is ignored for headless services'],
  ])
})

test('ConfigMaps and Secrets', () => {
  refuses(KINDS.ConfigMap, { data: { 'a.b': 'c' }, binaryData: { d: 'AA==' } }, [
    [{ data: { 'a b': 'c' } }, `data[a b]: Invalid value: "a b": ${KEY}`],
    [{ 'binaryData[a.b]': 'AA==' }, 'data[a.b]: Invalid value: "a.b": duplicate of key present in binaryData'],
    [{ data: { a: 'x'.repeat(1_048_577) } }, ': Too long: may not be more than 1048576 bytes'],
  ])
  refusesUpdate(KINDS.ConfigMap, { data: { a: 'b' }, immutable: true }, [
    [{ 'metadata.labels': { a: 'b' } }, []],
    [{ immutable: false }, 'immutable: Forbidden: field is immutable when `immutable` is set'],
    [{ 'data.a': 'c' }, 'data: Forbidden: field is immutable when `immutable` is set'],
  ])
  refuses(KINDS.Secret, { stringData: { a: 'b' } }, [
    [{ data: { 'a b': 'AA==' } }, `data[a b]: Invalid value: "a b": ${KEY}`],
    [{ type: 'kubernetes.io/tls' }, ['data[tls.crt]: Required value', 'data[tls.key]: Required value']],
    [{ type: 'kubernetes.io/basic-auth' }, ['data[username]: Required value', 'data[password]: Required value']],
    [{ type: 'kubernetes.io/ssh-auth' }, 'data[ssh-privatekey]: Required value'],
    [{ type: 'kubernetes.io/dockerconfigjson' }, 'data[.dockerconfigjson]: Required value'],
    [{ type: 'kubernetes.io/dockerconfigjson', stringData: { '.dockerconfigjson': '{' } }, 'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character in JSON input'],
    [{ type: 'kubernetes.io/service-account-token' }, 'metadata.annotations[kubernetes.io/service-account.name]: Required value'],
  ])
  refusesUpdate(KINDS.Secret, { data: { a: 'AA==' }, immutable: true }, [
    [{ 'data.a': 'AAA=' }, 'data: Forbidden: field is immutable when `immutable` is set'],
    [{ type: 'example.com/x' }, `type: Invalid value: "example.com/x": ${FIXED}`],
  ])
})

test('PersistentVolumes and PersistentVolumeClaims', () => {
  const volume = { spec: { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'], hostPath: { path: '/v' } } }
  refuses(KINDS.PersistentVolume, volume, [
    [{ 'spec.accessModes': [] }, 'spec.accessModes: Required value'],
    [{ 'spec.accessModes': ['X'] }, 'spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'],
    [{ 'spec.accessModes': ['ReadWriteOncePod', 'ReadWriteOnce'] }, 'spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes'],
    [{ 'spec.capacity': undefined }, ['spec.capacity: Required value', 'spec.capacity: Unsupported value: null: supported values: "storage"']],
    [{ 'spec.capacity.storage': '0' }, 'spec.capacity[storage]: Invalid value: "0": must be greater than zero'],
    [{ 'spec.hostPath': undefined }, 'spec: Required value: must specify a volume type'],
    [{ 'spec.nfs': { server: 's', path: '/p' } }, 'spec.nfs: Forbidden: may not specify more than 1 volume type'],
    [{ 'spec.persistentVolumeReclaimPolicy': 'X' }, 'spec.persistentVolumeReclaimPolicy: Unsupported value: "X": supported values: "Delete", "Recycle", "Retain"'],
    [{ 'spec.hostPath.path': '/', 'spec.persistentVolumeReclaimPolicy': 'Recycle' }, "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
    [{ 'spec.hostPath': undefined, 'spec.local': { path: '/v' } }, 'spec.nodeAffinity: Required value: Local volume requires node affinity'],
    [{ 'spec.volumeMode': 'X' }, 'spec.volumeMode: Unsupported value: "X": supported values: "Block", "Filesystem"'],
  ])
  refusesUpdate(KINDS.PersistentVolume, volume, [
    [{ 'spec.capacity.storage': '2Gi', 'spec.storageClassName': 's' }, []],
    [{ 'spec.hostPath.path': '/w' }, 'spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation'],
    [{ 'spec.volumeMode': 'Block' }, 'volumeMode: Invalid value: "Block": field is immutable'],
  ])
  const claim = { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '2Gi' } }, storageClassName: 's' } }
  refuses(KINDS.PersistentVolumeClaim, claim, [
    [{ 'spec.accessModes': [] }, 'spec.accessModes: Required value: at least 1 access mode is required'],
    [{ 'spec.resources': {} }, 'spec.resources[storage]: Required value'],
    [{ 'spec.resources.requests.storage': '0' }, 'spec.resources[storage]: Invalid value: "0": must be greater than zero'],
    [{ 'spec.storageClassName': 'A' }, `spec.storageClassName: Invalid value: "A": ${SUBDOMAIN}`],
    [{ 'spec.volumeMode': 'X' }, 'spec.volumeMode: Unsupported value: "X": supported values: "Block", "Filesystem"'],
    [{ 'spec.dataSource': { kind: 'PersistentVolumeClaim', name: '' } }, ['spec.dataSource.name: Required value', 'spec.dataSourceRef.name: Required value']],
  ])
  refusesUpdate(KINDS.PersistentVolumeClaim, { ...claim, status: { phase: 'Bound', capacity: { storage: '2Gi' } } }, [
    [{ 'spec.resources.requests.storage': '3Gi' }, []],
    [{ 'spec.resources.requests.storage': '1Gi' }, 'spec.resources.requests.storage: Forbidden: field can not be less than status.capacity'],
  ])
})

test('Nodes and Namespaces', () => {
  refuses(KINDS.Node, { spec: { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24'] } }, [
    [{ 'spec.podCIDR': 'x', 'spec.podCIDRs': ['x'] }, 'spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'],
    [{ 'spec.taints': [{ key: 'k' }] }, 'metadata.taints[0].effect: Required value'],
    [{ 'spec.taints': [{ key: 'k', effect: 'X' }] }, 'metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'],
    [{ 'spec.taints': [{ key: 'k', effect: 'NoSchedule' }, { key: 'k', value: 'v', effect: 'NoSchedule' }] }, 'metadata.taints[1]: Duplicate value: {"key":"k","value":"v","effect":"NoSchedule"}: taints must be unique by key and effect pair'],
    [{ 'status.capacity': { cpu: '-1' } }, ['capacity', 'allocatable'].map((k) => `status.${k}.cpu: Invalid value: "-1": ${GE0}`)],
  ])
  refusesUpdate(KINDS.Node, { spec: { podCIDRs: ['10.0.0.0/24'], podCIDR: '10.0.0.0/24', providerID: 'a' } }, [
    [{ 'spec.unschedulable': true, 'spec.taints': [{ key: 'k', effect: 'NoSchedule' }] }, []],
    [{ 'spec.podCIDR': '10.0.1.0/24', 'spec.podCIDRs': ['10.0.1.0/24'] }, 'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
    [{ 'spec.providerID': 'b' }, 'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid'],
  ])
  refuses(KINDS.Namespace, {}, [[{ 'metadata.name': 'a.b' }, 'metadata.name: Invalid value: "a.b": must not contain dots']])
})

test('limits, quotas, accounts, Endpoints and Events', () => {
  refuses(KINDS.LimitRange, { spec: { limits: [{ type: 'Container', max: { cpu: '2' }, min: { cpu: '1' } }] } }, [
    [{ 'spec.limits[0].min.cpu': '3' }, ['spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2', 'spec.limits[0].defaultRequest[cpu]: Invalid value: "2": min value 3 is greater than default request value 2', 'spec.limits[0].default[cpu]: Invalid value: "3": min value 3 is greater than default value 2']],
    [{ 'spec.limits[+]': { type: 'Container' } }, 'spec.limits[1].type: Duplicate value: "Container"'],
    [{ 'spec.limits[0].type': 'PersistentVolumeClaim' }, 'spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided'],
  ])
  refuses(KINDS.ResourceQuota, { spec: { hard: { pods: '4', 'requests.cpu': '1', 'count/widgets.example.com': '2' }, scopes: ['NotTerminating'] } }, [
    [{ 'spec.hard.pods': '-1' }, `spec.hard[pods]: Invalid value: "-1": ${GE0}`],
    [{ 'spec.hard.pods': '1500m' }, 'spec.hard[pods]: Invalid value: "1500m": must be an integer'],
    [{ 'spec.scopes': ['X'] }, 'spec.scopes: Invalid value: ["X"]: unsupported scope'],
    [{ 'spec.scopes': ['Terminating', 'NotTerminating'] }, 'spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes'],
  ])
  refusesUpdate(KINDS.ResourceQuota, { spec: { hard: { pods: '4' }, scopes: ['NotTerminating'] } }, [
    [{ 'spec.hard.pods': '5' }, []],
    [{ 'spec.scopes': [] }, 'spec.scopes: Invalid value: null: field is immutable'],
  ])
  refuses(KINDS.Endpoints, { subsets: [{ addresses: [{ ip: '10.0.0.1' }], ports: [{ port: 80 }] }] }, [
    [{ 'subsets[0].addresses': [] }, 'subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`'],
    [{ 'subsets[0].addresses[0].ip': 'x' }, [`subsets[0].addresses[0].ip: Invalid value: "x": ${IP}`, 'subsets[0].addresses[0].ip: Invalid value: "x": must be a valid IP address']],
    [{ 'subsets[0].addresses[0].ip': '127.0.0.1' }, 'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)'],
    [{ 'subsets[0].ports[0].port': 0 }, `subsets[0].ports[0].port: Invalid value: 0: ${PORT}`],
    [{ 'subsets[0].ports[+]': { port: 81 } }, ['subsets[0].ports[0].name: Required value', 'subsets[0].ports[1].name: Required value']],
  ])
  warns(KINDS.Endpoints, {}, [[{}, 'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice']])
  refuses(KINDS.ControllerRevision, { revision: 1, data: {} }, [[{ revision: -1 }, `revision: Invalid value: -1: ${GE0}`], [{ data: undefined }, 'data: Required value: data is mandatory']])
})

test('metadata of every kind', () => {
  const owner = { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u', controller: true }
  refuses(KINDS.ConfigMap, {}, [
    [{ 'metadata.name': 'A' }, `metadata.name: Invalid value: "A": ${SUBDOMAIN}`],
    [{ 'metadata.annotations': { a: 'x'.repeat(262_144) } }, 'metadata.annotations: Too long: may not be more than 262144 bytes'],
    [{ 'metadata.labels': { a: 'x y' } }, "metadata.labels: Invalid value: \"x y\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"],
    [{ 'metadata.finalizers': ['keep'] }, 'metadata.finalizers[0]: Invalid value: "keep": name is neither a standard finalizer name nor is it fully qualified'],
    [{ 'metadata.ownerReferences': [owner, { ...owner, uid: 'v' }] }, 'metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true},{"apiVersion":"v1","kind":"Pod","name":"p","uid":"v","controller":true}]: Only one reference can have Controller set to true. Found "true" in references for p and p'],
    [{ 'metadata.ownerReferences': [{ ...owner, uid: '' }] }, 'metadata.ownerReferences.uid: Invalid value: "": uid must not be empty'],
  ])
})
