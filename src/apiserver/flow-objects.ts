/**
 * The FlowSchemas and PriorityLevelConfigurations that every Kubernetes cluster has, as 1.35 makes them. Nobody acts on them
 * here: `flow.ts` has levels of its own by the same names. Read when first objects are written, then forgotten.
 */

/** Level, shares, lendable percent, queues, hand size; a level without queues refuses at once. */
const LEVELS = `
system           30  33  64 6
node-high        40  25  64 6
leader-election  10   0  16 4
workload-high    40  50 128 6
workload-low    100  90 128 6
global-default   20  50 128 6
catch-all         5   0`

const PATH = '/apis/flowcontrol.apiserver.k8s.io/v1'
/** Kubernetes brings such objects up to date itself, unless somebody takes the mark off. */
const metadata = (name: string): object => ({ name, annotations: { 'apf.kubernetes.io/autoupdate-spec': 'true' } })

type Subject = Readonly<Record<string, unknown>>
const group = (name: string): Subject => ({ kind: 'Group', group: { name } })
const user = (name: string): Subject => ({ kind: 'User', user: { name } })
const account = (name: string): Subject => ({ kind: 'ServiceAccount', serviceAccount: { name, namespace: 'kube-system' } })
const EVERYBODY = [group('system:unauthenticated'), group('system:authenticated')]
const MANAGER = user('system:kube-controller-manager')
const SCHEDULER = user('system:kube-scheduler')
const SYSTEM_ACCOUNTS = account('*')

interface Rules {
  readonly resourceRules?: readonly object[]
  readonly nonResourceRules?: readonly object[]
}
const rule = (verbs: string, apiGroup: string, resources: string, clusterScope = false): object => ({
  verbs: verbs.split(','),
  apiGroups: [apiGroup],
  resources: resources.split(','),
  ...(clusterScope ? { clusterScope } : {}),
  namespaces: ['*'],
})
const ALL: Rules = { resourceRules: [rule('*', '*', '*', true)], nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }] }
const LEASES: Rules = { resourceRules: [rule('get,create,update', 'coordination.k8s.io', 'leases')] }
const NODES: Rules = { resourceRules: [rule('*', '', 'nodes,nodes/status', true), rule('*', 'coordination.k8s.io', 'leases')] }
const ENDPOINTS: Rules = { resourceRules: [rule('get,create,update', '', 'endpoints')] }
const PROBES: Rules = { nonResourceRules: [{ verbs: ['get'], nonResourceURLs: ['/healthz', '/readyz', '/livez'] }] }

const SCHEMAS: readonly (readonly [name: string, level: string, precedence: number, flow: string, subjects: readonly Subject[], rules: Rules])[] = [
  ['exempt', 'exempt', 1, '', [group('system:masters')], ALL],
  ['probes', 'exempt', 2, '', EVERYBODY, PROBES],
  ['system-leader-election', 'leader-election', 100, 'ByUser', [MANAGER, SCHEDULER, SYSTEM_ACCOUNTS], LEASES],
  ['endpoint-controller', 'workload-high', 150, 'ByUser', [MANAGER, account('endpoint-controller'), account('endpointslicemirroring-controller')], ENDPOINTS],
  ['workload-leader-election', 'leader-election', 200, 'ByUser', [SYSTEM_ACCOUNTS], LEASES],
  ['system-node-high', 'node-high', 400, 'ByUser', [group('system:nodes')], NODES],
  ['system-nodes', 'system', 500, 'ByUser', [group('system:nodes')], ALL],
  ['kube-controller-manager', 'workload-high', 800, 'ByNamespace', [MANAGER], ALL],
  ['kube-scheduler', 'workload-high', 800, 'ByNamespace', [SCHEDULER], ALL],
  ['kube-system-service-accounts', 'workload-high', 900, 'ByNamespace', [SYSTEM_ACCOUNTS], ALL],
  ['service-accounts', 'workload-low', 9_000, 'ByUser', [group('system:serviceaccounts')], ALL],
  ['global-default', 'global-default', 9_900, 'ByUser', EVERYBODY, ALL],
  ['catch-all', 'catch-all', 10_000, 'ByUser', EVERYBODY, ALL],
]

/** One of them: where it is made, and what is said of it once it is there. */
export interface FlowObject {
  readonly path: string
  readonly name: string
  readonly object: object
  readonly status?: (now: string) => object
}

/** All of them; the levels come first, as the schemas name them. */
export function flowObjects(): FlowObject[] {
  const levels = LEVELS.trim().split('\n').map((line): FlowObject => {
    const [name = '', shares, lendable, queues, handSize] = line.split(/ +/)
    const limitResponse = queues === undefined ? { type: 'Reject' } : { type: 'Queue', queuing: { queues: Number(queues), handSize: Number(handSize), queueLengthLimit: 50 } }
    const spec = { type: 'Limited', limited: { nominalConcurrencyShares: Number(shares), lendablePercent: Number(lendable), limitResponse } }
    return { path: `${PATH}/prioritylevelconfigurations`, name, object: { metadata: metadata(name), spec } }
  })
  const exempt = { metadata: metadata('exempt'), spec: { type: 'Exempt', exempt: { nominalConcurrencyShares: 0, lendablePercent: 0 } } }
  return [
    { path: `${PATH}/prioritylevelconfigurations`, name: 'exempt', object: exempt },
    ...levels,
    ...SCHEMAS.map(([name, level, precedence, flow, subjects, rules]): FlowObject => ({
      path: `${PATH}/flowschemas`,
      name,
      object: {
        metadata: metadata(name),
        spec: { priorityLevelConfiguration: { name: level }, matchingPrecedence: precedence, ...(flow === '' ? {} : { distinguisherMethod: { type: flow } }), rules: [{ subjects, ...rules }] },
      },
      status: (now) => ({
        conditions: [{ type: 'Dangling', status: 'False', lastTransitionTime: now, reason: 'Found', message: `This FlowSchema references the PriorityLevelConfiguration object named "${level}" and it exists` }],
      }),
    })),
  ]
}
