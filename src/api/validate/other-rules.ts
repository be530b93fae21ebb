/** Rules of the groups beside core, apps, batch, autoscaling and policy, by name of the type. */
import * as policy from './admission-policy.ts'
import * as apiService from './api-service.ts'
import * as certificates from './certificates.ts'
import * as crd from './crd.ts'
import { claimStatusErrors } from './device-status.ts'
import * as devices from './devices.ts'
import * as discovery from './discovery.ts'
import * as events from './events.ts'
import * as flow from './flow.ts'
import * as networking from './networking.ts'
import * as rbac from './rbac.ts'
import type { Rules } from './rules.ts'
import * as scheduling from './scheduling.ts'
import * as storage from './storage.ts'
import * as webhooks from './webhooks.ts'

export const OTHER_RULES: Readonly<Record<string, Rules>> = {
  CustomResourceDefinition: { always: crd.crdErrors, create: crd.crdCreateErrors, update: crd.crdUpdateErrors, sub: { status: crd.crdStatusErrors } },
  MutatingWebhookConfiguration: { always: webhooks.webhookConfigurationErrors },
  ValidatingWebhookConfiguration: { always: webhooks.webhookConfigurationErrors },
  APIService: { always: apiService.apiServiceErrors, sub: { status: apiService.apiServiceStatusErrors } },
  ValidatingAdmissionPolicy: { always: policy.policyErrors },
  ValidatingAdmissionPolicyBinding: { always: policy.policyBindingErrors },
  // Who and what may.
  Role: { always: (o) => rbac.roleErrors(o, false) },
  ClusterRole: { always: (o) => rbac.roleErrors(o, true) },
  RoleBinding: { always: (o) => rbac.bindingErrors(o, false), update: rbac.bindingUpdateErrors },
  ClusterRoleBinding: { always: (o) => rbac.bindingErrors(o, true), update: rbac.bindingUpdateErrors },
  CertificateSigningRequest: {
    create: certificates.signingRequestErrors, update: certificates.signingRequestUpdateErrors,
    sub: { approval: certificates.approvalErrors, status: certificates.signingStatusErrors },
  },
  // Network.
  NetworkPolicy: { always: networking.networkPolicyErrors },
  Ingress: { always: networking.ingressErrors, create: networking.ingressCreateErrors, sub: { status: networking.ingressStatusErrors } },
  IngressClass: { always: networking.ingressClassErrors, update: networking.ingressClassUpdateErrors },
  IPAddress: { always: networking.ipAddressErrors, update: networking.ipAddressUpdateErrors },
  ServiceCIDR: { always: networking.serviceCidrErrors, update: networking.serviceCidrUpdateErrors },
  EndpointSlice: { always: discovery.endpointSliceErrors, update: discovery.endpointSliceUpdateErrors },
  // Storage.
  StorageClass: { always: storage.storageClassErrors, update: storage.storageClassUpdateErrors },
  VolumeAttributesClass: { always: storage.attributesClassErrors, update: storage.attributesClassUpdateErrors },
  CSIDriver: { always: storage.csiDriverErrors, update: storage.csiDriverUpdateErrors },
  CSINode: { always: storage.csiNodeErrors, update: storage.csiNodeUpdateErrors },
  CSIStorageCapacity: { always: storage.capacityErrors, update: storage.capacityUpdateErrors },
  VolumeAttachment: { always: storage.attachmentErrors, update: storage.attachmentUpdateErrors, sub: { status: storage.attachmentStatusErrors } },
  // Nodes and scheduling.
  PriorityClass: { create: scheduling.priorityClassErrors, update: scheduling.priorityClassUpdateErrors },
  RuntimeClass: { create: scheduling.runtimeClassErrors, update: scheduling.runtimeClassUpdateErrors },
  Lease: { always: scheduling.leaseErrors },
  EventsEvent: { create: events.eventsEventErrors, update: events.eventsEventUpdateErrors },
  // Devices, flow control.
  DeviceClass: { always: devices.deviceClassErrors },
  ResourceResourceClaim: { create: devices.claimSpecErrors, update: devices.claimSpecUpdateErrors, sub: { status: claimStatusErrors } },
  ResourceClaimTemplate: { create: devices.claimTemplateErrors, update: devices.claimTemplateUpdateErrors },
  ResourceSlice: { always: devices.sliceErrors, update: devices.sliceUpdateErrors },
  FlowSchema: { always: flow.flowSchemaErrors },
  PriorityLevelConfiguration: { always: flow.priorityLevelErrors },
}
