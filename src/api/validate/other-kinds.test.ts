import assert from 'node:assert/strict'
import { test } from 'node:test'
import { applyDefaults } from '../defaults/mod.ts'
import { KINDS } from '../kinds.ts'
import type { KubeObject } from '../meta.ts'
import type { ResourceDef } from '../resource.ts'
import { validateCreate, validateUpdate } from './mod.ts'

type Kind = keyof typeof KINDS
type Body = Record<string, unknown> & { metadata?: object }

function made(kind: Kind, body: Body): { def: ResourceDef; object: KubeObject } {
  const def: ResourceDef = KINDS[kind]
  const metadata = { name: 'x', ...(def.namespaced && { namespace: 'default' }), ...body.metadata }
  const object = structuredClone({ ...body, metadata }) as unknown as KubeObject
  applyDefaults(def.schema, object)
  return { def, object }
}
const texts = (errors: readonly { field: string; message: string }[]): string[] => errors.map((e) => `${e.field}: ${e.message}`)
const created = (kind: Kind, body: Body): string[] => {
  const { def, object } = made(kind, body)
  return texts(validateCreate(def, object))
}
const updated = (kind: Kind, next: Body, old: Body, sub?: string): string[] => texts(validateUpdate(KINDS[kind], made(kind, next).object, made(kind, old).object, sub))

const LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
const pem = (type: string): string => btoa(`-----BEGIN ${type}-----\nMIIB\n-----END ${type}-----\n`)
const CSR = { spec: { request: pem('CERTIFICATE REQUEST'), signerName: 'example.com/s', usages: ['client auth'] } }
const condition = (type: string, status = 'True'): object => ({ type, status, reason: 'r' })
const decided = (...conditions: object[]): Body => ({ ...CSR, status: { conditions } })
const RULE = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }
const POLICY = { spec: { matchConstraints: { resourceRules: [RULE] }, validations: [{ expression: 'true' }] } }
const BINDING = { spec: { policyName: 'p', validationActions: ['Deny'] } }
const path = (more: object = {}): object => ({ path: '/', pathType: 'Prefix', backend: { service: { name: 's', port: { number: 80 } } }, ...more })
const ingress = (...paths: object[]): Body => ({ spec: { rules: [{ host: 'a.b', http: { paths } }] } })
const SLICE = { addressType: 'IPv4', endpoints: [{ addresses: ['10.0.0.1'] }], ports: [{ name: 'a', port: 80 }] }
const LIMITED = { type: 'Limited', limited: { limitResponse: { type: 'Queue', queuing: {} } } }
const FLOW = { spec: { priorityLevelConfiguration: { name: 'p' }, rules: [{ subjects: [{ kind: 'User', user: { name: '*' } }], resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'] }] }] } }
const CLAIM = { spec: { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'gpu' } }] } } }
const DEVICES = { spec: { driver: 'd.io', nodeName: 'n', pool: { name: 'p', resourceSliceCount: 1, generation: 0 }, devices: [{ name: 'a', attributes: { model: { string: 'm' } } }] } }
const POLICIED = 'spec.devices[0].capacity[memory].requestPolicy'
const sharing = (requestPolicy: object, more: object = {}): Body => ({ spec: { ...DEVICES.spec, devices: [{ name: 'a', allowMultipleAllocations: true, capacity: { memory: { value: '8Gi', requestPolicy } }, ...more }] } })
const SERVICE = { spec: { group: 'g.io', version: 'v1', groupPriorityMinimum: 100, versionPriority: 100 } }
const EVENT = { regarding: { namespace: 'default' }, eventTime: '2026-01-01T00:00:00.000000Z', reportingController: 'c.io/x', reportingInstance: 'i', action: 'a', reason: 'r', type: 'Normal' }

/** An example of each kind that is fine, and of what is not: kind, object, what is said of it. */
const CREATES: readonly (readonly [Kind, Body, ...string[]])[] = [
  ['Role', { rules: [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }] }],
  ['Role', { rules: [{ verbs: [], nonResourceURLs: ['/x'] }] }, 'rules[0].verbs: Required value: verbs must contain at least one value', 'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs'],
  ['ClusterRole', { aggregationRule: { clusterRoleSelectors: [] } }, 'aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil'],
  ['ClusterRoleBinding', { roleRef: { kind: 'ClusterRole', name: 'r' }, subjects: [{ kind: 'User', name: 'u' }] }],
  ['ClusterRoleBinding', { roleRef: { kind: 'Role', name: '' }, subjects: [{ kind: 'ServiceAccount', name: 's' }, { kind: 'X', name: 'y' }] },
    'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"', 'roleRef.name: Required value', 'subjects[0].namespace: Required value',
    'subjects[1].kind: Unsupported value: "X": supported values: "ServiceAccount", "User", "Group"'],
  ['RoleBinding', { roleRef: { apiGroup: 'x', kind: 'Role', name: 'r' }, subjects: [{ kind: 'ServiceAccount', name: 's', apiGroup: 'y' }] },
    'roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"', 'subjects[0].apiGroup: Unsupported value: "y": supported values: ""'],
  ['CertificateSigningRequest', CSR],
  ['CertificateSigningRequest', { spec: { request: btoa('x'), signerName: 'nodomain', usages: ['fly', 'any', 'any'], expirationSeconds: 5 } },
    `spec.request: Invalid value: "${btoa('x')}": PEM block type must be CERTIFICATE REQUEST`, 'spec.usages[0]: Unsupported value: "fly": supported values: "any", "cert sign"',
    'spec.usages[2]: Duplicate value: "any"', `spec.signerName: Invalid value: "nodomain": must be a fully qualified domain and path of the form 'example.com/signer-name'`,
    'spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)'],
  ['NetworkPolicy', { spec: { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }], ports: [{ port: 80, endPort: 90 }] }] } }],
  ['NetworkPolicy', { spec: { policyTypes: ['In'], egress: [{ to: [{}, { podSelector: {}, ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/9'] } }], ports: [{ port: 80, endPort: 70, protocol: 'ICMP' }, { port: 'http', endPort: 9 }] }] } },
    'spec.egress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"', 'spec.egress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`',
    'spec.egress[0].ports[1].endPort: Invalid value: 9: may not be specified when `port` is non-numeric', 'spec.egress[0].to[0]: Required value: must specify a peer',
    'spec.egress[0].to[1].ipBlock.except[0]: Invalid value: "11.0.0.0/9": must be a strict subset of `cidr`', 'spec.egress[0].to[1]: Forbidden: may not specify both ipBlock and another peer',
    'spec.policyTypes[0]: Unsupported value: "In": supported values: "Ingress", "Egress"'],
  ['Ingress', ingress(path())],
  ['Ingress', { spec: {} }, 'spec: Invalid value: null: either `defaultBackend` or `rules` must be specified'],
  ['Ingress', ingress(path({ pathType: undefined }), path({ path: 'x//y' }), path({ pathType: 'Regex' }), path({ backend: { service: { name: 's' } } }), path({ backend: {} })),
    'spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified', 'spec.rules[0].http.paths[1].path: Invalid value: "x//y": must be an absolute path',
    `spec.rules[0].http.paths[1].path: Invalid value: "x//y": must not contain '//'`, 'spec.rules[0].http.paths[2].pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"',
    'spec.rules[0].http.paths[3].backend: Required value: port name or number is required', 'spec.rules[0].http.paths[4].backend: Invalid value: "": resource or service backend is required'],
  ['Ingress', { spec: { rules: [{ host: '1.2.3.4' }, { host: '*.a.b' }] } }, 'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address'],
  ['Ingress', { metadata: { annotations: { 'kubernetes.io/ingress.class': 'a' } }, spec: { ingressClassName: 'b', defaultBackend: { service: { name: 's', port: { name: 'http' } } } } },
    'annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified'],
  ['IngressClass', { spec: { controller: 'a.io/c', parameters: { kind: 'K', name: 'n' } } }],
  ['IngressClass', { spec: { controller: 'c', parameters: { kind: 'K', name: '', scope: 'Namespace' } } }, 'spec.controller: Invalid value: "c": must be a domain-prefixed path (such as "acme.io/foo")',
    'spec.parameters.name: Required value: name is required', "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
  ['IPAddress', { metadata: { name: '10.0.0.1' }, spec: { parentRef: { resource: 'services', namespace: 'n', name: 's' } } }],
  ['IPAddress', { metadata: { name: '10.0.0.1' } }, 'spec.parentRef: Required value'],
  ['IPAddress', { metadata: { name: '2001:DB8::0' }, spec: { parentRef: { resource: 'services', name: 's' } } }, 'metadata.name: Invalid value: "2001:DB8::0": must be a valid IP address'],
  ['IPAddress', { metadata: { name: '2001:db8::1' }, spec: { parentRef: { resource: 'services', name: 's' } } }],
  ['ServiceCIDR', { spec: { cidrs: ['10.0.0.0/16', 'fd00::/112'] } }],
  ['ServiceCIDR', { spec: { cidrs: ['10.0.0.0/16', '10.1.0.0/16'] } }, 'spec.cidrs: Invalid value: {"cidrs":["10.0.0.0/16","10.1.0.0/16"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64'],
  ['ServiceCIDR', { spec: { cidrs: ['10.0.0.1/16', 'fd00::8/112'] } }, 'spec.cidrs[0]: Invalid value: "10.0.0.1/16": must not have bits set beyond the prefix length', 'spec.cidrs[1]: Invalid value: "fd00::8/112": must not have bits set beyond the prefix length'],
  ['EndpointSlice', SLICE],
  ['EndpointSlice', { ...SLICE, addressType: 'X' }, 'addressType: Unsupported value: "X": supported values: "FQDN", "IPv4", "IPv6"'],
  ['EndpointSlice', { ...SLICE, endpoints: [{ addresses: ['::1'] }, { addresses: ['127.0.0.1'] }, { addresses: [] }], ports: [{}, {}] },
    'endpoints[0].addresses[0]: Invalid value: "::1": must be a valid IPv4 address', 'endpoints[1].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
    'endpoints[2].addresses: Required value: must contain at least 1 address', 'ports[1].name: Duplicate value: ""'],
  ['StorageClass', { provisioner: 'a.io/p' }],
  ['StorageClass', { reclaimPolicy: 'Recycle', volumeBindingMode: 'Late', allowedTopologies: [{ matchLabelExpressions: [{ key: 'zone', values: [] }] }] },
    'provisioner: Required value', 'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"',
    'volumeBindingMode: Unsupported value: "Late": supported values: "Immediate", "WaitForFirstConsumer"', 'allowedTopologies[0].matchLabelExpressions[0].values: Required value'],
  ['VolumeAttributesClass', { driverName: 'd.io', parameters: { a: 'b' } }],
  ['VolumeAttributesClass', { driverName: 'd.io' }, 'parameters: Required value: must contain at least one key/value pair'],
  ['CSIDriver', { spec: {} }],
  ['CSIDriver', { spec: { fsGroupPolicy: 'X', tokenRequests: [{ audience: '' }, { audience: '' }, { audience: 'a', expirationSeconds: 1 }] } },
    'spec.fsGroupPolicy: Unsupported value: "X": supported values: "File", "None", "ReadWriteOnceWithFSType"', 'spec.tokenRequests[1].audience: Duplicate value: ""',
    'spec.tokenRequests[2].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes'],
  ['CSINode', { spec: { drivers: [{ name: 'd.io', nodeID: 'n' }] } }],
  ['CSINode', { spec: { drivers: [{ name: 'd.io', nodeID: '' }, { name: 'd.io', nodeID: 'n', allocatable: { count: -1 } }] } },
    'spec.drivers[0].nodeID: Required value', 'spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0', 'spec.drivers[1].name: Duplicate value: "d.io"'],
  ['CSIStorageCapacity', { storageClassName: 's', capacity: '1Gi' }],
  ['CSIStorageCapacity', { storageClassName: 's', capacity: '-1' }, 'capacity: Invalid value: "-1": must be greater than or equal to 0'],
  ['VolumeAttachment', { spec: { attacher: 'd.io', nodeName: 'n', source: { persistentVolumeName: 'v' } } }],
  ['VolumeAttachment', { spec: { attacher: '', nodeName: 'n', source: {} } }, 'spec.attacher: Required value', 'spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName'],
  ['VolumeAttachment', { spec: { attacher: 'd.io', nodeName: 'n', source: { inlineVolumeSpec: { accessModes: ['ReadWriteOnce'], csi: { driver: 'd.io', volumeHandle: 'h' } } } } }],
  ['VolumeAttachment', { spec: { attacher: 'd.io', nodeName: 'n', source: { inlineVolumeSpec: { capacity: { storage: '1Gi' }, storageClassName: 's', volumeMode: 'Block', nfs: { server: 's', path: '/p' } } } } },
    'spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes', 'spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes',
    'spec.source.inlineVolumeSpec.accessModes: Required value', 'spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes',
    'spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not be specified in the context of inline volumes'],
  ['PriorityClass', { value: 1_000_000_000 }],
  ['PriorityClass', { value: 1_000_000_001, preemptionPolicy: 'X' }, 'value: Forbidden: maximum allowed value of a user defined priority is 1000000000',
    'preemptionPolicy: Unsupported value: "X": supported values: "PreemptLowerPriority", "Never"'],
  ['PriorityClass', { metadata: { name: 'system-x' } }, "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class"],
  ['RuntimeClass', { handler: 'kata', overhead: { podFixed: { memory: '1Gi' } }, scheduling: { tolerations: [{ key: 'a', operator: 'Exists' }] } }],
  ['RuntimeClass', { handler: 'Kata' }, `handler: Invalid value: "Kata": ${LABEL}`],
  ['Lease', { spec: { leaseDurationSeconds: 10 } }],
  ['Lease', { spec: { leaseDurationSeconds: 0, preferredHolder: 'x' } }, 'spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0', 'spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined'],
  ['EventsEvent', EVENT],
  ['EventsEvent', { ...EVENT, type: 'Odd', action: undefined, deprecatedCount: 3, series: { count: 1 } }, 'action: Required value', 'type: Invalid value: "": has invalid value: Odd', 'count: Invalid value: "": needs to be unset',
    'series.count: Invalid value: "": should be at least 2', 'series.lastObservedTime: Required value'],
  ['APIService', { metadata: { name: 'v1.g.io' }, ...SERVICE }],
  ['APIService', { metadata: { name: 'v2.g.io' }, spec: { ...SERVICE.spec, versionPriority: 0, service: { name: 's' } } }, 'metadata.name: Invalid value: "v2.g.io": must be `spec.version+"."+spec.group`: "v1.g.io"',
    'spec.versionPriority: Invalid value: 0: must be positive and less than 1000', 'spec.service.namespace: Required value'],
  ['ValidatingAdmissionPolicy', POLICY],
  ['ValidatingAdmissionPolicy', { spec: { failurePolicy: 'Maybe', paramKind: { apiVersion: 'a/b/c' }, variables: [{ name: 'in', expression: '1' }] } },
    'spec.failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"', 'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c', 'spec.paramKind.kind: Required value',
    'spec.matchConstraints: Required value', 'spec.variables[0].name: Invalid value: "in": name is not a valid CEL identifier',
    'spec.validations: Required value: validations or auditAnnotations must contain at least one item', 'spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item'],
  ['ValidatingAdmissionPolicy', { spec: { ...POLICY.spec, matchConstraints: { resourceRules: [{ ...RULE, operations: ['*', 'READ'], resources: ['pods/*', 'pods/log'], scope: 'All' }] } } },
    `spec.matchConstraints.resourceRules[0].operations: Invalid value: ["*","READ"]: if '*' is present, must not specify other operations`,
    'spec.matchConstraints.resourceRules[0].operations[1]: Unsupported value: "READ": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"',
    `spec.matchConstraints.resourceRules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log`,
    'spec.matchConstraints.resourceRules[0].scope: Unsupported value: "All": supported values: "*", "Cluster", "Namespaced"'],
  ['ValidatingAdmissionPolicyBinding', BINDING],
  ['ValidatingAdmissionPolicyBinding', { spec: { policyName: 'p', validationActions: ['Deny', 'Warn', 'Deny'], paramRef: { name: 'a', selector: {} } } },
    'spec.paramRef.name: Forbidden: name and selector are mutually exclusive', 'spec.paramRef.selector: Forbidden: name and selector are mutually exclusive', 'spec.validationActions[2]: Duplicate value: "Deny"',
    'spec.validationActions: Invalid value: ["Deny","Warn","Deny"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)'],
  ['DeviceClass', { spec: { selectors: [{ cel: { expression: 'true' } }] } }],
  ['DeviceClass', { spec: { selectors: [{}], config: [{ opaque: { driver: 'd.io' } }] } }, 'spec.selectors[0].cel: Required value', 'spec.config[0].opaque.parameters: Required value'],
  ['ResourceResourceClaim', CLAIM],
  ['ResourceResourceClaim', { spec: { devices: { requests: [{ name: 'r' }, { name: 'r', exactly: { deviceClassName: '', allocationMode: 'All', count: 2 } }], constraints: [{ requests: ['q'], matchAttribute: 'x' }] } } },
    'spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required', 'spec.devices.requests[1].exactly.deviceClassName: Required value',
    "spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'", 'spec.devices.requests[1]: Duplicate value: "r"',
    `spec.devices.constraints[0].requests[0]: Invalid value: "q": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`,
    'spec.devices.constraints[0].matchAttribute: Invalid value: "x": a fully qualified name must be a domain and a name separated by a slash'],
  ['ResourceClaimTemplate', { spec: { spec: CLAIM.spec } }],
  ['ResourceSlice', DEVICES],
  ['ResourceSlice', { spec: { ...DEVICES.spec, allNodes: true, devices: [{ name: 'a', attributes: { v: { version: '1' }, w: {} } }] } },
    'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set',
    'spec.devices[0].attributes[v].version: Invalid value: "1": must be a string compatible with semver.org spec 2.0.0', 'spec.devices[0].attributes[w]: Invalid value: "": exactly one value must be specified'],
  ['ResourceSlice', sharing({ default: '1Gi', validValues: ['1Gi', '2Gi'] })],
  ['ResourceSlice', sharing({ default: '2Gi', validRange: { min: '1Gi', max: '4Gi', step: '1Gi' } })],
  ['ResourceSlice', sharing({ default: '3Gi', validValues: ['2Gi', '1Gi', '1Gi', '9Gi'] }), `${POLICIED}.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order`,
    `${POLICIED}.validValues[3]: Invalid value: "9Gi": option is larger than capacity value: 8Gi`, `${POLICIED}.validValues[2]: Duplicate value: "1073741824"`, `${POLICIED}.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy`],
  ['ResourceSlice', sharing({ validValues: ['1Gi'] }), `${POLICIED}.default: Required value: required when validValues is defined`],
  ['ResourceSlice', sharing({ default: '1Gi', validRange: { step: '1Gi' } }), `${POLICIED}.validRange.min: Required value: required when validRange is defined`],
  ['ResourceSlice', sharing({ default: '500Mi', validRange: { min: '1Gi', max: '9Gi', step: '8Gi' } }), `${POLICIED}.validRange.min: Invalid value: "500Mi": default is less than min: 1Gi`,
    `${POLICIED}.validRange.max: Invalid value: "9Gi": max is larger than capacity value: 8Gi`, `${POLICIED}.validRange.step: Invalid value: "8Gi": one step 9Gi is larger than capacity value: 8Gi`,
    `${POLICIED}.validRange.step: Invalid value: "500Mi": value is not a multiple of a given step (8Gi) from (1Gi)`],
  ['ResourceSlice', sharing({ default: '1Gi', validValues: ['1Gi'], validRange: { min: '1Gi' } }), `${POLICIED}: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`],
  ['ResourceSlice', sharing({}, { allowMultipleAllocations: false, bindingConditions: ['a', 'a'], bindingFailureConditions: ['a'] }), `${POLICIED}: Forbidden: allowMultipleAllocations must be true`,
    'spec.devices[0].bindingConditions[1]: Duplicate value: "a"', 'spec.devices[0].bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions'],
  ['ResourceSlice', sharing({}, { bindingConditions: ['a'] }), 'spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions'],
  ['FlowSchema', FLOW],
  ['FlowSchema', { spec: { matchingPrecedence: 1, priorityLevelConfiguration: {}, rules: [{ subjects: [{ kind: 'User' }] }] } },
    "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1", 'spec.priorityLevelConfiguration.name: Required value: must reference a priority level',
    "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'", 'spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty'],
  ['PriorityLevelConfiguration', { spec: LIMITED }],
  ['PriorityLevelConfiguration', { spec: { type: 'Exempt' } }, "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"],
]

test('new objects are judged by kind, in the words of Kubernetes', () => {
  for (const [kind, body, ...said] of CREATES) {
    const found = created(kind, body)
    assert.equal(found.length, said.length, `${kind}: ${found.join('\n')}`)
    for (const [i, text] of said.entries()) assert.ok(found[i]?.startsWith(text), `${kind}: ${found[i]}\nnot ${text}`)
  }
})

const IMMUTABLE = 'field is immutable'
/** Kind, what it becomes, what it was, what is said of that. */
const UPDATES: readonly (readonly [Kind, Body, Body, ...string[]])[] = [
  ['RoleBinding', { roleRef: { kind: 'Role', name: 'b' } }, { roleRef: { kind: 'Role', name: 'a' } }, 'roleRef: Invalid value: {"kind":"Role","name":"b","apiGroup":"rbac.authorization.k8s.io"}: cannot change roleRef'],
  ['IngressClass', { spec: { controller: 'a.io/d' } }, { spec: { controller: 'a.io/c' } }, `spec.controller: Invalid value: "a.io/d": ${IMMUTABLE}`],
  ['EndpointSlice', { ...SLICE, addressType: 'IPv6', endpoints: [] }, SLICE, `addressType: Invalid value: "IPv6": ${IMMUTABLE}`],
  ['StorageClass', { provisioner: 'q', parameters: { a: 'b' }, volumeBindingMode: 'WaitForFirstConsumer' }, { provisioner: 'p' }, 'parameters: Forbidden: updates to parameters are forbidden.',
    'provisioner: Forbidden: updates to provisioner are forbidden.', `volumeBindingMode: Invalid value: "WaitForFirstConsumer": ${IMMUTABLE}`],
  ['CSIDriver', { spec: { attachRequired: false } }, { spec: {} }, `spec.attachedRequired: Invalid value: false: ${IMMUTABLE}`],
  ['CSINode', { spec: { drivers: [{ name: 'd.io', nodeID: 'n', allocatable: { count: 3 } }] } }, { spec: { drivers: [{ name: 'd.io', nodeID: 'n' }] } }],
  ['PriorityClass', { value: 2 }, { value: 1 }, 'value: Forbidden: may not be changed in an update.'],
  ['RuntimeClass', { handler: 'b' }, { handler: 'a' }, `handler: Invalid value: "b": ${IMMUTABLE}`],
  ['ResourceResourceClaim', { spec: { devices: {} } }, CLAIM, `spec: Invalid value: {"devices":{}}: ${IMMUTABLE}`],
  ['EventsEvent', { ...EVENT, reason: 's' }, EVENT, `reason: Invalid value: "s": ${IMMUTABLE}`],
  ['ServiceCIDR', { spec: { cidrs: ['10.1.0.0/16'] } }, { spec: { cidrs: ['10.0.0.0/16'] } }, `spec.cidrs: Invalid value: ["10.1.0.0/16"]: ${IMMUTABLE}`],
]

test('updates are judged by kind', () => {
  for (const [kind, next, old, ...said] of UPDATES) assert.deepEqual(updated(kind, next, old), said, kind)
})

test('what drivers say of allocated devices is judged through the status', () => {
  const allocation = { devices: { results: [{ request: 'r', driver: 'd.io', pool: 'p', device: 'one' }], config: [] } }
  const named = { driver: 'd.io', pool: 'p', device: 'one' }
  const ready = { type: 'Ready', status: 'True', reason: 'Up', message: '', lastTransitionTime: '2026-01-01T00:00:00Z' }
  const said = (status: object): string[] => updated('ResourceResourceClaim', { ...CLAIM, status }, CLAIM, 'status')
  assert.deepEqual(said({ allocation, devices: [{ ...named, conditions: [ready], data: { a: 1 }, networkData: { interfaceName: 'eth1', ips: ['10.9.8.7/24', '2001:db8::1/64'] } }] }), [])
  assert.deepEqual(said({ allocation, devices: [named, { ...named, device: 'two' }, named] }), ['status.devices[1]: Invalid value: d.io/p/two: must be an allocated device in the claim', 'status.devices[2]: Duplicate value: "d.io/p/one"'])
  assert.deepEqual(said({ allocation, devices: [{ ...named, conditions: [{ type: 'Ready', status: 'Maybe', reason: '1' }, { ...ready, reason: '' }], data: [1], networkData: { interfaceName: 'x'.repeat(257), ips: ['10.9.8.7'] } }] }).map((text) => text.slice(0, 100)), [
    'status.devices[0].conditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"'.slice(0, 100),
    'status.devices[0].conditions[0].lastTransitionTime: Required value: must be set',
    'status.devices[0].conditions[0].reason: Invalid value: "1": a condition reason must start with alphabetic character'.slice(0, 100),
    'status.devices[0].conditions[1].reason: Required value: must be set',
    'status.devices[0].conditions[1].type: Duplicate value: "Ready"',
    'status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object',
    'status.devices[0].networkData.interfaceName: Too long: may not be more than 256 bytes',
    'status.devices[0].networkData.ips[0]: Invalid value: "10.9.8.7": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)'.slice(0, 100),
  ])
  const odd = { devices: { results: [{ ...allocation.devices.results[0], request: 'q', shareID: 'X' }], config: [{ source: 'Else', opaque: { driver: 'd.io', parameters: {} } }] } }
  assert.deepEqual(said({ allocation: odd }), [
    `status.allocation.devices.results[0].request: Invalid value: "q": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`,
    'status.allocation.devices.results[0].shareID: Invalid value: "X": uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters',
    'status.allocation.devices.config[0].source: Unsupported value: "Else": supported values: "FromClaim", "FromClass"',
  ])
})

test('each door of a certificate request writes its own part, once', () => {
  const approved = decided(condition('Approved'))
  const issued = (type = 'CERTIFICATE'): Body => ({ ...approved, status: { conditions: [condition('Approved')], certificate: pem(type) } })
  const other = { ...issued(), status: { conditions: [condition('Approved')], certificate: btoa(`${atob(pem('CERTIFICATE'))}\n`) } }
  const at = 'status.conditions'
  const cases: readonly (readonly [Body, Body, string, ...string[]])[] = [
    [approved, CSR, 'approval'],
    [approved, CSR, 'status', `${at}: Forbidden: updates may not add a condition of type "Approved"`],
    [CSR, approved, 'approval', `${at}: Forbidden: updates may not remove a condition of type "Approved"`],
    [decided(condition('Approved'), condition('Denied')), approved, 'approval', `${at}: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive`],
    [decided(condition('Approved', 'False')), CSR, 'approval', `${at}[0].status: Unsupported value: "False": supported values: "True"`],
    [decided(condition('Approved'), condition('Failed')), approved, 'status'],
    [issued(), approved, 'status'],
    [issued('PRIVATE KEY'), approved, 'status', 'status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found "PRIVATE KEY"'],
    [issued(), approved, 'approval', 'status.certificate: Forbidden: updates may not set certificate content'],
    [other, issued(), 'status', 'status.certificate: Forbidden: updates may not modify existing certificate content'],
  ]
  for (const [next, old, door, ...said] of cases) assert.deepEqual(updated('CertificateSigningRequest', next, old, door), said)
})

test('the status door of a claim keeps what was allocated', () => {
  const with_ = (status: object): Body => ({ ...CLAIM, status })
  const allocation = { devices: { results: [{ request: 'r', driver: 'd.io', pool: 'p', device: 'a' }] } }
  assert.deepEqual(updated('ResourceResourceClaim', with_({ allocation, reservedFor: [{ resource: 'pods', name: 'p', uid: 'u' }] }), CLAIM, 'status'), [])
  assert.deepEqual(updated('ResourceResourceClaim', with_({ reservedFor: [{ resource: 'pods', name: 'p', uid: 'u' }] }), CLAIM, 'status'), ['status.reservedFor: Forbidden: may not be specified when `allocated` is not set'])
  assert.deepEqual(updated('ResourceResourceClaim', with_({ allocation: { devices: {} } }), with_({ allocation }), 'status'), [`status.allocation: Invalid value: {"devices":{}}: ${IMMUTABLE}`])
})
