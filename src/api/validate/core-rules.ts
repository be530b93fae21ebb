/** Rules of core, apps, batch, autoscaling and policy, by name of the type. */
import * as apps from './apps.ts'
import * as autoscaler from './autoscaler.ts'
import { budgetErrors, budgetStatusErrors } from './budget.ts'
import { claimErrors, claimStatusErrors, claimUpdateErrors } from './claim.ts'
import * as config from './config.ts'
import { cronJobCreateErrors, cronJobUpdateErrors } from './cron-job.ts'
import { endpointsErrors } from './endpoints.ts'
import { eventErrors } from './event.ts'
import { jobErrors, jobUpdateErrors } from './job.ts'
import { jobStatusErrors } from './job-status.ts'
import { limitRangeErrors, quotaErrors, quotaStatusErrors, quotaUpdateErrors } from './limits.ts'
import * as node from './node.ts'
import { volumeErrors, volumeUpdateErrors } from './persistent-volume.ts'
import * as podUpdate from './pod-update.ts'
import { podCreateErrors, podErrors, podTemplateErrors } from './pod.ts'
import type { Rules } from './rules.ts'
import * as service from './service.ts'
import * as warn from './warnings.ts'

export const CORE_RULES: Readonly<Record<string, Rules>> = {
  Pod: {
    warn: warn.podWarnings, always: podErrors, create: podCreateErrors, update: podUpdate.podUpdateErrors,
    sub: { status: podUpdate.podStatusErrors, ephemeralcontainers: podUpdate.ephemeralContainerErrors, resize: podUpdate.resizeErrors },
  },
  PodTemplate: { warn: warn.podTemplateWarnings, always: podTemplateErrors },
  ReplicationController: { warn: warn.namedTemplateWarnings, always: apps.replicationControllerErrors, sub: { status: apps.replicaSetStatusErrors } },
  Deployment: { warn: warn.namedTemplateWarnings, always: apps.deploymentErrors, update: apps.selectorUpdateErrors, sub: { status: apps.deploymentStatusErrors } },
  ReplicaSet: { warn: warn.namedTemplateWarnings, always: apps.replicaSetErrors, update: apps.selectorUpdateErrors, sub: { status: apps.replicaSetStatusErrors } },
  DaemonSet: { warn: warn.nodeTemplateWarnings, always: apps.daemonSetErrors, update: apps.selectorUpdateErrors, sub: { status: apps.daemonSetStatusErrors } },
  StatefulSet: {
    warn: warn.templateWarnings, always: apps.statefulSetErrors, create: apps.statefulSetCreateErrors, update: apps.statefulSetUpdateErrors, sub: { status: apps.statefulSetStatusErrors },
  },
  ControllerRevision: { always: apps.revisionErrors, create: apps.revisionCreateErrors, update: apps.revisionUpdateErrors },
  Job: { warn: warn.jobWarnings, always: jobErrors, update: jobUpdateErrors, sub: { status: jobStatusErrors } },
  CronJob: { warn: warn.cronJobWarnings, create: cronJobCreateErrors, update: cronJobUpdateErrors },
  ConfigMap: { always: config.configMapErrors, update: config.frozenDataErrors },
  Secret: { always: config.secretErrors, update: config.frozenDataErrors },
  Service: { warn: warn.serviceWarnings, always: service.serviceErrors, update: service.serviceUpdateErrors, sub: { status: service.serviceStatusErrors } },
  Endpoints: { warn: warn.endpointsWarnings, always: endpointsErrors },
  Node: { create: node.nodeCreateErrors, update: node.nodeUpdateErrors, sub: { status: node.nodeUpdateErrors } },
  Namespace: { create: node.namespaceErrors, sub: { status: node.namespaceStatusErrors, finalize: node.namespaceFinalizeErrors } },
  PersistentVolume: { warn: warn.volumeWarnings, always: volumeErrors, update: volumeUpdateErrors },
  PersistentVolumeClaim: { warn: warn.claimWarnings, always: claimErrors, update: claimUpdateErrors, sub: { status: claimStatusErrors } },
  ResourceQuota: { always: quotaErrors, update: quotaUpdateErrors, sub: { status: quotaStatusErrors } },
  LimitRange: { always: limitRangeErrors },
  Event: { always: eventErrors },
  ServiceAccount: { warn: warn.accountWarnings },
  V2HorizontalPodAutoscaler: {
    create: autoscaler.autoscalerCreateErrors, update: autoscaler.autoscalerUpdateErrors, sub: { status: autoscaler.autoscalerStatusErrors },
  },
  PodDisruptionBudget: { always: budgetErrors, sub: { status: budgetStatusErrors } },
}
