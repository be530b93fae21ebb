/**
 * The ClusterRoles and bindings that exist from the first start, as Kubernetes documents them, and those of Skerry's own
 * kinds. Data only; `bootstrap.ts` writes what is missing at each start and leaves alone what an administrator took over.
 */
import { CONTROLLER_ROLES, NAMESPACE_BINDINGS, NAMESPACE_ROLES, type SubjectSeed } from './controller-roles.ts'
import type { PolicyRule } from './rbac.ts'
import { rulesOf } from './role-table.ts'

const RBAC = 'rbac.authorization.k8s.io'
const to = (role: string): string => `${RBAC}/aggregate-to-${role}`
const CSR = 'system:certificates.k8s.io'

interface RoleSeed {
  readonly rules: string
  /** Roles that take these rules over. */
  readonly into?: readonly string[]
  /** Takes over the rules of roles that say so. */
  readonly aggregates?: string
}

const ROLES: Readonly<Record<string, RoleSeed>> = {
  'cluster-admin': { rules: '* * *\n* *' },
  admin: { rules: '', aggregates: 'admin' },
  edit: { rules: '', aggregates: 'edit', into: ['admin'] },
  view: { rules: '', aggregates: 'view', into: ['edit'] },
  'system:aggregate-to-admin': {
    into: ['admin'],
    rules: `
      create authorization.k8s.io localsubjectaccessreviews
      all rbac.authorization.k8s.io roles,rolebindings`,
  },
  'system:aggregate-to-edit': {
    into: ['edit'],
    rules: `
      read core pods/attach,pods/exec,pods/portforward,pods/proxy,secrets,services/proxy
      impersonate core serviceaccounts
      write core pods,pods/attach,pods/exec,pods/portforward,pods/proxy
      create core pods/eviction
      write core configmaps,events,persistentvolumeclaims,replicationcontrollers,replicationcontrollers/scale,secrets,serviceaccounts,services,services/proxy
      create core serviceaccounts/token
      write apps daemonsets,deployments,deployments/rollback,deployments/scale,replicasets,replicasets/scale,statefulsets,statefulsets/scale
      write autoscaling horizontalpodautoscalers
      write batch cronjobs,jobs
      write extensions daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale
      write policy poddisruptionbudgets
      write networking.k8s.io ingresses,networkpolicies
      all coordination.k8s.io leases
      write resource.k8s.io resourceclaims,resourceclaimtemplates`,
  },
  'system:aggregate-to-view': {
    into: ['view'],
    rules: `
      read core configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,services/status
      read core bindings,events,limitranges,namespaces/status,pods/log,pods/status,replicationcontrollers/status,resourcequotas,resourcequotas/status
      read core namespaces
      read discovery.k8s.io endpointslices
      read apps controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,statefulsets/scale,statefulsets/status
      read autoscaling horizontalpodautoscalers,horizontalpodautoscalers/status
      read batch cronjobs,cronjobs/status,jobs,jobs/status
      read extensions daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,replicasets/status,replicationcontrollers/scale
      read policy poddisruptionbudgets,poddisruptionbudgets/status
      read networking.k8s.io ingresses,ingresses/status,networkpolicies
      read resource.k8s.io resourceclaims,resourceclaims/status,resourceclaimtemplates`,
  },
  // Events of the newer group, devices and records go with the roles that people know.
  'skerry:aggregate-to-edit': {
    into: ['edit'],
    rules: `
      write devices.kubeedge.io,skerry.io *
      create,update collect.skerry.io records,records/review`,
  },
  'skerry:aggregate-to-view': {
    into: ['view'],
    rules: `
      read events.k8s.io events
      read devices.kubeedge.io,skerry.io *
      read collect.skerry.io records`,
  },
  // The controllers of one process share one identity; they reach every kind, custom ones included (namespaces, garbage).
  'skerry:controllers': { rules: '* * *\nget /api,/api/*,/apis,/apis/*' },
  'system:aggregated-metrics-reader': { into: ['admin', 'edit', 'view'], rules: 'read metrics.k8s.io nodes,pods' },
  'system:discovery': { rules: 'get /api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/' },
  'system:public-info-viewer': { rules: 'get /healthz,/livez,/readyz,/version,/version/' },
  'system:monitoring': { rules: 'get /healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*' },
  'system:basic-user': {
    rules: `
      create authorization.k8s.io selfsubjectaccessreviews,selfsubjectrulesreviews
      create authentication.k8s.io selfsubjectreviews`,
  },
  'system:auth-delegator': {
    rules: `
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io subjectaccessreviews`,
  },
  'system:service-account-issuer-discovery': { rules: 'get /.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/' },
  // What the Node authorizer lets nodes do at most; nobody is bound to it.
  'system:node': {
    rules: `
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io localsubjectaccessreviews,subjectaccessreviews
      read core services
      create,get,list,watch core nodes
      patch,update core nodes/status
      patch,update core nodes
      create,patch,update core events
      read core pods
      create,delete core pods
      patch,update core pods/status
      create core pods/eviction
      read core configmaps,secrets
      get core persistentvolumeclaims,persistentvolumes
      get core endpoints
      create,get,list,watch certificates.k8s.io certificatesigningrequests
      create,delete,get,patch,update coordination.k8s.io leases
      get storage.k8s.io volumeattachments
      create core serviceaccounts/token
      get,patch,update core persistentvolumeclaims/status
      read storage.k8s.io csidrivers
      create,delete,get,patch,update storage.k8s.io csinodes
      read node.k8s.io runtimeclasses
      get resource.k8s.io resourceclaims
      deletecollection,get,list,watch,create,delete,patch,update resource.k8s.io resourceslices`,
  },
  'system:node-problem-detector': {
    rules: `
      get core nodes
      patch core nodes/status
      create,patch,update core,events.k8s.io events`,
  },
  'system:node-proxier': {
    rules: `
      list,watch core endpoints,services
      get,list,watch core nodes
      create,patch,update core,events.k8s.io events
      list,watch discovery.k8s.io endpointslices
      list,watch networking.k8s.io servicecidrs`,
  },
  'system:node-bootstrapper': { rules: 'create,get,list,watch certificates.k8s.io certificatesigningrequests' },
  'system:kubelet-api-admin': {
    rules: `
      get,list,watch core nodes
      proxy core nodes
      * core nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats`,
  },
  [`${CSR}:certificatesigningrequests:nodeclient`]: { rules: 'create certificates.k8s.io certificatesigningrequests/nodeclient' },
  [`${CSR}:certificatesigningrequests:selfnodeclient`]: { rules: 'create certificates.k8s.io certificatesigningrequests/selfnodeclient' },
  ...Object.fromEntries(
    ['kube-apiserver-client', 'kube-apiserver-client-kubelet', 'kubelet-serving', 'legacy-unknown'].map((signer) => [
      `${CSR}:${signer}-approver`,
      { rules: `approve certificates.k8s.io signers kubernetes.io/${signer}` },
    ]),
  ),
  'system:persistent-volume-provisioner': {
    rules: `
      create,delete,get,list,watch core persistentvolumes
      get,list,update,watch core persistentvolumeclaims
      read storage.k8s.io storageclasses
      watch core events
      create,patch,update core,events.k8s.io events`,
  },
  'system:volume-scheduler': {
    rules: `
      get,list,patch,update,watch core persistentvolumes
      read storage.k8s.io storageclasses
      get,list,patch,update,watch core persistentvolumeclaims`,
  },
  'system:heapster': {
    rules: `
      read core events,namespaces,nodes,pods
      read extensions deployments`,
  },
  'system:kube-aggregator': { rules: 'read core endpoints,services' },
  'system:kube-dns': { rules: 'list,watch core endpoints,services' },
  'system:kube-controller-manager': {
    rules: `
      create,patch,update core,events.k8s.io events
      create coordination.k8s.io leases
      get,update coordination.k8s.io leases kube-controller-manager
      create core secrets,serviceaccounts
      delete core secrets
      get core configmaps,namespaces,secrets,serviceaccounts
      update core secrets,serviceaccounts
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io subjectaccessreviews
      list,watch * *
      create core serviceaccounts/token`,
  },
  'system:kube-scheduler': {
    rules: `
      create,patch,update core,events.k8s.io events
      create coordination.k8s.io leases
      get,list,update,watch coordination.k8s.io leases kube-scheduler
      create coordination.k8s.io leasecandidates
      delete,deletecollection,get,list,patch,update,watch coordination.k8s.io leasecandidates
      read core nodes
      delete,get,list,watch core pods
      create core bindings,pods/binding
      patch,update core pods/status
      read core replicationcontrollers,services
      read apps,extensions replicasets
      read apps statefulsets
      read policy poddisruptionbudgets
      read core persistentvolumeclaims,persistentvolumes
      create authentication.k8s.io tokenreviews
      create authorization.k8s.io subjectaccessreviews
      read storage.k8s.io csidrivers
      read storage.k8s.io csinodes
      read storage.k8s.io csistoragecapacities
      read storage.k8s.io volumeattachments
      read core namespaces
      read resource.k8s.io deviceclasses
      get,list,patch,update,watch resource.k8s.io resourceclaims
      patch,update resource.k8s.io resourceclaims/status
      read resource.k8s.io resourceslices`,
  },
}

/** Who has which role, by the binding's name; the role's name is the same unless it is given. */
const BINDINGS: Readonly<Record<string, { readonly role?: string; readonly to: readonly SubjectSeed[] }>> = {
  'cluster-admin': { to: ['group:system:masters'] },
  'system:monitoring': { to: ['group:system:monitoring'] },
  'system:discovery': { to: ['group:system:authenticated'] },
  'system:basic-user': { to: ['group:system:authenticated'] },
  'system:public-info-viewer': { to: ['group:system:authenticated', 'group:system:unauthenticated'] },
  'system:node': { to: [] },
  'system:node-proxier': { to: ['user:system:kube-proxy'] },
  'system:kube-controller-manager': { to: ['user:system:kube-controller-manager'] },
  'system:kube-dns': { to: ['account:kube-dns'] },
  'system:kube-scheduler': { to: ['user:system:kube-scheduler'] },
  'system:volume-scheduler': { to: ['user:system:kube-scheduler'] },
  'system:service-account-issuer-discovery': { to: ['group:system:serviceaccounts'] },
  'skerry:controllers': { to: ['user:system:skerry-controllers'] },
  'skerry:node-bootstrappers': { role: 'system:node-bootstrapper', to: ['group:system:bootstrappers'] },
  'skerry:approve-new-nodes': { role: `${CSR}:certificatesigningrequests:nodeclient`, to: ['group:system:bootstrappers'] },
  'skerry:approve-node-renewals': { role: `${CSR}:certificatesigningrequests:selfnodeclient`, to: ['group:system:nodes'] },
}

/** A default role or binding as an API object, and the path it is created at. */
export interface DefaultObject {
  readonly path: string
  readonly object: {
    readonly metadata: { readonly name: string; readonly labels: Record<string, string>; readonly annotations: Record<string, string> }
    readonly rules?: readonly PolicyRule[]
    readonly aggregationRule?: object
    readonly subjects?: readonly object[]
    readonly roleRef?: object
  }
}

const metadata = (name: string, into: readonly string[] = []): DefaultObject['object']['metadata'] => ({
  name,
  labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults', ...Object.fromEntries(into.map((role) => [to(role), 'true'])) },
  annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'true' },
})

function subjects(seeds: readonly SubjectSeed[]): object[] {
  return seeds.map((seed) => {
    const [kind = '', ...rest] = seed.split(':')
    const name = rest.join(':')
    if (kind === 'account') return { kind: 'ServiceAccount', name, namespace: 'kube-system' }
    return { apiGroup: RBAC, kind: kind === 'group' ? 'Group' : 'User', name }
  })
}

const bound = (kind: string, name: string, seeds: readonly SubjectSeed[]): Pick<DefaultObject['object'], 'roleRef' | 'subjects'> => {
  const list = subjects(seeds)
  return { roleRef: { apiGroup: RBAC, kind, name }, ...(list.length > 0 ? { subjects: list } : {}) }
}

/** All of them; roles before what refers to them. */
export function defaultRbacObjects(): DefaultObject[] {
  const base = `/apis/${RBAC}/v1`
  const cluster: DefaultObject[] = []
  for (const [name, seed] of Object.entries(ROLES)) {
    const aggregationRule = seed.aggregates === undefined ? {} : { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [to(seed.aggregates)]: 'true' } }] } }
    cluster.push({ path: `${base}/clusterroles`, object: { metadata: metadata(name, seed.into), rules: rulesOf(seed.rules), ...aggregationRule } })
  }
  for (const [name, rules] of Object.entries(CONTROLLER_ROLES)) {
    cluster.push({ path: `${base}/clusterroles`, object: { metadata: metadata(`system:controller:${name}`), rules: rulesOf(rules) } })
    cluster.push({ path: `${base}/clusterrolebindings`, object: { metadata: metadata(`system:controller:${name}`), ...bound('ClusterRole', `system:controller:${name}`, [`account:${name}`]) } })
  }
  for (const [name, { role = name, to: seeds }] of Object.entries(BINDINGS)) {
    cluster.push({ path: `${base}/clusterrolebindings`, object: { metadata: metadata(name), ...bound('ClusterRole', role, seeds) } })
  }
  const local = (namespace: string, resource: string): string => `${base}/namespaces/${namespace}/${resource}`
  return [
    ...cluster,
    ...NAMESPACE_ROLES.map(([namespace, name, rules]): DefaultObject => ({ path: local(namespace, 'roles'), object: { metadata: metadata(name), rules: rulesOf(rules) } })),
    ...NAMESPACE_BINDINGS.map(([namespace, name, role, seeds]): DefaultObject => ({ path: local(namespace, 'rolebindings'), object: { metadata: metadata(name), ...bound('Role', role, seeds) } })),
  ]
}
