/** The admission plugins in their order, and the smallest among them. */
import { KINDS } from '../../api/kinds.ts'
import { certificateDoors } from './certificates.ts'
import type { AdmissionPlugin } from './chain.ts'
import { claimResize } from './claim-resize.ts'
import { customRules } from './custom-rules.ts'
import { writtenExpressions } from './written-expressions.ts'
import { defaultIngressClass } from './default-ingress-class.ts'
import { defaultTolerations } from './default-tolerations.ts'
import { escalation } from './escalation.ts'
import { namespaceLifecycle } from './namespace-lifecycle.ts'
import { nodeRestriction } from './node-restriction.ts'
import { limitRanger } from './limit-ranger.ts'
import type { PodSecurityConfig } from './pod-security-config.ts'
import { podSecurity } from './pod-security.ts'
import { resourceQuota } from './resource-quota.ts'
import { serviceAccount } from './service-account.ts'
import { mutatingWebhooks, validatingWebhooks } from '../webhooks/admission.ts'
import { serviceClaims } from '../service-claims.ts'
import { certificateSubject, defaultStorageClass, priority, systemPriorities } from './small-plugins.ts'
import { runtimeClass } from './runtime-class.ts'
import { storageProtection } from './storage-protection.ts'

/** A definition is served when its write is answered: the answer waits until the server has seen it itself. */
const serveAtOnce: AdmissionPlugin = {
  name: 'ServeCustomResources',
  async after({ core, call }, revision) {
    if (call.def === KINDS.CustomResourceDefinition) await core.cache.waitFor(revision)
  },
}

/** The list, written out: order matters for `admit`. */
export function admissionPlugins(podSecurityConfig: PodSecurityConfig): AdmissionPlugin[] {
  return [
    namespaceLifecycle, limitRanger, serviceAccount, priority, defaultTolerations, runtimeClass, defaultStorageClass, storageProtection, defaultIngressClass, mutatingWebhooks,
    customRules, writtenExpressions, systemPriorities, nodeRestriction, claimResize, escalation, podSecurity(podSecurityConfig), certificateDoors, certificateSubject, validatingWebhooks, resourceQuota, serviceClaims, serveAtOnce,
  ]
}
