/**
 * Says to which package of Kubernetes a type belongs (`io.k8s.api.core.v1`), which the models' names have lost. A type belongs to
 * the first package below from whose roots it can be reached; shared types come first. Used by `schemas.ts`.
 */

const META = `APIGroup APIGroupList APIResource APIResourceList APIVersions Condition DeleteOptions FieldSelectorRequirement
GroupVersionForDiscovery LabelSelector LabelSelectorRequirement ListMeta ManagedFieldsEntry ObjectMeta OwnerReference
Preconditions ServerAddressByClientCIDR Status StatusCause StatusDetails WatchEvent GroupResource`

/** Package and its roots; a `!` stops at exactly the named types instead of following what they use. */
const PACKAGES: readonly (readonly [name: string, roots: string])[] = [
  ['!io.k8s.apimachinery.pkg.apis.meta.v1', META],
  ['io.k8s.apimachinery.pkg.version', 'VersionInfo'],
  ['io.k8s.api.autoscaling.v1', 'Scale HorizontalPodAutoscalerList'],
  ['io.k8s.api.autoscaling.v2', 'V2HorizontalPodAutoscalerList'],
  ['io.k8s.api.policy.v1', 'Eviction PodDisruptionBudgetList'],
  ['io.k8s.api.authentication.v1', 'AuthenticationTokenRequest TokenReview SelfSubjectReview'],
  [
    'io.k8s.api.core.v1',
    `Binding ComponentStatusList ConfigMapList EndpointsList EventList LimitRangeList NamespaceList NodeList PersistentVolumeClaimList
    PersistentVolumeList PodList PodTemplateList ReplicationControllerList ResourceQuotaList SecretList ServiceAccountList ServiceList
    TopologySelectorTerm`,
  ],
  ['io.k8s.api.apps.v1', 'ControllerRevisionList DaemonSetList DeploymentList ReplicaSetList StatefulSetList'],
  ['io.k8s.api.batch.v1', 'CronJobList JobList'],
  ['io.k8s.api.certificates.v1', 'CertificateSigningRequestList'],
  ['io.k8s.api.coordination.v1', 'LeaseList'],
  ['io.k8s.api.discovery.v1', 'EndpointSliceList'],
  ['io.k8s.api.events.v1', 'EventsEventList'],
  ['io.k8s.api.authorization.v1', 'LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview'],
  ['io.k8s.api.flowcontrol.v1', 'FlowSchemaList PriorityLevelConfigurationList'],
  ['io.k8s.api.networking.v1', 'IPAddressList IngressList IngressClassList NetworkPolicyList ServiceCIDRList'],
  ['io.k8s.api.node.v1', 'RuntimeClassList'],
  ['io.k8s.api.rbac.v1', 'ClusterRoleBindingList ClusterRoleList RoleBindingList RoleList'],
  ['io.k8s.api.resource.v1', 'DeviceClassList ResourceClaimList ResourceClaimTemplateList ResourceSliceList'],
  ['io.k8s.api.scheduling.v1', 'PriorityClassList'],
  ['io.k8s.api.storage.v1', 'CSIDriverList CSINodeList CSIStorageCapacityList StorageClassList VolumeAttachmentList VolumeAttributesClassList'],
  [
    'io.k8s.api.admissionregistration.v1',
    'MutatingWebhookConfigurationList ValidatingAdmissionPolicyList ValidatingAdmissionPolicyBindingList ValidatingWebhookConfigurationList',
  ],
  ['io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1', 'CustomResourceDefinitionList'],
  ['io.k8s.kube-aggregator.pkg.apis.apiregistration.v1', 'APIServiceList'],
]

const PREFIXES = /^(Admissionregistration|Apiextensions|Apiregistration|Authentication|Discovery|Events|Flowcontrol|Rbac|Resource|Storage|V2)(?=[A-Z])/

/** Full published name of each type that can be reached, given the types each one uses. */
export function publishedNames(uses: ReadonlyMap<string, readonly string[]>): Map<string, string> {
  const names = new Map<string, string>()
  for (const [label, roots] of PACKAGES) {
    const follow = !label.startsWith('!')
    const pending = roots.split(/\s+/)
    for (let type = pending.pop(); type !== undefined; type = pending.pop()) {
      const used = uses.get(type)
      if (used === undefined || names.has(type)) continue
      names.set(type, `${label.replace('!', '')}.${shortName(type, uses)}`)
      if (follow) pending.push(...used)
    }
  }
  return names
}

function shortName(type: string, uses: ReadonlyMap<string, readonly string[]>): string {
  if (type === 'VersionInfo') return 'Info'
  const m = PREFIXES.exec(type)
  const bare = m ? type.slice((m[1] as string).length) : type
  // `ResourceQuota`, `EventsEvent`: a prefix is a disambiguation only where the models have the same name twice.
  return m && (m[1] === 'V2' || uses.has(`=${type}`)) ? bare : type
}
