/** Printed columns of identity, network, storage and policy kinds. */
import { labelSelectorText } from '../selectors.ts'
import type {
  APIService, CertificateSigningRequest, CSIDriver, CSINode, EndpointSlice, Ingress, IngressClass, Lease, MutatingWebhookConfiguration,
  NetworkPolicy, PodDisruptionBudget, PriorityClass, RoleBinding, RuntimeClass, StorageClass, VolumeAttachment,
} from '../gen/types.ts'
import { age, columns, humanDuration, nameOf, orNone, printer } from './column.ts'
import type { Printer } from './column.ts'

export const leases: Printer = printer<Lease>(['Name', 'Holder', 'Age'], (l, now) => [nameOf(l), l.spec?.holderIdentity ?? '', age(l, now)])

/** Role and ClusterRole show when they were made, as a date. */
export const roles: Printer = {
  columns: columns('Name', 'Created At').map((c) => (c.name === 'Created At' ? { ...c, type: 'date' as const } : c)),
  cells: (o) => [nameOf(o), o.metadata?.creationTimestamp ?? ''],
}

export const roleBindings: Printer = printer<RoleBinding>(['Name', 'Role', 'Age', 'Users+', 'Groups+', 'ServiceAccounts+'], (b, now) => {
  const of = (kind: string): string =>
    (b.subjects ?? [])
      .filter((s) => s.kind === kind)
      .map((s) => (kind === 'ServiceAccount' ? `${s.namespace ?? ''}/${s.name}` : s.name))
      .join(', ')
  return [nameOf(b), `${b.roleRef.kind}/${b.roleRef.name}`, age(b, now), of('User'), of('Group'), of('ServiceAccount')]
})

export const signingRequests: Printer = printer<CertificateSigningRequest>(
  ['Name', 'Age', 'SignerName', 'Requestor', 'RequestedDuration', 'Condition'],
  (r, now) => {
    const types = new Set((r.status?.conditions ?? []).map((c) => c.type))
    let condition = types.has('Denied') ? 'Denied' : types.has('Approved') ? 'Approved' : 'Pending'
    if (types.has('Failed')) condition += ',Failed'
    if (r.status?.certificate) condition += ',Issued'
    const seconds = r.spec.expirationSeconds
    const duration = seconds === undefined ? '<none>' : humanDuration(seconds * 1000)
    return [nameOf(r), age(r, now), r.spec.signerName || '<none>', r.spec.username ?? '', duration, condition]
  },
)

export const storageClasses: Printer = printer<StorageClass>(
  ['Name', 'Provisioner', 'ReclaimPolicy', 'VolumeBindingMode', 'AllowVolumeExpansion', 'Age'],
  (s, now) => {
    const isDefault = s.metadata?.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true'
    return [
      nameOf(s) + (isDefault ? ' (default)' : ''), s.provisioner, s.reclaimPolicy ?? 'Delete', s.volumeBindingMode ?? 'Immediate',
      String(s.allowVolumeExpansion ?? false), age(s, now),
    ]
  },
)

export const priorityClasses: Printer = printer<PriorityClass>(['Name', 'n:Value', 'Global-Default', 'Age', 'PreemptionPolicy'], (p, now) => [
  nameOf(p), p.value ?? 0, p.globalDefault ?? false, age(p, now), p.preemptionPolicy ?? '',
])

export const runtimeClasses: Printer = printer<RuntimeClass>(['Name', 'Handler', 'Age'], (r, now) => [nameOf(r), r.handler, age(r, now)])

export const ingresses: Printer = printer<Ingress>(['Name', 'Class', 'Hosts', 'Address', 'Ports', 'Age'], (i, now) => {
  const hosts = (i.spec?.rules ?? []).flatMap((r) => r.host || [])
  const addresses = (i.status?.loadBalancer?.ingress ?? []).flatMap((a) => a.ip || a.hostname || [])
  return [
    nameOf(i), i.spec?.ingressClassName ?? '<none>', hosts.length === 0 ? '*' : hosts.join(','), addresses.join(','),
    i.spec?.tls?.length ? '80, 443' : '80', age(i, now),
  ]
})

export const ingressClasses: Printer = printer<IngressClass>(['Name', 'Controller', 'Parameters', 'Age'], (i, now) => {
  const p = i.spec?.parameters
  const text = p ? `${p.kind}${p.apiGroup ? `.${p.apiGroup}` : ''}/${p.name}` : '<none>'
  return [nameOf(i), i.spec?.controller ?? '', text, age(i, now)]
})

export const networkPolicies: Printer = printer<NetworkPolicy>(['Name', 'Pod-Selector', 'Age'], (n, now) => [
  nameOf(n), labelSelectorText(n.spec?.podSelector), age(n, now),
])

export const disruptionBudgets: Printer = printer<PodDisruptionBudget>(
  ['Name', 'Min Available', 'Max Unavailable', 'n:Allowed Disruptions', 'Age'],
  (p, now) => [nameOf(p), String(p.spec?.minAvailable ?? 'N/A'), String(p.spec?.maxUnavailable ?? 'N/A'), p.status?.disruptionsAllowed ?? 0, age(p, now)],
)

export const endpointSlices: Printer = printer<EndpointSlice>(['Name', 'AddressType', 'Ports', 'Endpoints', 'Age'], (e, now) => {
  const some = (texts: readonly string[]): string =>
    texts.length === 0 ? '<unset>' : texts.length > 3 ? `${texts.slice(0, 3).join(',')} + ${texts.length - 3} more...` : texts.join(',')
  const ports = (e.ports ?? []).map((p) => (p.port === undefined ? '*' : String(p.port)))
  return [nameOf(e), e.addressType, some(ports), some((e.endpoints ?? []).flatMap((x) => x.addresses)), age(e, now)]
})

export const webhookConfigurations: Printer = printer<MutatingWebhookConfiguration>(['Name', 'n:Webhooks', 'Age'], (w, now) => [
  nameOf(w), w.webhooks?.length ?? 0, age(w, now),
])

export const apiServices: Printer = printer<APIService>(['Name', 'Service', 'Available', 'Age'], (a, now) => {
  const available = a.status?.conditions?.find((c) => c.type === 'Available')
  const text = available === undefined ? 'Unknown' : available.status === 'True' ? 'True' : `${available.status} (${available.reason ?? ''})`
  return [nameOf(a), a.spec?.service ? `${a.spec.service.namespace ?? ''}/${a.spec.service.name ?? ''}` : 'Local', text, age(a, now)]
})

export const csiDrivers: Printer = printer<CSIDriver>(
  ['Name', 'AttachRequired', 'PodInfoOnMount', 'StorageCapacity', 'TokenRequests', 'RequiresRepublish', 'Modes', 'Age'],
  (d, now) => [
    nameOf(d), d.spec.attachRequired ?? true, d.spec.podInfoOnMount ?? false, d.spec.storageCapacity ?? false,
    orNone((d.spec.tokenRequests ?? []).map((t) => t.audience)).replace('<none>', '<unset>'), d.spec.requiresRepublish ?? false,
    (d.spec.volumeLifecycleModes ?? []).join(','), age(d, now),
  ],
)

export const csiNodes: Printer = printer<CSINode>(['Name', 'n:Drivers', 'Age'], (n, now) => [nameOf(n), n.spec.drivers.length, age(n, now)])

export const volumeAttachments: Printer = printer<VolumeAttachment>(['Name', 'Attacher', 'PV', 'Node', 'Attached', 'Age'], (v, now) => [
  nameOf(v), v.spec.attacher, v.spec.source.persistentVolumeName ?? '', v.spec.nodeName, v.status?.attached ?? false, age(v, now),
])
