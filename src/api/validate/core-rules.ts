/** Rules of core, apps, batch, autoscaling and policy, by name of the type. */
import * as config from './config.ts'
import { eventErrors } from './event.ts'
import { nodeErrors, nodeUpdateErrors } from './node.ts'
import * as pod from './pod.ts'
import type { Rules } from './rules.ts'
import * as workload from './workload.ts'

export const CORE_RULES: Readonly<Record<string, Rules>> = {
  Pod: {
    always: pod.podErrors, create: pod.podCreateErrors, update: pod.podUpdateErrors,
    // This door changes exactly what a plain update may not.
    sub: { ephemeralcontainers: pod.podErrors },
  },
  Deployment: { always: workload.deploymentErrors, update: workload.selectorUpdateErrors },
  ReplicaSet: { always: workload.replicaSetErrors, update: workload.selectorUpdateErrors },
  DaemonSet: { always: workload.daemonSetErrors, update: workload.selectorUpdateErrors },
  StatefulSet: { always: workload.statefulSetErrors, update: workload.statefulSetUpdateErrors },
  Job: { always: workload.jobErrors },
  ConfigMap: { always: config.configMapErrors, update: config.frozenDataErrors },
  Secret: { always: config.secretErrors, update: config.frozenDataErrors },
  Service: { always: config.serviceErrors, update: config.serviceUpdateErrors },
  Node: { always: nodeErrors, update: nodeUpdateErrors },
  Event: { always: eventErrors },
  Namespace: {},
  ServiceAccount: {},
}
