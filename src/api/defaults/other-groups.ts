/** Defaults of the groups beside core, apps, batch, autoscaling and policy, by name of the type. */
import type {
  APIService, ClusterRoleBinding, CSIDriver, CustomResourceDefinition, DeviceClaim, EndpointSlice, FlowSchema, IngressClass, MatchResources,
  MutatingWebhookConfiguration, NetworkPolicy, PriorityClass, PriorityLevelConfiguration, ResourceClaimTemplate, ResourceResourceClaim, RoleBinding,
  StorageClass, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
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
  IngressClass: (o: IngressClass) => o.spec?.parameters && fill(o.spec.parameters, { scope: 'Cluster' }),
  CSIDriver: (o: CSIDriver) => {
    if (!o.spec) return
    fill(o.spec, {
      attachRequired: true, podInfoOnMount: false, storageCapacity: false, fsGroupPolicy: 'ReadWriteOnceWithFSType', requiresRepublish: false, seLinuxMount: false,
    })
    if (!o.spec.volumeLifecycleModes?.length) o.spec.volumeLifecycleModes = ['Persistent']
  },
  FlowSchema: (o: FlowSchema) => {
    if (o.spec && !o.spec.matchingPrecedence) o.spec.matchingPrecedence = 1000
  },
  PriorityLevelConfiguration: (o: PriorityLevelConfiguration) => {
    if (o.spec?.exempt) fill(o.spec.exempt, { nominalConcurrencyShares: 0, lendablePercent: 0 })
    if (!o.spec?.limited) return
    fill(o.spec.limited, { nominalConcurrencyShares: 30, lendablePercent: 0 })
    if (o.spec.limited.limitResponse?.queuing) fill(o.spec.limited.limitResponse.queuing, { queues: 64, handSize: 8, queueLengthLimit: 50 })
  },
  ValidatingAdmissionPolicy: (o: ValidatingAdmissionPolicy) => {
    if (!o.spec) return
    fill(o.spec, { failurePolicy: 'Fail' })
    if (o.spec.matchConstraints) defaultMatch(o.spec.matchConstraints)
  },
  ValidatingAdmissionPolicyBinding: (o: ValidatingAdmissionPolicyBinding) => {
    if (o.spec?.paramRef) fill(o.spec.paramRef, { parameterNotFoundAction: 'Deny' })
    if (o.spec?.matchResources) defaultMatch(o.spec.matchResources)
  },
  ResourceResourceClaim: (o: ResourceResourceClaim) => defaultClaim(o.spec?.devices),
  ResourceClaimTemplate: (o: ResourceClaimTemplate) => defaultClaim(o.spec?.spec?.devices),
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

function defaultMatch(m: MatchResources): void {
  fill(m, { matchPolicy: 'Equivalent', namespaceSelector: {}, objectSelector: {} })
  for (const r of [...(m.resourceRules ?? []), ...(m.excludeResourceRules ?? [])]) fill(r, { scope: '*' })
}

function defaultClaim(claim: DeviceClaim | undefined): void {
  for (const r of (claim?.requests ?? []).flatMap((x) => [...(x.exactly ? [x.exactly] : []), ...(x.firstAvailable ?? [])])) {
    fill(r, { allocationMode: 'ExactCount' })
    if (r.allocationMode === 'ExactCount' && !r.count) r.count = 1
    for (const t of r.tolerations ?? []) fill(t, { operator: 'Equal' })
  }
}

function defaultWebhooks(o: MutatingWebhookConfiguration): void {
  for (const w of o.webhooks ?? []) {
    fill(w, { failurePolicy: 'Fail', matchPolicy: 'Equivalent', timeoutSeconds: 10, namespaceSelector: {}, objectSelector: {} })
    for (const r of w.rules ?? []) fill(r, { scope: '*' })
    if (w.clientConfig?.service) fill(w.clientConfig.service, { port: 443 })
  }
}
