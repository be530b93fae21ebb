import { test } from 'node:test'
import { KINDS } from '../kinds.ts'
import { refuses, type Case, type Changes } from '../../../test/kit/kinds.ts'

const POD = { spec: { containers: [{ name: 'c', image: 'i' }] } }
const C = 'spec.containers[0]'
const LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
const SUBDOMAIN =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
const QUALIFIED =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
const GE0 = 'must be greater than or equal to 0'
const PORT = 'must be between 1 and 65535, inclusive'
const volume = (source: object): object => ({ name: 'v', ...source })
const V = 'spec.volumes[0]'
const with_ = (key: string, value: unknown): Changes => ({ [`spec.${key}`]: value })

/** Everything that a pod can say at once without contradicting itself. */
const FULL = {
  metadata: { labels: { app: 'a' }, annotations: { 'example.com/x': 'y' } },
  spec: {
    activeDeadlineSeconds: 100, automountServiceAccountToken: false, dnsPolicy: 'None', enableServiceLinks: false, hostname: 'h', subdomain: 's', setHostnameAsFQDN: true,
    dnsConfig: { nameservers: ['10.0.0.10'], searches: ['svc.local'], options: [{ name: 'ndots', value: '2' }] },
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'k', operator: 'Gt', values: ['1'] }], matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n'] }] }] },
        preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, preference: { matchExpressions: [{ key: 'k', operator: 'Exists' }] } }],
      },
      podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'zone', labelSelector: { matchLabels: { a: 'b' } }, namespaces: ['n'], namespaceSelector: {}, mismatchLabelKeys: ['x'] }] },
      podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: { topologyKey: 'zone', labelSelector: {} } }] },
    },
    tolerations: [{ key: 'k', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 10 }, { operator: 'Exists' }],
    topologySpreadConstraints: [{ maxSkew: 1, minDomains: 2, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule', labelSelector: {}, nodeAffinityPolicy: 'Honor', nodeTaintsPolicy: 'Ignore', matchLabelKeys: ['app'] }],
    securityContext: {
      runAsUser: 1, runAsGroup: 2, runAsNonRoot: true, fsGroup: 3, fsGroupChangePolicy: 'OnRootMismatch', supplementalGroups: [4], supplementalGroupsPolicy: 'Strict',
      sysctls: [{ name: 'kernel.shm_rmid_forced', value: '0' }], seccompProfile: { type: 'Localhost', localhostProfile: 'p.json' }, appArmorProfile: { type: 'RuntimeDefault' }, seLinuxOptions: { level: 's0' },
    },
    hostAliases: [{ ip: '10.0.0.1', hostnames: ['h'] }], imagePullSecrets: [{ name: 's' }], nodeSelector: { a: 'b' }, os: { name: 'linux' }, preemptionPolicy: 'Never',
    readinessGates: [{ conditionType: 'example.com/ready' }], schedulingGates: [{ name: 'example.com/gate' }], serviceAccountName: 'default', shareProcessNamespace: true,
    restartPolicy: 'OnFailure', terminationGracePeriodSeconds: 5, overhead: { cpu: '10m' }, runtimeClassName: 'r', schedulerName: 'x',
    resourceClaims: [{ name: 'gpu', resourceClaimName: 'claim' }],
    initContainers: [
      { name: 'i', image: 'i', command: ['x'] },
      { name: 'side', image: 'i', restartPolicy: 'Always', readinessProbe: { httpGet: { path: '/', port: 'http' } }, lifecycle: { preStop: { sleep: { seconds: 1 } } } },
    ],
    containers: [
      {
        name: 'c', image: 'i', args: ['x'], workingDir: '/w', tty: true, stdin: true, stdinOnce: true, terminationMessagePath: '/m', terminationMessagePolicy: 'FallbackToLogsOnError', imagePullPolicy: 'Always',
        env: [
          { name: 'A', value: '1' }, { name: 'B', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } }, { name: 'C', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
          { name: 'D', valueFrom: { configMapKeyRef: { name: 'm', key: 'k', optional: true } } }, { name: 'E', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } },
        ],
        envFrom: [{ prefix: 'P_', configMapRef: { name: 'm' } }, { secretRef: { name: 's' } }],
        ports: [{ name: 'http', containerPort: 80, hostPort: 8080, hostIP: '127.0.0.1', protocol: 'TCP' }],
        resources: { limits: { cpu: '1', memory: '1Gi', 'example.com/dev': '1', 'hugepages-2Mi': '2Mi' }, requests: { cpu: '500m', 'ephemeral-storage': '1Gi' }, claims: [{ name: 'gpu' }] },
        resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }],
        livenessProbe: { exec: { command: ['x'] }, terminationGracePeriodSeconds: 3 }, readinessProbe: { tcpSocket: { port: 80 }, successThreshold: 2 }, startupProbe: { grpc: { port: 80, service: 's' } },
        lifecycle: { postStart: { exec: { command: ['x'] } }, preStop: { httpGet: { path: '/', port: 80, scheme: 'HTTPS', httpHeaders: [{ name: 'X-A', value: '1' }] } } },
        securityContext: { capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] }, allowPrivilegeEscalation: true, privileged: true, procMount: 'Default', readOnlyRootFilesystem: true, runAsUser: 5 },
        volumeMounts: [{ name: 'v', mountPath: '/v', subPath: 'a/b', readOnly: true, recursiveReadOnly: 'IfPossible' }, { name: 'w', mountPath: '/w', mountPropagation: 'HostToContainer', subPathExpr: '$(A)' }],
        volumeDevices: [{ name: 'b', devicePath: '/dev/x' }],
      },
    ],
    volumes: [
      { name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } }, { name: 'w', hostPath: { path: '/w', type: 'DirectoryOrCreate' } }, { name: 'b', persistentVolumeClaim: { claimName: 'b' } },
      { name: 'p', projected: { defaultMode: 0o440, sources: [{ serviceAccountToken: { path: 't', expirationSeconds: 600 } }, { configMap: { name: 'm', items: [{ key: 'k', path: 'p', mode: 0o400 }] } }, { downwardAPI: { items: [{ path: 'l', fieldRef: { fieldPath: 'metadata.labels' } }] } }] } },
      { name: 'e', ephemeral: { volumeClaimTemplate: { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } } } },
      { name: 'o', image: { reference: 'r', pullPolicy: 'Never' } }, { name: 'x', csi: { driver: 'd.example.com', volumeAttributes: { a: 'b' } } }, { name: 'n', nfs: { server: 's', path: '/p' } },
    ],
  },
}

test('a small pod and one that says everything are right', () => {
  refuses(KINDS.Pod, POD, [])
  refuses(KINDS.Pod, FULL, [])
})

test('what a pod says of itself', () => {
  const cases: Case[] = [
    [{ 'spec.containers': [] }, 'spec.containers: Required value'],
    [with_('activeDeadlineSeconds', 0), 'spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive'],
    [with_('restartPolicy', 'Often'), 'spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "OnFailure", "Never"'],
    [with_('dnsPolicy', 'Nope'), 'spec.dnsPolicy: Unsupported value: "Nope": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"'],
    [with_('dnsPolicy', 'None'), 'spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None'],
    [{ ...with_('dnsPolicy', 'None'), 'spec.dnsConfig': {} }, 'spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None'],
    [with_('dnsConfig', { nameservers: ['1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'] }), 'spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","2.2.2.2","3.3.3.3","4.4.4.4"]: must not have more than 3 nameservers'],
    [with_('dnsConfig', { nameservers: ['x'] }), 'spec.dnsConfig.nameservers[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
    [with_('dnsConfig', { options: [{ value: '1' }] }), 'spec.dnsConfig.options[0]: Required value: must not be empty'],
    [with_('hostname', 'A'), `spec.hostname: Invalid value: "A": ${LABEL}`],
    [with_('subdomain', 'a.b'), 'spec.subdomain: Invalid value: "a.b": must not contain dots'],
    [with_('serviceAccountName', 'A'), `spec.serviceAccountName: Invalid value: "A": ${SUBDOMAIN}`],
    [with_('nodeName', 'A'), `spec.nodeName: Invalid value: "A": ${SUBDOMAIN}`],
    [with_('nodeSelector', { 'a b': 'c' }), `spec.nodeSelector: Invalid value: "a b": ${QUALIFIED}`],
    [with_('runtimeClassName', 'A'), `spec.runtimeClassName: Invalid value: "A": ${SUBDOMAIN}`],
    [with_('priorityClassName', 'A'), `spec.priorityClassName: Invalid value: "A": ${SUBDOMAIN}`],
    [with_('preemptionPolicy', 'X'), 'spec.preemptionPolicy: Unsupported value: "X": supported values: "PreemptLowerPriority", "Never"'],
    [with_('overhead', { cpu: '-1' }), 'spec.overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
    [with_('readinessGates', [{ conditionType: 'a b' }]), `spec.readinessGates[0].conditionType: Invalid value: "a b": ${QUALIFIED}`],
    [with_('schedulingGates', [{ name: 'a' }, { name: 'a' }]), 'spec.schedulingGates[1]: Duplicate value: "a"'],
    [{ ...with_('schedulingGates', [{ name: 'a' }]), ...with_('nodeName', 'n') }, 'spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared'],
    [with_('os', {}), 'spec.os.name: Required value: cannot be empty'],
    [with_('os', { name: 'plan9' }), 'spec.os: Unsupported value: "plan9": supported values: "linux", "windows"'],
    [{ ...with_('os', { name: 'linux' }), 'spec.securityContext': { windowsOptions: {} } }, 'spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod'],
    [
      { ...with_('os', { name: 'windows' }), 'spec.hostPID': true, [`${C}.securityContext`]: { privileged: true } },
      ['spec.hostPID: Forbidden: cannot be set for a windows pod', `${C}.securityContext.privileged: Forbidden: cannot be set for a windows pod`],
    ],
    [{ 'spec.hostPID': true, 'spec.shareProcessNamespace': true }, 'spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled'],
    [{ 'spec.hostNetwork': true, [`${C}.ports`]: [{ containerPort: 80, hostPort: 81 }] }, `${C}.ports[0].hostPort: Invalid value: 81: must match \`containerPort\` when \`hostNetwork\` is true`],
    [{ 'spec.hostUsers': false, 'spec.hostIPC': true }, 'spec.HostIPC: Forbidden: when `hostUsers` is false'],
    [with_('hostAliases', [{ ip: 'x', hostnames: ['A'] }]), ['spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)', `spec.hostAliases[0].hostnames[0]: Invalid value: "A": ${SUBDOMAIN}`]],
    [with_('ephemeralContainers', [{ name: 'd', image: 'i' }]), 'spec.ephemeralContainers: Forbidden: cannot be set on create'],
    [with_('resourceClaims', [{ name: 'a' }]), 'spec.resourceClaims[0]: Invalid value: {"name":"a"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`'],
    [with_('terminationGracePeriodSeconds', -1), []],
    [{ 'metadata.annotations': { 'kubernetes.io/config.mirror': 'x' } }, 'metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set'],
  ]
  refuses(KINDS.Pod, POD, cases)
})

test('where a pod may run', () => {
  const node = 'spec.affinity.nodeAffinity'
  const terms = `${node}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms`
  const affinity = 'spec.affinity.podAffinity'
  const spread = 'spec.topologySpreadConstraints'
  const one = { maxSkew: 1, topologyKey: 'z', whenUnsatisfiable: 'DoNotSchedule', labelSelector: {} }
  const term = (more: object): Changes => ({ [`${affinity}.requiredDuringSchedulingIgnoredDuringExecution`]: [{ topologyKey: 'z', labelSelector: {}, ...more }] })
  const t = `${affinity}.requiredDuringSchedulingIgnoredDuringExecution[0]`
  const cases: Case[] = [
    [{ [terms]: [] }, `${terms}: Required value: must have at least one node selector term`],
    [{ [terms]: [{ matchExpressions: [{ key: 'k', operator: 'In' }] }] }, `${terms}[0].matchExpressions[0].values: Required value: must be specified when \`operator\` is 'In' or 'NotIn'`],
    [{ [terms]: [{ matchExpressions: [{ key: 'k', operator: 'Exists', values: ['v'] }] }] }, `${terms}[0].matchExpressions[0].values: Forbidden: may not be specified when \`operator\` is 'Exists' or 'DoesNotExist'`],
    [{ [terms]: [{ matchExpressions: [{ key: 'k', operator: 'Gt', values: ['1', '2'] }] }] }, `${terms}[0].matchExpressions[0].values: Required value: must be specified single value when \`operator\` is 'Lt' or 'Gt'`],
    [{ [terms]: [{ matchExpressions: [{ key: 'k', operator: 'Is' }] }] }, `${terms}[0].matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`],
    [{ [terms]: [{ matchFields: [{ key: 'metadata.uid', operator: 'In', values: ['n'] }] }] }, `${terms}[0].matchFields[0].key: Invalid value: "metadata.uid": not a valid field selector key`],
    [{ [`${node}.preferredDuringSchedulingIgnoredDuringExecution`]: [{ weight: 0, preference: {} }] }, `${node}.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100`],
    [term({ topologyKey: '' }), [`${t}.topologyKey: Required value: can not be empty`, `${t}.topologyKey: Invalid value: "": name part must be non-empty`, `${t}.topologyKey: Invalid value: "": ${QUALIFIED}`]],
    [term({ labelSelector: { matchExpressions: [{ key: 'k', operator: 'Is' }] } }), `${t}.labelSelector.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`],
    [term({ namespaces: ['A'] }), `${t}.namespace: Invalid value: "A": ${LABEL}`],
    [term({ matchLabelKeys: ['a'], labelSelector: undefined }), `${t}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set`],
    [term({ matchLabelKeys: ['a'], mismatchLabelKeys: ['a'] }), `${t}.matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys`],
    [{ 'spec.tolerations': [{ key: 'k', operator: 'Exists', value: 'v' }] }, "spec.tolerations[0].operator: Invalid value: \"v\": value must be empty when `operator` is 'Exists'"],
    [{ 'spec.tolerations': [{ operator: 'Equal', value: 'v' }] }, 'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"'],
    [{ 'spec.tolerations': [{ key: 'k', operator: 'Is' }] }, 'spec.tolerations[0].operator: Unsupported value: "Is": supported values: "Equal", "Exists"'],
    [{ 'spec.tolerations': [{ key: 'k', effect: 'Never' }] }, 'spec.tolerations[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'],
    [{ 'spec.tolerations': [{ key: 'k', effect: 'NoSchedule', tolerationSeconds: 1 }] }, "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"],
    [{ [spread]: [{ ...one, maxSkew: 0 }] }, `${spread}[0].maxSkew: Invalid value: 0: must be greater than zero`],
    [{ [spread]: [{ ...one, topologyKey: '' }] }, `${spread}[0].topologyKey: Required value: can not be empty`],
    [{ [spread]: [{ ...one, whenUnsatisfiable: 'X' }] }, `${spread}[0].whenUnsatisfiable: Unsupported value: "X": supported values: "DoNotSchedule", "ScheduleAnyway"`],
    [{ [spread]: [{ ...one, minDomains: 0 }] }, `${spread}[0].minDomains: Invalid value: 0: must be greater than zero`],
    [{ [spread]: [{ ...one, minDomains: 2, whenUnsatisfiable: 'ScheduleAnyway' }] }, `${spread}[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway`],
    [{ [spread]: [one, one] }, `${spread}[0].{topologyKey, whenUnsatisfiable}: Duplicate value: "{z, DoNotSchedule}"`],
    [{ [spread]: [{ ...one, nodeTaintsPolicy: 'X' }] }, `${spread}[0].nodeTaintsPolicy: Unsupported value: "X": supported values: "Honor", "Ignore"`],
  ]
  refuses(KINDS.Pod, POD, cases)
})

test('what a container says', () => {
  const c = (key: string, value: unknown): Changes => ({ [`${C}.${key}`]: value })
  const probe = (more: object): Changes => c('livenessProbe', { exec: { command: ['x'] }, ...more })
  const P = `${C}.livenessProbe`
  const cases: Case[] = [
    [c('name', undefined), `${C}.name: Required value`],
    [c('name', 'A'), `${C}.name: Invalid value: "A": ${LABEL}`],
    [c('image', undefined), `${C}.image: Required value`],
    [c('image', ' i'), `${C}.image: Invalid value: " i": must not have leading or trailing whitespace`],
    [{ 'spec.containers[1]': { name: 'c', image: 'i' } }, 'spec.containers[1].name: Duplicate value: "c"'],
    [{ 'spec.initContainers': [{ name: 'c', image: 'i' }] }, 'spec.initContainers[0].name: Duplicate value: "c"'],
    [c('imagePullPolicy', 'Sometimes'), `${C}.imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`],
    [c('terminationMessagePolicy', 'X'), `${C}.terminationMessagePolicy: Unsupported value: "X": supported values: "File", "FallbackToLogsOnError"`],
    [c('ports', [{}]), `${C}.ports[0].containerPort: Required value`],
    [c('ports', [{ containerPort: 70000 }]), `${C}.ports[0].containerPort: Invalid value: 70000: ${PORT}`],
    [c('ports', [{ containerPort: 1, protocol: 'X' }]), `${C}.ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`],
    [c('ports', [{ containerPort: 1, name: 'toolongportname-x' }]), `${C}.ports[0].name: Invalid value: "toolongportname-x": must be no more than 15 characters`],
    [c('ports', [{ containerPort: 1, name: 'a' }, { containerPort: 2, name: 'a' }]), `${C}.ports[1].name: Duplicate value: "a"`],
    [{ [`${C}.ports`]: [{ containerPort: 1, hostPort: 5 }], 'spec.containers[1]': { name: 'd', image: 'i', ports: [{ containerPort: 2, hostPort: 5 }] } }, 'spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//5"'],
    [c('env', [{ name: '' }]), `${C}.env[0].name: Required value`],
    [c('env', [{ name: 'A', value: 'x', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }]), `${C}.env[0].valueFrom: Invalid value: "": may not be specified when \`value\` is not empty`],
    [c('env', [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'spec.hostname' } } }]), `${C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.hostname": error converting fieldPath: field label not supported: spec.hostname`],
    [c('env', [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'm' } } }]), `${C}.env[0].valueFrom.configMapKeyRef.key: Required value`],
    [c('env', [{ name: 'A', valueFrom: { resourceFieldRef: { resource: 'limits.disk' } } }]), `${C}.env[0].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"`],
    [c('envFrom', [{}]), `${C}.envFrom: Invalid value: "": must specify one of: \`configMapRef\` or \`secretRef\``],
    [c('resources', { limits: { cpu: '1' }, requests: { cpu: '2' } }), `${C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`],
    [c('resources', { limits: { cpu: '-1' } }), [`${C}.resources.limits[cpu]: Invalid value: "-1": ${GE0}`, `${C}.resources.requests[cpu]: Invalid value: "-1": ${GE0}`]],
    [c('resources', { limits: { disk: '1' } }), ['limits', 'requests'].flatMap((r) => [`${C}.resources.${r}[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`, `${C}.resources.${r}[disk]: Invalid value: "disk": must be a standard resource for containers`])],
    [c('resources', { requests: { 'example.com/dev': '1' } }), `${C}.resources.limits: Required value: Limit must be set for non overcommitable resources`],
    [c('resources', { limits: { 'example.com/dev': '1500m' } }), ['limits', 'requests'].map((r) => `${C}.resources.${r}[example.com/dev]: Invalid value: "1500m": must be an integer`)],
    [c('resources', { limits: { 'example.com/dev': '2' }, requests: { 'example.com/dev': '1' } }), `${C}.resources.requests: Invalid value: "1": must be equal to example.com/dev limit of 2`],
    [c('resources', { limits: { 'hugepages-2Mi': '2Mi' } }), `${C}.resources: Forbidden: HugePages require cpu or memory`],
    [c('resources', { claims: [{ name: 'x' }] }), `${C}.resources.claims[0]: Not found: "x": must be one of the names in pod.spec.resourceClaims which is empty`],
    [c('resizePolicy', [{ resourceName: 'disk', restartPolicy: 'X' }]), [`${C}.resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"`, `${C}.resizePolicy: Unsupported value: "X": supported values: "NotRequired", "RestartContainer"`]],
    [probe({ exec: undefined }), `${P}: Required value: must specify a handler type`],
    [probe({ tcpSocket: { port: 1 } }), `${P}.tcpSocket: Forbidden: may not specify more than 1 handler type`],
    [probe({ exec: { command: [] } }), `${P}.exec.command: Required value`],
    [probe({ exec: undefined, httpGet: { port: 0 } }), `${P}.httpGet.port: Invalid value: 0: ${PORT}`],
    [probe({ exec: undefined, httpGet: { port: 1, scheme: 'FTP' } }), `${P}.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"`],
    [probe({ periodSeconds: -1 }), `${P}.periodSeconds: Invalid value: -1: ${GE0}`],
    [probe({ successThreshold: 2 }), `${P}.successThreshold: Invalid value: 2: must be 1`],
    [probe({ terminationGracePeriodSeconds: 0 }), `${P}.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0`],
    [c('readinessProbe', { exec: { command: ['x'] }, terminationGracePeriodSeconds: 1 }), `${C}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes`],
    [c('lifecycle', { preStop: {} }), `${C}.lifecycle.preStop: Required value: must specify a handler type`],
    [c('lifecycle', { preStop: { sleep: { seconds: 60 } } }), `${C}.lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than terminationGracePeriodSeconds (30)`],
    [{ 'spec.initContainers': [{ name: 'i', image: 'i', livenessProbe: { exec: { command: ['x'] } }, lifecycle: { preStop: { exec: { command: ['x'] } } } }] }, ['spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always', 'spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always']],
    [{ 'spec.initContainers': [{ name: 'i', image: 'i', restartPolicy: 'X' }] }, 'spec.initContainers[0].restartPolicy: Unsupported value: "X": supported values: "Always", "Never", "OnFailure"'],
    [c('volumeMounts', [{ name: 'x', mountPath: '/x' }]), `${C}.volumeMounts[0].name: Not found: "x"`],
  ]
  refuses(KINDS.Pod, POD, cases)
})

test('what a container may, and where its volumes are', () => {
  const base = { spec: { containers: [{ name: 'c', image: 'i' }], volumes: [{ name: 'v', emptyDir: {} }, { name: 'b', persistentVolumeClaim: { claimName: 'b' } }] } }
  const c = (key: string, value: unknown): Changes => ({ [`${C}.${key}`]: value })
  const mount = (more: object): Changes => c('volumeMounts', [{ name: 'v', mountPath: '/v', ...more }])
  const M = `${C}.volumeMounts[0]`
  const S = `${C}.securityContext`
  const cases: Case[] = [
    [mount({ mountPath: '' }), `${M}.mountPath: Required value`],
    [c('volumeMounts', [{ name: 'v', mountPath: '/v' }, { name: 'v', mountPath: '/v' }]), `${C}.volumeMounts[1].mountPath: Invalid value: "/v": must be unique`],
    [mount({ subPath: '/a' }), `${C}.volumeMounts.subPath: Invalid value: "/a": must be a relative path`],
    [mount({ subPath: 'a/../b' }), `${C}.volumeMounts.subPath: Invalid value: "a/../b": must not contain '..'`],
    [mount({ subPath: 'a', subPathExpr: 'b' }), `${M}.subPathExpr: Invalid value: "b": subPathExpr and subPath are mutually exclusive`],
    [mount({ mountPropagation: 'X' }), `${C}.volumeMounts.mountPropagation: Unsupported value: "X": supported values: "Bidirectional", "HostToContainer", "None"`],
    [mount({ mountPropagation: 'Bidirectional' }), `${C}.volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers`],
    [mount({ recursiveReadOnly: 'Enabled' }), `${C}.volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true`],
    [c('volumeDevices', [{ name: 'b', devicePath: '' }]), `${C}.volumeDevices[0].devicePath: Required value`],
    [c('volumeDevices', [{ name: 'v', devicePath: '/d' }]), `${C}.volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode`],
    [{ [`${C}.volumeDevices`]: [{ name: 'b', devicePath: '/d' }], [`${C}.volumeMounts`]: [{ name: 'b', mountPath: '/d' }] }, [`${C}.volumeMounts[0].name: Invalid value: "b": must not already exist in volumeDevices`, `${C}.volumeMounts[0].mountPath: Invalid value: "/d": must not already exist as a path in volumeDevices`, `${C}.volumeDevices[0].name: Invalid value: "b": must not already exist in volumeMounts`, `${C}.volumeDevices[0].devicePath: Invalid value: "/d": must not already exist as a path in volumeMounts`]],
    [c('securityContext', { runAsUser: -1 }), `${S}.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive`],
    [c('securityContext', { procMount: 'X' }), `${S}.procMount: Unsupported value: "X": supported values: "Default", "Unmasked"`],
    [c('securityContext', { allowPrivilegeEscalation: false, privileged: true }), `${S}: Invalid value: {"allowPrivilegeEscalation":false,"privileged":true}: cannot set \`allowPrivilegeEscalation\` to false and \`privileged\` to true`],
    [c('securityContext', { seccompProfile: { type: 'Localhost' } }), `${S}.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost`],
    [c('securityContext', { seccompProfile: { type: 'X' } }), `${S}.seccompProfile.type: Unsupported value: "X": supported values: "Localhost", "RuntimeDefault", "Unconfined"`],
    [c('securityContext', { appArmorProfile: { type: 'Localhost' } }), `${S}.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost`],
    [{ 'spec.securityContext': { fsGroup: -1 } }, 'spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive'],
    [{ 'spec.securityContext': { supplementalGroups: [-1] } }, 'spec.securityContext.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive'],
    [{ 'spec.securityContext': { fsGroupChangePolicy: 'X' } }, 'spec.securityContext.fsGroupChangePolicy: Unsupported value: "X": supported values: "Always", "OnRootMismatch"'],
    [{ 'spec.securityContext': { sysctls: [{ name: 'a', value: '1' }, { name: 'a', value: '2' }] } }, 'spec.securityContext.sysctls[1].name: Duplicate value: "a"'],
    [{ 'spec.securityContext': { sysctls: [{ name: 'kernel.shmmax', value: '1' }] }, 'spec.hostIPC': true }, 'spec.securityContext.sysctls[0].name: Invalid value: "kernel.shmmax": may not be specified when \'hostIPC\' is true'],
  ]
  refuses(KINDS.Pod, base, cases)
})

test('every source of a volume', () => {
  const v = (source: object): Changes => ({ 'spec.volumes': [volume(source)] })
  const cases: Case[] = [
    [v({}), []],
    [{ 'spec.volumes': [{ name: 'A', emptyDir: {} }] }, `${V}.name: Invalid value: "A": ${LABEL}`],
    [{ 'spec.volumes': [volume({ emptyDir: {} }), volume({ emptyDir: {} })] }, 'spec.volumes[1].name: Duplicate value: "v"'],
    [v({ emptyDir: {}, hostPath: { path: '/x' } }), `${V}.hostPath: Forbidden: may not specify more than 1 volume type`],
    [v({ emptyDir: { sizeLimit: '-1' } }), `${V}.emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity`],
    [v({ hostPath: { path: '' } }), `${V}.hostPath.path: Required value`],
    [v({ hostPath: { path: '/a/../b' } }), `${V}.hostPath.path: Invalid value: "/a/../b": must not contain '..'`],
    [v({ hostPath: { path: '/a', type: 'Door' } }), `${V}.hostPath.type: Unsupported value: "Door": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"`],
    [v({ secret: {} }), `${V}.secret.secretName: Required value`],
    [v({ secret: { secretName: 's', defaultMode: 0o1000 } }), `${V}.secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive`],
    [v({ configMap: {} }), `${V}.configMap.name: Required value`],
    [v({ configMap: { name: 'm', items: [{ key: 'k' }] } }), `${V}.configMap.items[0].path: Required value`],
    [v({ configMap: { name: 'm', items: [{ key: 'k', path: '../p' }] } }), `${V}.configMap.items[0].path: Invalid value: "../p": must not contain '..'`],
    [v({ persistentVolumeClaim: {} }), `${V}.persistentVolumeClaim.claimName: Required value`],
    [v({ nfs: { server: 's', path: 'p' } }), `${V}.nfs.path: Invalid value: "p": must be an absolute path`],
    [v({ csi: {} }), [`${V}.csi.driver: Required value`, `${V}.csi.driver: Invalid value: "": ${SUBDOMAIN}`]],
    [v({ image: {} }), `${V}.image.reference: Required value`],
    [v({ image: { reference: 'r', pullPolicy: 'X' } }), `${V}.image.pullPolicy: Unsupported value: "X": supported values: "Always", "IfNotPresent", "Never"`],
    [v({ downwardAPI: { items: [{ path: 'p' }] } }), `${V}.downwardAPI: Required value: one of fieldRef and resourceFieldRef is required`],
    [v({ downwardAPI: { items: [{ path: 'p', resourceFieldRef: { resource: 'limits.cpu' } }] } }), `${V}.downwardAPI.resourceFieldRef.containerName: Required value`],
    [v({ projected: { sources: [{ serviceAccountToken: { path: '', expirationSeconds: 1 } }] } }), [`${V}.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes`, `${V}.projected.path: Required value`, `${V}.projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set`]],
    [v({ projected: { sources: [{ secret: { name: 'a', items: [{ key: 'k', path: 'p' }] } }, { secret: { name: 'b', items: [{ key: 'k', path: 'p' }] } }] } }), `${V}.projected: Invalid value: "b": conflicting duplicate paths`],
    [v({ ephemeral: {} }), `${V}.ephemeral.volumeClaimTemplate: Required value`],
    [v({ iscsi: { targetPortal: 't', iqn: 'x', lun: 1 } }), `${V}.iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa`],
    [v({ rbd: { monitors: [], image: '' } }), [`${V}.rbd.monitors: Required value`, `${V}.rbd.image: Required value`]],
    [v({ fc: { targetWWNs: ['w'] } }), `${V}.fc.lun: Required value: lun is required if targetWWNs is specified`],
    [v({ azureFile: { secretName: '', shareName: '' } }), [`${V}.azureFile.secretName: Required value`, `${V}.azureFile.shareName: Required value`]],
    [v({ gitRepo: { repository: '' } }), `${V}.gitRepo.repository: Required value`],
  ]
  refuses(KINDS.Pod, POD, cases)
})
