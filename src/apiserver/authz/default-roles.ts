/**
 * The ClusterRoles, Roles and bindings that exist from the first start, as Kubernetes documents them, plus those Skerry's
 * own kinds need. Data only; `bootstrap.ts` writes what is missing and leaves what an administrator changed.
 */
import type { PolicyRule } from './rbac.ts'

const RBAC = 'rbac.authorization.k8s.io'
const READ = ['get', 'list', 'watch']
const WRITE = ['create', 'delete', 'deletecollection', 'patch', 'update']
const ALL = [...READ, ...WRITE]

interface RoleSeed {
  readonly name: string
  readonly rules: readonly PolicyRule[]
  readonly labels?: Record<string, string>
  /** Aggregates ClusterRoles that carry this label. */
  readonly aggregate?: string
}

/** `r(verbs, group, ...resources)` */
function r(verbs: readonly string[], group: string, ...resources: string[]): PolicyRule {
  return { verbs, apiGroups: [group], resources }
}
function paths(...nonResourceURLs: string[]): PolicyRule {
  return { verbs: ['get'], nonResourceURLs }
}

const to = (role: string): string => `${RBAC}/aggregate-to-${role}`
const VIEW_CORE = ['configmaps', 'endpoints', 'persistentvolumeclaims', 'persistentvolumeclaims/status', 'pods', 'pods/log', 'pods/status', 'replicationcontrollers', 'replicationcontrollers/scale', 'replicationcontrollers/status', 'serviceaccounts', 'services', 'services/status', 'bindings', 'events', 'limitranges', 'namespaces', 'namespaces/status', 'resourcequotas', 'resourcequotas/status']
const VIEW_APPS = ['controllerrevisions', 'daemonsets', 'daemonsets/status', 'deployments', 'deployments/scale', 'deployments/status', 'replicasets', 'replicasets/scale', 'replicasets/status', 'statefulsets', 'statefulsets/scale', 'statefulsets/status']
const VIEW: PolicyRule[] = [
  r(READ, '', ...VIEW_CORE),
  r(READ, 'apps', ...VIEW_APPS),
  r(READ, 'batch', 'cronjobs', 'cronjobs/status', 'jobs', 'jobs/status'),
  r(READ, 'autoscaling', 'horizontalpodautoscalers', 'horizontalpodautoscalers/status'),
  r(READ, 'policy', 'poddisruptionbudgets', 'poddisruptionbudgets/status'),
  r(READ, 'networking.k8s.io', 'ingresses', 'ingresses/status', 'networkpolicies'),
  r(READ, 'discovery.k8s.io', 'endpointslices'),
  r(READ, 'events.k8s.io', 'events'),
  r(READ, 'devices.kubeedge.io', '*'),
  r(READ, 'skerry.io', '*'),
  r(READ, 'collect.skerry.io', 'records'),
  r(READ, 'metrics.k8s.io', 'pods', 'nodes'),
]
const EDIT: PolicyRule[] = [
  r(READ, '', 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy', 'secrets', 'services/proxy'),
  r(['impersonate'], '', 'serviceaccounts'),
  r(WRITE, '', 'pods', 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy', 'configmaps', 'endpoints', 'events', 'persistentvolumeclaims', 'replicationcontrollers', 'replicationcontrollers/scale', 'secrets', 'serviceaccounts', 'services', 'services/proxy'),
  r(['create'], '', 'pods/eviction', 'serviceaccounts/token'),
  r(WRITE, 'apps', 'daemonsets', 'deployments', 'deployments/rollback', 'deployments/scale', 'replicasets', 'replicasets/scale', 'statefulsets', 'statefulsets/scale'),
  r(WRITE, 'batch', 'cronjobs', 'jobs'),
  r(WRITE, 'autoscaling', 'horizontalpodautoscalers'),
  r(WRITE, 'policy', 'poddisruptionbudgets'),
  r(WRITE, 'networking.k8s.io', 'ingresses', 'networkpolicies'),
  r(WRITE, 'discovery.k8s.io', 'endpointslices'),
  r(ALL, 'coordination.k8s.io', 'leases'),
  r(WRITE, 'devices.kubeedge.io', '*'),
  r(WRITE, 'skerry.io', '*'),
  r(['create', 'update'], 'collect.skerry.io', 'records', 'records/review'),
]

export const DEFAULT_CLUSTER_ROLES: readonly RoleSeed[] = [
  { name: 'cluster-admin', rules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }, { verbs: ['*'], nonResourceURLs: ['*'] }] },
  { name: 'admin', rules: [], aggregate: to('admin') },
  { name: 'edit', rules: [], aggregate: to('edit'), labels: { [to('admin')]: 'true' } },
  { name: 'view', rules: [], aggregate: to('view'), labels: { [to('edit')]: 'true' } },
  { name: 'system:aggregate-to-view', rules: VIEW, labels: { [to('view')]: 'true', [to('edit')]: 'true', [to('admin')]: 'true' } },
  { name: 'system:aggregate-to-edit', rules: EDIT, labels: { [to('edit')]: 'true', [to('admin')]: 'true' } },
  {
    name: 'system:aggregate-to-admin',
    rules: [r(['create'], 'authorization.k8s.io', 'localsubjectaccessreviews'), r(ALL, RBAC, 'rolebindings', 'roles')],
    labels: { [to('admin')]: 'true' },
  },
  {
    name: 'system:discovery',
    rules: [paths('/api', '/api/*', '/apis', '/apis/*', '/healthz', '/livez', '/openapi', '/openapi/*', '/readyz', '/version', '/version/')],
  },
  { name: 'system:public-info-viewer', rules: [paths('/healthz', '/livez', '/readyz', '/version', '/version/')] },
  { name: 'system:monitoring', rules: [paths('/healthz', '/healthz/*', '/livez', '/livez/*', '/metrics', '/metrics/*', '/readyz', '/readyz/*')] },
  {
    name: 'system:basic-user',
    rules: [r(['create'], 'authorization.k8s.io', 'selfsubjectaccessreviews', 'selfsubjectrulesreviews'), r(['create'], 'authentication.k8s.io', 'selfsubjectreviews')],
  },
  { name: 'system:auth-delegator', rules: [r(['create'], 'authentication.k8s.io', 'tokenreviews'), r(['create'], 'authorization.k8s.io', 'subjectaccessreviews')] },
  { name: 'system:service-account-issuer-discovery', rules: [paths('/.well-known/openid-configuration', '/.well-known/openid-configuration/', '/openid/v1/jwks', '/openid/v1/jwks/')] },
  { name: 'system:node', rules: [] },
  { name: 'system:node-bootstrapper', rules: [r(['create', 'get', 'list', 'watch'], 'certificates.k8s.io', 'certificatesigningrequests')] },
  { name: 'system:node-proxier', rules: [r(['list', 'watch'], '', 'endpoints', 'services', 'nodes'), r(['list', 'watch'], 'discovery.k8s.io', 'endpointslices'), r(['create', 'patch', 'update'], '', 'events')] },
  { name: 'system:certificates.k8s.io:certificatesigningrequests:nodeclient', rules: [r(['create'], 'certificates.k8s.io', 'certificatesigningrequests/nodeclient')] },
  { name: 'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient', rules: [r(['create'], 'certificates.k8s.io', 'certificatesigningrequests/selfnodeclient')] },
  { name: 'system:kubelet-api-admin', rules: [r(['*'], '', 'nodes/log', 'nodes/metrics', 'nodes/proxy', 'nodes/stats'), r(['get', 'list', 'watch', 'proxy'], '', 'nodes')] },
  {
    name: 'system:kube-scheduler',
    rules: [
      r(['create', 'patch', 'update'], '', 'events'),
      r(['create', 'patch', 'update'], 'events.k8s.io', 'events'),
      r(['create', 'get', 'list', 'update', 'watch'], 'coordination.k8s.io', 'leases'),
      r(READ, '', 'nodes', 'namespaces', 'replicationcontrollers', 'services', 'persistentvolumeclaims', 'persistentvolumes'),
      r(['delete', 'get', 'list', 'watch'], '', 'pods'),
      r(['create'], '', 'bindings', 'pods/binding'),
      r(['patch', 'update'], '', 'pods/status'),
      r(READ, 'apps', 'replicasets', 'statefulsets'),
      r(READ, 'policy', 'poddisruptionbudgets'),
      r(READ, 'storage.k8s.io', 'storageclasses', 'csinodes', 'csidrivers', 'csistoragecapacities'),
    ],
  },
  {
    // The controllers of one process share one identity; they reach every kind, custom ones included (namespaces, garbage).
    name: 'system:kube-controller-manager',
    rules: [
      { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
      paths('/api', '/api/*', '/apis', '/apis/*'),
    ],
  },
]

interface BindingSeed {
  readonly name: string
  readonly role: string
  readonly groups?: readonly string[]
  readonly users?: readonly string[]
}

export const DEFAULT_CLUSTER_ROLE_BINDINGS: readonly BindingSeed[] = [
  { name: 'cluster-admin', role: 'cluster-admin', groups: ['system:masters'] },
  { name: 'system:discovery', role: 'system:discovery', groups: ['system:authenticated'] },
  { name: 'system:basic-user', role: 'system:basic-user', groups: ['system:authenticated'] },
  { name: 'system:public-info-viewer', role: 'system:public-info-viewer', groups: ['system:authenticated', 'system:unauthenticated'] },
  { name: 'system:monitoring', role: 'system:monitoring', groups: ['system:monitoring'] },
  { name: 'system:service-account-issuer-discovery', role: 'system:service-account-issuer-discovery', groups: ['system:serviceaccounts'] },
  { name: 'system:kube-scheduler', role: 'system:kube-scheduler', users: ['system:kube-scheduler'] },
  { name: 'system:kube-controller-manager', role: 'system:kube-controller-manager', users: ['system:kube-controller-manager'] },
  { name: 'skerry:node-bootstrappers', role: 'system:node-bootstrapper', groups: ['system:bootstrappers'] },
  { name: 'skerry:approve-new-nodes', role: 'system:certificates.k8s.io:certificatesigningrequests:nodeclient', groups: ['system:bootstrappers'] },
  { name: 'skerry:approve-node-renewals', role: 'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient', groups: ['system:nodes'] },
  // A node looks up what the API serves, like every client.
  { name: 'skerry:node-discovery', role: 'system:discovery', groups: ['system:nodes'] },
]

const meta = (name: string, labels: Record<string, string> = {}): object => ({
  name,
  labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults', ...labels },
  annotations: { [`${RBAC}/autoupdate`]: 'true' },
})

/** The seeds as API objects. */
export function defaultRbacObjects(): { clusterroles: object[]; clusterrolebindings: object[] } {
  return {
    clusterroles: DEFAULT_CLUSTER_ROLES.map((seed) => ({
      metadata: meta(seed.name, seed.labels),
      rules: seed.rules,
      ...(seed.aggregate === undefined ? {} : { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [seed.aggregate]: 'true' } }] } }),
    })),
    clusterrolebindings: DEFAULT_CLUSTER_ROLE_BINDINGS.map((seed) => ({
      metadata: meta(seed.name),
      roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: seed.role },
      subjects: [
        ...(seed.groups ?? []).map((name) => ({ apiGroup: RBAC, kind: 'Group', name })),
        ...(seed.users ?? []).map((name) => ({ apiGroup: RBAC, kind: 'User', name })),
      ],
    })),
  }
}
