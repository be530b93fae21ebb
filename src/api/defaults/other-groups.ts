/** Defaults of the groups beside core, apps, batch, autoscaling and policy, by name of the type. */
import type {
  APIService, ClusterRoleBinding, CustomResourceDefinition, EndpointSlice, MutatingWebhookConfiguration, NetworkPolicy, PriorityClass, RoleBinding,
  StorageClass,
} from '../gen/types.ts'
import { fill } from './fill.ts'
import type { Defaulter } from './fill.ts'

const RBAC = 'rbac.authorization.k8s.io'

export const OTHER_DEFAULTERS: Readonly<Record<string, Defaulter>> = {
  EndpointSlice: (o: EndpointSlice) => {
    for (const p of o.ports ?? []) fill(p, { protocol: 'TCP', name: '' })
  },
  RoleBinding: defaultBinding,
  ClusterRoleBinding: defaultBinding,
  CustomResourceDefinition: (o: CustomResourceDefinition) => {
    if (!o.spec?.names) return
    const { names } = o.spec
    fill(names, { singular: (names.kind ?? '').toLowerCase(), listKind: `${names.kind}List` })
    fill(o.spec, { conversion: { strategy: 'None' } })
    if (o.spec.conversion?.webhook?.clientConfig?.service) fill(o.spec.conversion.webhook.clientConfig.service, { port: 443 })
  },
  NetworkPolicy: (o: NetworkPolicy) => {
    if (!o.spec) return
    fill(o.spec, { podSelector: {}, policyTypes: o.spec.egress?.length ? ['Ingress', 'Egress'] : ['Ingress'] })
    for (const rule of [...(o.spec.ingress ?? []), ...(o.spec.egress ?? [])]) for (const p of rule.ports ?? []) fill(p, { protocol: 'TCP' })
  },
  StorageClass: (o: StorageClass) => fill(o, { reclaimPolicy: 'Delete', volumeBindingMode: 'Immediate' }),
  PriorityClass: (o: PriorityClass) => fill(o, { preemptionPolicy: 'PreemptLowerPriority' }),
  MutatingWebhookConfiguration: (o: MutatingWebhookConfiguration) => {
    for (const w of o.webhooks ?? []) fill(w, { reinvocationPolicy: 'Never' })
    defaultWebhooks(o)
  },
  ValidatingWebhookConfiguration: defaultWebhooks,
  APIService: (o: APIService) => o.spec?.service && fill(o.spec.service, { port: 443 }),
}

function defaultBinding(o: RoleBinding | ClusterRoleBinding): void {
  if (o.roleRef && !o.roleRef.apiGroup) o.roleRef.apiGroup = RBAC
  for (const s of o.subjects ?? []) if (!s.apiGroup && (s.kind === 'User' || s.kind === 'Group')) s.apiGroup = RBAC
}

function defaultWebhooks(o: MutatingWebhookConfiguration): void {
  for (const w of o.webhooks ?? []) {
    fill(w, { failurePolicy: 'Fail', matchPolicy: 'Equivalent', timeoutSeconds: 10, namespaceSelector: {}, objectSelector: {} })
    for (const r of w.rules ?? []) fill(r, { scope: '*' })
    if (w.clientConfig?.service) fill(w.clientConfig.service, { port: 443 })
  }
}
