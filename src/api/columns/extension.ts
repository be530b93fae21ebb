/** Printed columns of what extends or steers the API: webhooks, policies, APIServices, flow control, classes, device claims. */
import { labelSelectorText } from '../selectors.ts'
import type {
  APIService, FlowSchema, MutatingWebhookConfiguration, PodDisruptionBudget, PriorityClass, PriorityLevelConfiguration, ResourceResourceClaim, ResourceSlice,
  RuntimeClass, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
} from '../gen/types.ts'
import type { KubeObject } from '../meta.ts'
import { age, nameOf, printer } from './column.ts'
import type { Printer } from './column.ts'

export const webhookConfigurations: Printer = printer<MutatingWebhookConfiguration>(
  ['Name', 'n:Webhooks | Webhooks indicates the number of webhooks registered in this configuration', 'Age'],
  (w, now) => [nameOf(w), w.webhooks?.length ?? 0, age(w, now)],
)

export const admissionPolicies: Printer = printer<ValidatingAdmissionPolicy>(
  [
    'Name', 'n:Validations | Validations indicates the number of validation rules defined in this configuration',
    'ParamKind | ParamKind specifies the kind of resources used to parameterize this policy', 'Age',
  ],
  (p, now) => {
    const kind = p.spec?.paramKind
    return [nameOf(p), p.spec?.validations?.length ?? 0, kind ? `${kind.apiVersion ?? ''}/${kind.kind ?? ''}` : '<unset>', age(p, now)]
  },
)

export const admissionPolicyBindings: Printer = printer<ValidatingAdmissionPolicyBinding>(
  [
    'Name', 'PolicyName | PolicyName indicates the policy definition which the policy binding binded to',
    'ParamRef | ParamRef indicates the param resource which sets the configration param', 'Age',
  ],
  (b, now) => {
    const ref = b.spec?.paramRef
    const text = ref?.name ? `${ref.namespace || '*'}/${ref.name}` : ref?.selector ? labelSelectorText(ref.selector) : '<unset>'
    return [nameOf(b), b.spec?.policyName ?? '', text, age(b, now)]
  },
)

export const apiServices: Printer = printer<APIService>(
  ['Name', 'Service | The reference to the service that hosts this API endpoint.', 'Available | Whether this service is available.', 'Age'],
  (a, now) => {
    const available = a.status?.conditions?.find((c) => c.type === 'Available')
    const text = available === undefined ? 'Unknown' : available.status === 'True' ? 'True' : `${available.status} (${available.reason ?? ''})`
    return [nameOf(a), a.spec?.service ? `${a.spec.service.namespace ?? ''}/${a.spec.service.name ?? ''}` : 'Local', text, age(a, now)]
  },
)

export const flowSchemas: Printer = printer<FlowSchema>(
  [
    'Name', 'PriorityLevel | PriorityLevelConfigurationReference.name', 'MatchingPrecedence | FlowSchemaSpec.matchingPrecedence',
    'DistinguisherMethod | FlowSchemaSpec.distinguisherMethod', 'Age', 'MissingPL | references a broken or non-existent PriorityLevelConfiguration',
  ],
  (f, now) => [
    nameOf(f), f.spec?.priorityLevelConfiguration?.name ?? '', f.spec?.matchingPrecedence ?? 0, f.spec?.distinguisherMethod?.type ?? '<none>', age(f, now),
    f.status?.conditions?.find((c) => c.type === 'Dangling')?.status ?? '?',
  ],
  { order: (a, b) => precedence(a) - precedence(b) || (nameOf(a) < nameOf(b) ? -1 : 1) },
)

const precedence = (f: KubeObject): number => (f as FlowSchema).spec?.matchingPrecedence ?? 0

export const priorityLevels: Printer = printer<PriorityLevelConfiguration>(
  [
    'Name', 'Type | PriorityLevelConfigurationSpec.type', 'NominalConcurrencyShares | LimitedPriorityLevelConfiguration.nominalConcurrencyShares',
    'Queues | QueuingConfiguration.queues', 'HandSize | QueuingConfiguration.handSize', 'QueueLengthLimit | QueuingConfiguration.queueLengthLimit', 'Age',
  ],
  (p, now) => {
    const limited = p.spec?.limited
    const queuing = limited?.limitResponse?.queuing
    return [
      nameOf(p), p.spec?.type ?? '', limited?.nominalConcurrencyShares ?? '<none>', queuing?.queues ?? '<none>', queuing?.handSize ?? '<none>',
      queuing?.queueLengthLimit ?? '<none>', age(p, now),
    ]
  },
)

export const priorityClasses: Printer = printer<PriorityClass>(
  [
    'Name', 'n:Value | PriorityClass.value', 'b:Global-Default | PriorityClass.globalDefault', 'Age', 'PreemptionPolicy | PriorityClass.preemptionPolicy',
  ],
  (p, now) => [nameOf(p), p.value ?? 0, p.globalDefault ?? false, age(p, now), p.preemptionPolicy ?? ''],
)

export const runtimeClasses: Printer = printer<RuntimeClass>(['Name', 'Handler | RuntimeClass.handler', 'Age'], (r, now) => [nameOf(r), r.handler, age(r, now)])

export const disruptionBudgets: Printer = printer<PodDisruptionBudget>(
  [
    'Name', 'Min Available | The minimum number of pods that must be available.', 'Max Unavailable | The maximum number of pods that may be unavailable.',
    'n:Allowed Disruptions | Calculated number of pods that may be disrupted at this time.', 'Age',
  ],
  (p, now) => [nameOf(p), String(p.spec?.minAvailable ?? 'N/A'), String(p.spec?.maxUnavailable ?? 'N/A'), p.status?.disruptionsAllowed ?? 0, age(p, now)],
)

export const resourceClaims: Printer = printer<ResourceResourceClaim>(
  ['Name', 'State | A summary of the current state (allocated, pending, reserved, etc.).', 'Age'],
  (c, now) => {
    const gone = c.metadata?.deletionTimestamp !== undefined
    const states = gone ? ['deleted'] : []
    if (c.status?.allocation) states.push('allocated', ...(c.status.reservedFor?.length ? ['reserved'] : []))
    else if (!gone) states.push('pending')
    return [nameOf(c), states.join(','), age(c, now)]
  },
)

export const resourceSlices: Printer = printer<ResourceSlice>(
  ['Name', 'Node | ResourceSliceSpec.nodeName', 'Driver | ResourceSliceSpec.driver', 'Pool | ResourcePool.name', 'Age'],
  (s, now) => [nameOf(s), s.spec?.nodeName ?? '', s.spec?.driver ?? '', s.spec?.pool?.name ?? '', age(s, now)],
)
