/**
 * Facts about built-in types that the models we generate from do not carry: how lists and maps merge, which fields are
 * quantities, and which fields are newer than the API version we serve. Only `tools/gen-schemas.ts` reads this table and folds
 * it into the generated schemas; `tools/check-openapi.ts` compares the result with a published document.
 *
 * Grammar, one type a line (indented lines go on): `Type field=word+word ...`. Field `.` is the type itself. Words:
 * `map(keys)` `set` `atomic` list type; `map:atomic` `map:granular` map type; `patch(strategies:mergeKey)` strategic merge patch.
 */
export const MERGE_FACTS = `
MatchResources .=atomic excludeResourceRules=atomic resourceRules=atomic
MutatingWebhook admissionReviewVersions=atomic matchConditions=map(name)+patch(merge:name) rules=atomic
MutatingWebhookConfiguration webhooks=map(name)+patch(merge:name)
NamedRuleWithOperations .=atomic apiGroups=atomic apiVersions=atomic operations=atomic resourceNames=atomic resources=atomic
ParamKind .=atomic
ParamRef .=atomic
RuleWithOperations apiGroups=atomic apiVersions=atomic operations=atomic resources=atomic
TypeChecking expressionWarnings=atomic
ValidatingAdmissionPolicyBindingSpec validationActions=set
ValidatingAdmissionPolicySpec auditAnnotations=atomic matchConditions=map(name)+patch(merge:name) validations=atomic variables=map(name)+patch(merge:name)
ValidatingAdmissionPolicyStatus conditions=map(type)
ValidatingWebhook admissionReviewVersions=atomic matchConditions=map(name)+patch(merge:name) rules=atomic
ValidatingWebhookConfiguration webhooks=map(name)+patch(merge:name)
Variable .=atomic
DaemonSetStatus conditions=map(type)+patch(merge:type)
DeploymentSpec strategy=patch(retainKeys)
DeploymentStatus conditions=map(type)+patch(merge:type)
ReplicaSetStatus conditions=map(type)+patch(merge:type)
StatefulSetSpec volumeClaimTemplates=atomic
StatefulSetStatus conditions=map(type)+patch(merge:type)
TokenRequestSpec audiences=atomic
TokenReviewSpec audiences=atomic
TokenReviewStatus audiences=atomic
UserInfo groups=atomic
FieldSelectorAttributes requirements=atomic
LabelSelectorAttributes requirements=atomic
NonResourceRule nonResourceURLs=atomic verbs=atomic
ResourceRule apiGroups=atomic resourceNames=atomic resources=atomic verbs=atomic
SubjectAccessReviewSpec groups=atomic
SubjectRulesReviewStatus nonResourceRules=atomic resourceRules=atomic
CrossVersionObjectReference .=atomic
V2HPAScalingRules policies=atomic
V2HorizontalPodAutoscalerSpec metrics=atomic
V2HorizontalPodAutoscalerStatus conditions=map(type)+patch(merge:type) currentMetrics=atomic
CronJobStatus active=atomic
JobStatus conditions=atomic+patch(merge:type)
PodFailurePolicy rules=atomic
PodFailurePolicyOnExitCodesRequirement values=set
PodFailurePolicyRule onPodConditions=atomic
SuccessPolicy rules=atomic
UncountedTerminatedPods failed=set succeeded=set
CertificateSigningRequestSpec groups=atomic usages=atomic
CertificateSigningRequestStatus conditions=map(type)
Capabilities add=atomic drop=atomic
CephFSPersistentVolumeSource monitors=atomic
CephFSVolumeSource monitors=atomic
ComponentStatus conditions=map(type)+patch(merge:type)
ConfigMapKeySelector .=atomic
ConfigMapProjection items=atomic
ConfigMapVolumeSource items=atomic
Container args=atomic command=atomic env=map(name)+patch(merge:name) envFrom=atomic ports=map(containerPort,protocol)+patch(merge:containerPort)
  resizePolicy=atomic restartPolicyRules=atomic volumeDevices=map(devicePath)+patch(merge:devicePath) volumeMounts=map(mountPath)+patch(merge:mountPath)
ContainerImage names=atomic
ContainerRestartRuleOnExitCodes values=set
ContainerStatus allocatedResourcesStatus=map(name)+patch(merge:name) volumeMounts=map(mountPath)+patch(merge:mountPath)
DownwardAPIProjection items=atomic
DownwardAPIVolumeSource items=atomic
EndpointAddress .=atomic
EndpointPort .=atomic
EndpointSubset addresses=atomic notReadyAddresses=atomic ports=atomic
Endpoints subsets=atomic
EphemeralContainer args=atomic command=atomic env=map(name)+patch(merge:name) envFrom=atomic ports=map(containerPort,protocol)+patch(merge:containerPort)
  resizePolicy=atomic restartPolicyRules=atomic volumeDevices=map(devicePath)+patch(merge:devicePath) volumeMounts=map(mountPath)+patch(merge:mountPath)
ExecAction command=atomic
FCVolumeSource targetWWNs=atomic wwids=atomic
FileKeySelector .=atomic
HTTPGetAction httpHeaders=atomic
HostAlias hostnames=atomic
ISCSIPersistentVolumeSource portals=atomic
ISCSIVolumeSource portals=atomic
LimitRangeSpec limits=atomic
LinuxContainerUser supplementalGroups=atomic
LoadBalancerIngress ports=atomic
LoadBalancerStatus ingress=atomic
LocalObjectReference .=atomic
NamespaceSpec finalizers=atomic
NamespaceStatus conditions=map(type)+patch(merge:type)
NodeAffinity preferredDuringSchedulingIgnoredDuringExecution=atomic
NodeSelector .=atomic nodeSelectorTerms=atomic
NodeSelectorRequirement values=atomic
NodeSelectorTerm .=atomic matchExpressions=atomic matchFields=atomic
NodeSpec podCIDRs=set+patch(merge) taints=atomic
NodeStatus addresses=map(type)+patch(merge:type) conditions=map(type)+patch(merge:type) declaredFeatures=atomic images=atomic runtimeHandlers=atomic
  volumesAttached=atomic volumesInUse=atomic
ObjectFieldSelector .=atomic
ObjectReference .=atomic
PersistentVolumeClaimSpec accessModes=atomic
PersistentVolumeClaimStatus accessModes=atomic allocatedResourceStatuses=map:granular conditions=map(type)+patch(merge:type)
PersistentVolumeSpec accessModes=atomic claimRef=map:granular mountOptions=atomic
PodAffinity preferredDuringSchedulingIgnoredDuringExecution=atomic requiredDuringSchedulingIgnoredDuringExecution=atomic
PodAffinityTerm matchLabelKeys=atomic mismatchLabelKeys=atomic namespaces=atomic
PodAntiAffinity preferredDuringSchedulingIgnoredDuringExecution=atomic requiredDuringSchedulingIgnoredDuringExecution=atomic
PodDNSConfig nameservers=atomic options=atomic searches=atomic
PodExtendedResourceClaimStatus requestMappings=atomic
PodSecurityContext supplementalGroups=atomic sysctls=atomic
PodSpec containers=map(name)+patch(merge:name) ephemeralContainers=map(name)+patch(merge:name) hostAliases=map(ip)+patch(merge:ip)
  imagePullSecrets=map(name)+patch(merge:name) initContainers=map(name)+patch(merge:name) nodeSelector=map:atomic readinessGates=atomic
  resourceClaims=map(name)+patch(merge,retainKeys:name) schedulingGates=map(name)+patch(merge:name) tolerations=atomic
  topologySpreadConstraints=map(topologyKey,whenUnsatisfiable)+patch(merge:topologyKey) volumes=map(name)+patch(merge,retainKeys:name)
PodStatus conditions=map(type)+patch(merge:type) containerStatuses=atomic ephemeralContainerStatuses=atomic hostIPs=atomic+patch(merge:ip)
  initContainerStatuses=atomic podIPs=map(ip)+patch(merge:ip)
  resourceClaimStatuses=map(name)+patch(merge,retainKeys:name)
ProjectedVolumeSource sources=atomic
RBDPersistentVolumeSource monitors=atomic
RBDVolumeSource monitors=atomic
ReplicationControllerSpec selector=map:atomic
ReplicationControllerStatus conditions=map(type)+patch(merge:type)
ResourceFieldSelector .=atomic
ResourceQuotaSpec scopes=atomic
ResourceRequirements claims=map(name)
ResourceStatus resources=map(resourceID)
ScopeSelector .=atomic matchExpressions=atomic
ScopedResourceSelectorRequirement values=atomic
SecretKeySelector .=atomic
SecretProjection items=atomic
SecretReference .=atomic
SecretVolumeSource items=atomic
ServiceAccount imagePullSecrets=atomic secrets=map(name)+patch(merge:name)
ServiceSpec clusterIPs=atomic externalIPs=atomic ipFamilies=atomic loadBalancerSourceRanges=atomic ports=map(port,protocol)+patch(merge:port)
  selector=map:atomic
ServiceStatus conditions=map(type)+patch(merge:type)
TopologySelectorLabelRequirement values=atomic
TopologySelectorTerm .=atomic matchLabelExpressions=atomic
TopologySpreadConstraint matchLabelKeys=atomic
TypedLocalObjectReference .=atomic
Endpoint addresses=set
EndpointHints forNodes=atomic forZones=atomic
DiscoveryEndpointPort .=atomic
EndpointSlice endpoints=atomic ports=atomic
FlowSchemaSpec rules=atomic
FlowSchemaStatus conditions=map(type)+patch(merge:type)
NonResourcePolicyRule nonResourceURLs=set verbs=set
PolicyRulesWithSubjects nonResourceRules=atomic resourceRules=atomic subjects=atomic
PriorityLevelConfigurationStatus conditions=map(type)+patch(merge:type)
ResourcePolicyRule apiGroups=set namespaces=set resources=set verbs=set
HTTPIngressRuleValue paths=atomic
IPBlock except=atomic
IngressLoadBalancerIngress ports=atomic
IngressLoadBalancerStatus ingress=atomic
IngressSpec rules=atomic tls=atomic
IngressTLS hosts=atomic
NetworkPolicyEgressRule ports=atomic to=atomic
NetworkPolicyIngressRule from=atomic ports=atomic
NetworkPolicySpec egress=atomic ingress=atomic policyTypes=atomic
ServiceBackendPort .=atomic
ServiceCIDRSpec cidrs=atomic
ServiceCIDRStatus conditions=map(type)+patch(merge:type)
Scheduling nodeSelector=map:atomic tolerations=atomic
PodDisruptionBudgetSpec selector=patch(replace)
PodDisruptionBudgetStatus conditions=map(type)+patch(merge:type)
AggregationRule clusterRoleSelectors=atomic
ClusterRole rules=atomic
ClusterRoleBinding subjects=atomic
PolicyRule apiGroups=atomic nonResourceURLs=atomic resourceNames=atomic resources=atomic verbs=atomic
Role rules=atomic
RoleBinding subjects=atomic
RoleRef .=atomic
RbacSubject .=atomic
AllocatedDeviceStatus conditions=map(type)
CapacityRequestPolicy validValues=atomic
Device bindingConditions=atomic bindingFailureConditions=atomic consumesCounters=atomic taints=atomic
DeviceAllocationConfiguration requests=atomic
DeviceAllocationResult config=atomic results=atomic
DeviceClaim config=atomic constraints=atomic requests=atomic
DeviceClaimConfiguration requests=atomic
DeviceClassSpec config=atomic selectors=atomic
DeviceConstraint requests=atomic
DeviceRequest firstAvailable=atomic
DeviceRequestAllocationResult bindingConditions=atomic bindingFailureConditions=atomic tolerations=atomic
DeviceSubRequest selectors=atomic tolerations=atomic
ExactDeviceRequest selectors=atomic tolerations=atomic
NetworkDeviceData ips=atomic
ResourceClaimStatus devices=map(driver,device,pool,shareID) reservedFor=map(uid)+patch(merge:uid)
ResourceSliceSpec devices=atomic sharedCounters=atomic
CSIDriverSpec tokenRequests=atomic volumeLifecycleModes=set
CSINodeDriver topologyKeys=atomic
CSINodeSpec drivers=map(name)+patch(merge:name)
StorageClass allowedTopologies=atomic mountOptions=atomic
CustomResourceDefinitionNames categories=atomic shortNames=atomic
CustomResourceDefinitionSpec versions=atomic
CustomResourceDefinitionStatus conditions=map(type) storedVersions=atomic
CustomResourceDefinitionVersion additionalPrinterColumns=atomic selectableFields=atomic
JSONSchemaProps allOf=atomic anyOf=atomic enum=atomic oneOf=atomic required=atomic x-kubernetes-list-map-keys=atomic
  x-kubernetes-validations=map(rule)+patch(merge:rule)
WebhookConversion conversionReviewVersions=atomic
APIGroup serverAddressByClientCIDRs=atomic versions=atomic
APIGroupList groups=atomic
APIResource categories=atomic shortNames=atomic
APIResourceList resources=atomic
APIVersions serverAddressByClientCIDRs=atomic versions=atomic
DeleteOptions dryRun=atomic
FieldSelectorRequirement values=atomic
LabelSelector .=atomic matchExpressions=atomic
LabelSelectorRequirement values=atomic
ObjectMeta finalizers=set+patch(merge) managedFields=atomic ownerReferences=map(uid)+patch(merge:uid)
OwnerReference .=atomic
StatusDetails causes=atomic
APIServiceSpec caBundle=atomic
APIServiceStatus conditions=map(type)+patch(merge:type)
`

/** Fields (or the values of map fields, or the items of list fields) that are quantities: `Type field field ...`. */
export const QUANTITY_FACTS = `
V2HPAScalingRules tolerance
V2MetricTarget averageValue value
V2MetricValueStatus averageValue value
ContainerStatus allocatedResources
EmptyDirVolumeSource sizeLimit
LimitRangeItem default defaultRequest max maxLimitRequestRatio min
NodeStatus allocatable capacity
PersistentVolumeClaimStatus allocatedResources capacity
PersistentVolumeSpec capacity
PodSpec overhead
PodStatus allocatedResources
ResourceFieldSelector divisor
ResourceQuotaSpec hard
ResourceQuotaStatus hard used
ResourceRequirements limits requests
VolumeResourceRequirements limits requests
Overhead podFixed
CapacityRequestPolicy default validValues
CapacityRequestPolicyRange max min step
CapacityRequirements requests
Counter value
DeviceCapacity value
DeviceRequestAllocationResult consumedCapacity
CSIStorageCapacity capacity maximumVolumeSize
`

/** Fields of which the models say nothing, and the open type they are: `Type field=OpenType ...`. */
export const OPEN_FACTS = `
AllocatedDeviceStatus data=RawExtension
ControllerRevision data=RawExtension
CustomResourceSubresources status=CustomResourceSubresourceStatus
JSONSchemaProps additionalItems=JSONSchemaPropsOrBool additionalProperties=JSONSchemaPropsOrBool default=JSON enum=JSON example=JSON
  items=JSONSchemaPropsOrArray dependencies=JSONSchemaPropsOrStringArray
ManagedFieldsEntry fieldsV1=FieldsV1
OpaqueDeviceConfiguration parameters=RawExtension
WatchEvent object=RawExtension
`

/** Defaults that list-map keys rely on: `Type field value`. */
export const DEFAULT_FACTS = `
ContainerPort protocol TCP
ServicePort protocol TCP
`

/** Types (`Type`) and fields (`Type field field ...`) of the models that came after Kubernetes 1.35. */
export const NEWER_FACTS = `
ApplyConfiguration
CSIDriverSpec preventPodSchedulingIfMissing
Device nodeAllocatableResourceMappings
DeviceAttribute bools ints strings versions
JSONPatch
ListMeta shardInfo
MutatingAdmissionPolicy
MutatingAdmissionPolicyBinding
MutatingAdmissionPolicyBindingList
MutatingAdmissionPolicyBindingSpec
MutatingAdmissionPolicyList
MutatingAdmissionPolicySpec
Mutation
NodeAllocatableResourceClaimStatus
NodeAllocatableResourceMapping
PodSchedulingGroup
PodSpec schedulingGroup
PodStatus nodeAllocatableResourceClaimStatuses
ResourceHealth message
ShardInfo
`

/** The lines of a fact table as words, indented lines joined to the line before. */
export function factLines(text: string): string[][] {
  return text
    .replaceAll('\n  ', ' ')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' '))
}
