/** Rules of the groups beside core, apps, batch, autoscaling and policy, by name of the type. */
import * as cluster from './cluster.ts'
import * as crd from './crd.ts'
import type { Rules } from './rules.ts'
import * as webhooks from './webhooks.ts'

export const OTHER_RULES: Readonly<Record<string, Rules>> = {
  Lease: { always: cluster.leaseErrors },
  CertificateSigningRequest: { always: cluster.signingRequestErrors, update: cluster.signingRequestUpdateErrors },
  Role: { always: (o) => cluster.roleErrors(o, false) },
  ClusterRole: { always: (o) => cluster.roleErrors(o, true) },
  RoleBinding: { always: (o) => cluster.bindingErrors(o, false), update: cluster.bindingUpdateErrors },
  ClusterRoleBinding: { always: (o) => cluster.bindingErrors(o, true), update: cluster.bindingUpdateErrors },
  CustomResourceDefinition: { always: crd.crdErrors, create: crd.crdCreateErrors, update: crd.crdUpdateErrors, sub: { status: crd.crdStatusErrors } },
  MutatingWebhookConfiguration: { always: webhooks.webhookConfigurationErrors },
  ValidatingWebhookConfiguration: { always: webhooks.webhookConfigurationErrors },
  EventsEvent: {},
}
