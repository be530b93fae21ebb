/** The first objects: the four namespaces, default RBAC, the `kubernetes` Service. Missing ones are made at each start; existing ones are left alone. */
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import { GROUP_MASTERS } from '../api/contract.ts'
import { AppError } from '../base/errors.ts'
import { defaultRbacObjects } from './authz/default-roles.ts'

const RBAC = '/apis/rbac.authorization.k8s.io/v1'
/** The server's own identity. */
export const SELF = { name: 'system:apiserver', groups: [GROUP_MASTERS, 'system:authenticated'] }

export interface BootstrapOptions {
  readonly handle: (request: ApiRequest) => Promise<ApiResponse>
  /** First address of the Service CIDR. */
  readonly serviceIp: string
  readonly advertise: { readonly address: string; readonly port: number } | undefined
}

/** @throws AppError `internal` when one of them is refused */
export async function writeFirstObjects({ handle, serviceIp, advertise }: BootstrapOptions): Promise<void> {
  const create = async (path: string, object: object): Promise<void> => {
    const answer = await handle({ method: 'POST', path, headers: { 'content-type': 'application/json' }, body: object })
    if (answer.status === 201 || answer.status === 409) return
    throw new AppError('internal', `write first objects at ${path}: the server answered ${answer.status} ${String(answer.body)}`)
  }
  await Promise.all(['default', 'kube-system', 'kube-public', 'kube-node-lease'].map((name) => create('/api/v1/namespaces', { metadata: { name } })))
  const { clusterroles, clusterrolebindings } = defaultRbacObjects()
  await Promise.all([
    ...clusterroles.map((role) => create(`${RBAC}/clusterroles`, role)),
    ...clusterrolebindings.map((binding) => create(`${RBAC}/clusterrolebindings`, binding)),
    create('/api/v1/namespaces/default/services', {
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
  await create('/api/v1/namespaces/default/endpoints', endpoints)
}
