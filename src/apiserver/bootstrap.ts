/**
 * The first objects: the four namespaces, default RBAC, the system's priority classes, levels and flows, the `kubernetes`
 * Service. Missing ones are made at each start; of those there, default roles and bindings are brought up to what this version
 * needs, the rest is left alone.
 */
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import { GROUP_MASTERS } from '../api/contract.ts'
import type { Clock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { reconciled, type RbacObject } from './authz/reconcile.ts'
import type { FlowObject } from './flow-objects.ts'
import type { WatchCache } from './watch-cache.ts'

/** The server's own identity. */
export const SELF = { name: 'system:apiserver', groups: [GROUP_MASTERS, 'system:authenticated'] }

/** The two classes every cluster has. */
const SYSTEM_PRIORITY_CLASSES = [
  { name: 'system-cluster-critical', value: 2_000_000_000, description: 'Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.' },
  { name: 'system-node-critical', value: 2_000_001_000, description: 'Used for system critical pods that must not be moved from their current node.' },
]

export interface BootstrapOptions {
  readonly handle: (request: ApiRequest) => Promise<ApiResponse>
  /** What is there already. */
  readonly cache: WatchCache
  readonly clock: Clock
  /** First address of the Service CIDR. */
  readonly serviceIp: string
  readonly advertise: { readonly address: string; readonly port: number } | undefined
}

/** @throws AppError `internal` when one of them is refused */
export async function writeFirstObjects({ handle, cache, clock, serviceIp, advertise }: BootstrapOptions): Promise<void> {
  const send = async (method: ApiRequest['method'], path: string, object?: object): Promise<void> => {
    const answer = await handle({ method, path, headers: { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' }, ...(object ? { body: object } : {}) })
    // 404 and 409: another server of the same store came first.
    if (answer.status < 300 || answer.status === 409 || (answer.status === 404 && method !== 'POST')) return
    throw new AppError('internal', `write first objects at ${path}: the server answered ${answer.status} ${String(answer.body)}`)
  }
  const create = async (path: string, name: string, object: object): Promise<void> => {
    if (!existing(cache, path, name)) await send('POST', path, object)
  }
  await Promise.all(['default', 'kube-system', 'kube-public', 'kube-node-lease'].map((name) => create('/api/v1/namespaces', name, { metadata: { name } })))
  // The tables are read for this moment only.
  const [{ defaultRbacObjects }, { flowObjects }] = await Promise.all([import('./authz/default-roles.ts'), import('./flow-objects.ts')])
  const now = new Date(clock.now()).toISOString().replace(/\.\d+Z$/, 'Z')
  const ensureFlow = async ({ path, name, object, status }: FlowObject): Promise<void> => {
    if (existing(cache, path, name)) return
    await send('POST', path, object)
    if (status) await send('PATCH', `${path}/${name}/status`, { status: status(now) })
  }
  const ensureRole = async ({ path, object }: ReturnType<typeof defaultRbacObjects>[number]): Promise<void> => {
    const { name } = object.metadata
    const there = existing(cache, path, name)
    if (!there) return send('POST', path, object)
    const change = reconciled(there as unknown as RbacObject, object)
    if (!change) return
    const one = `${path}/${encodeURIComponent(name)}`
    if (change.do === 'update') return send('PUT', one, change.object)
    await send('DELETE', one)
    await send('POST', path, change.object)
  }
  await Promise.all([
    ...defaultRbacObjects().map(ensureRole),
    ...flowObjects().map(ensureFlow),
    ...SYSTEM_PRIORITY_CLASSES.map(({ name, ...rest }) => create('/apis/scheduling.k8s.io/v1/priorityclasses', name, { metadata: { name }, ...rest })),
    create('/api/v1/namespaces/default/services', 'kubernetes', {
      metadata: { name: 'kubernetes', labels: { component: 'apiserver', provider: 'kubernetes' } },
      spec: {
        type: 'ClusterIP',
        clusterIP: serviceIp,
        clusterIPs: [serviceIp],
        ipFamilies: [serviceIp.includes(':') ? 'IPv6' : 'IPv4'],
        ipFamilyPolicy: 'SingleStack',
        sessionAffinity: 'None',
        ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: advertise?.port ?? 6443 }],
      },
    }),
  ])
  if (!advertise) return
  const endpoints = {
    metadata: { name: 'kubernetes', labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [{ addresses: [{ ip: advertise.address }], ports: [{ name: 'https', port: advertise.port, protocol: 'TCP' }] }],
  }
  await create('/api/v1/namespaces/default/endpoints', 'kubernetes', endpoints)
}

/** The object of a collection's path and a name, as the cache knows it. */
function existing(cache: WatchCache, path: string, name: string): Readonly<object> | undefined {
  const [, , group = '', , ...rest] = path.startsWith('/api/') ? ['', 'apis', '', ...path.split('/').slice(2)] : path.split('/')
  const [resource = '', namespace] = rest[0] === 'namespaces' && rest.length > 2 ? [rest[2], rest[1]] : [rest[0], undefined]
  const known = cache.resource(group === '' ? resource : `${resource}.${group}`)
  return known.get(`${known.prefix}${namespace === undefined ? '' : `${namespace}/`}${name}`)?.parsed()
}
