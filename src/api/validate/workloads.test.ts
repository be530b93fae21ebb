import { test } from 'node:test'
import { KINDS } from '../kinds.ts'
import { refuses, refusesUpdate, warns, type Case } from '../../../test/kit/kinds.ts'

const TEMPLATE = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'i' }] } }
const spec = (more: object = {}): object => ({ spec: { selector: { matchLabels: { app: 'a' } }, template: TEMPLATE, ...more } })
const JOB_TEMPLATE = { spec: { ...TEMPLATE.spec, restartPolicy: 'Never' } }
const GE0 = 'must be greater than or equal to 0'
const ALWAYS = 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'
const FOREIGN = 'spec.template.metadata.labels: Invalid value: {"app":"b"}: `selector` does not match template `labels`'

test('Deployments', () => {
  refuses(KINDS.Deployment, spec(), [
    [{ spec: undefined }, ['spec.selector: Required value', 'spec.template.spec.containers: Required value']],
    [{ 'spec.selector': {} }, 'spec.selector: Invalid value: {}: empty selector is invalid for deployment'],
    [{ 'spec.template.metadata.labels': { app: 'b' } }, FOREIGN],
    [{ 'spec.replicas': -1 }, `spec.replicas: Invalid value: -1: ${GE0}`],
    [{ 'spec.template.spec.restartPolicy': 'Never' }, ALWAYS],
    [{ 'spec.template.spec.activeDeadlineSeconds': 5 }, 'spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported'],
    [{ 'spec.strategy.type': 'Big' }, 'spec.strategy: Unsupported value: {"Type":"Big","RollingUpdate":null}: supported values: "Recreate", "RollingUpdate"'],
    [{ 'spec.strategy': { type: 'Recreate', rollingUpdate: {} } }, "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    [{ 'spec.strategy.rollingUpdate': { maxSurge: 0, maxUnavailable: 0 } }, 'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0'],
    [{ 'spec.strategy.rollingUpdate': { maxSurge: '1', maxUnavailable: '101%' } }, ["spec.strategy.rollingUpdate.maxSurge: Invalid value: \"1\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')", "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"]],
    [{ 'spec.minReadySeconds': 700 }, 'spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds'],
    [{ 'spec.revisionHistoryLimit': -1 }, `spec.revisionHistoryLimit: Invalid value: -1: ${GE0}`],
    [{ 'spec.template.spec.containers[0].image': undefined }, 'spec.template.spec.containers[0].image: Required value'],
  ])
  refusesUpdate(KINDS.Deployment, spec(), [
    [{ 'spec.replicas': 3, 'spec.template.spec.containers[0].image': 'j' }, []],
    [{ 'spec.selector.matchLabels.b': 'b', 'spec.template.metadata.labels.b': 'b' }, 'spec.selector: Invalid value: {"matchLabels":{"app":"a","b":"b"}}: field is immutable'],
  ])
  refusesUpdate(KINDS.Deployment, spec(), [
    [{ 'spec.replicas': -4, status: { replicas: 2, readyReplicas: 1 } }, []],
    [{ status: { replicas: 1, readyReplicas: 2 } }, 'status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas'],
    [{ status: { replicas: -1 } }, [`status.replicas: Invalid value: -1: ${GE0}`, ...['updated', 'ready', 'available'].map((k) => `status.${k}Replicas: Invalid value: 0: cannot be greater than status.replicas`)]],
  ], 'status')
  warns(KINDS.Deployment, spec(), [
    [{}, []],
    [{ 'metadata.name': 'a.b' }, 'metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]'],
    [{ 'spec.template.spec.containers[0].env': [{ name: 'A', value: '1' }, { name: 'A', value: '2' }] }, 'spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'],
    [{ 'spec.template.spec.nodeSelector': { 'beta.kubernetes.io/os': 'linux' } }, 'spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
  ])
})

test('ReplicaSets, ReplicationControllers and DaemonSets', () => {
  refuses(KINDS.ReplicaSet, spec(), [
    [{ 'spec.selector': {} }, 'spec.selector: Invalid value: {}: empty selector is invalid for deployment'],
    [{ 'spec.template.metadata.labels': { app: 'b' } }, FOREIGN],
    [{ 'spec.template.spec.restartPolicy': 'Never' }, ALWAYS],
  ])
  refuses(KINDS.ReplicationController, { spec: { template: TEMPLATE } }, [
    [{ 'spec.selector': { app: 'b' } }, 'spec.template.metadata.labels: Invalid value: {"app":"a"}: `selector` does not match template `labels`'],
    [{ 'spec.template': undefined }, ['spec.selector: Required value', 'spec.template: Required value']],
  ])
  refuses(KINDS.DaemonSet, spec(), [
    [{ 'spec.updateStrategy': { type: 'X' } }, 'spec.updateStrategy: Unsupported value: {"Type":"X","RollingUpdate":null}: supported values: "RollingUpdate", "OnDelete"'],
    [{ 'spec.updateStrategy': { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0 } } }, 'spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0'],
    [{ 'spec.updateStrategy': { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1, maxSurge: 1 } } }, 'spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero'],
  ])
  refusesUpdate(KINDS.DaemonSet, spec(), [[{ 'spec.selector.matchLabels.b': 'b', 'spec.template.metadata.labels.b': 'b' }, 'spec.selector: Invalid value: {"matchLabels":{"app":"a","b":"b"}}: field is immutable']])
})

test('StatefulSets', () => {
  const claim = { metadata: { name: 'd' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } }
  const base = spec({ serviceName: 's', volumeClaimTemplates: [claim] })
  const fixed = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
  refuses(KINDS.StatefulSet, base, [
    [{ 'spec.podManagementPolicy': 'X' }, 'spec.podManagementPolicy: Invalid value: "X": must be \'OrderedReady\' or \'Parallel\''],
    [{ 'spec.updateStrategy': { type: 'X' } }, "spec.updateStrategy: Invalid value: {\"Type\":\"X\",\"RollingUpdate\":null}: must be 'RollingUpdate' or 'OnDelete'"],
    [{ 'spec.updateStrategy': { type: 'OnDelete', rollingUpdate: { partition: 1 } } }, "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'"],
    [{ 'spec.updateStrategy.rollingUpdate.partition': -1 }, `spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: ${GE0}`],
    [{ 'spec.persistentVolumeClaimRetentionPolicy': { whenDeleted: 'X' } }, 'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "X": supported values: "Retain", "Delete"'],
    [{ 'spec.ordinals': { start: -1 } }, `spec.ordinals.start: Invalid value: -1: ${GE0}`],
    [{ 'spec.template.metadata.labels': { app: 'b' } }, FOREIGN],
  ])
  refusesUpdate(KINDS.StatefulSet, base, [
    [{ 'spec.replicas': 3, 'spec.ordinals': { start: 1 }, 'spec.minReadySeconds': 2, 'spec.updateStrategy.rollingUpdate': { partition: 2 } }, []],
    [{ 'spec.serviceName': 't' }, fixed],
    [{ 'spec.volumeClaimTemplates': [] }, fixed],
    [{ 'spec.podManagementPolicy': 'Parallel' }, fixed],
  ])
})

test('Jobs', () => {
  const base = { spec: { template: JOB_TEMPLATE } }
  const indexed = { 'spec.completionMode': 'Indexed', 'spec.completions': 3 }
  const policy = (rule: object): Record<string, unknown> => ({ 'spec.podFailurePolicy': { rules: [rule] } })
  const R = 'spec.podFailurePolicy.rules[0]'
  refuses(KINDS.Job, base, [
    [{ 'spec.template.spec.restartPolicy': 'Always' }, 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    [{ 'spec.parallelism': -1 }, `spec.parallelism: Invalid value: -1: ${GE0}`],
    [{ 'spec.completions': -1 }, `spec.completions: Invalid value: -1: ${GE0}`],
    [{ 'spec.backoffLimit': -1 }, `spec.backoffLimit: Invalid value: -1: ${GE0}`],
    [{ 'spec.ttlSecondsAfterFinished': -1 }, `spec.ttlSecondsAfterFinished: Invalid value: -1: ${GE0}`],
    [{ 'spec.completionMode': 'X' }, 'spec.completionMode: Unsupported value: "X": supported values: "NonIndexed", "Indexed"'],
    [{ 'spec.completionMode': 'Indexed', 'spec.parallelism': 1 }, 'spec.completions: Required value: when completion mode is Indexed'],
    [{ ...indexed, 'spec.parallelism': 100_001 }, 'spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed'],
    [{ 'spec.backoffLimitPerIndex': 1 }, 'spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode'],
    [{ ...indexed, 'spec.maxFailedIndexes': 1 }, 'spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified'],
    [{ 'spec.manualSelector': true }, 'spec.selector: Required value'],
    [{ 'spec.podReplacementPolicy': 'X' }, 'spec.podReplacementPolicy: Unsupported value: "X": supported values: "Failed", "TerminatingOrFailed"'],
    [{ 'spec.managedBy': 'x' }, 'spec.managedBy: Invalid value: "x": must be a domain-prefixed path (such as "acme.io/foo")'],
    [policy({ action: 'X', onExitCodes: { operator: 'In', values: [1] } }), `${R}.action: Unsupported value: "X": supported values: "Count", "FailIndex", "FailJob", "Ignore"`],
    [policy({ action: 'Ignore' }), `${R}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required`],
    [policy({ action: 'FailIndex', onExitCodes: { operator: 'In', values: [1] } }), `${R}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set`],
    [policy({ action: 'Ignore', onExitCodes: { operator: 'In', values: [0] } }), `${R}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator`],
    [policy({ action: 'Ignore', onExitCodes: { operator: 'NotIn', values: [2, 1] } }), `${R}.onExitCodes.values: Invalid value: [2,1]: must be ordered`],
    [policy({ action: 'Ignore', onExitCodes: { operator: 'In', values: [1], containerName: 'x' } }), `${R}.onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template`],
    [policy({ action: 'Ignore', onPodConditions: [{ type: 'A', status: 'Perhaps' }] }), `${R}.onPodConditions[0].status: Unsupported value: "Perhaps": supported values: "False", "True", "Unknown"`],
    [{ 'spec.successPolicy': { rules: [{ succeededCount: 1 }] } }, 'spec.successPolicy: Invalid value: {"rules":[{"succeededCount":1}]}: requires indexed completion mode'],
    [{ ...indexed, 'spec.successPolicy': { rules: [] } }, 'spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified'],
    [{ ...indexed, 'spec.successPolicy': { rules: [{}] } }, 'spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified'],
    [{ ...indexed, 'spec.successPolicy': { rules: [{ succeededCount: 4 }] } }, 'spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)'],
  ])
  const named = (text: string): string => `${text}: field is immutable`
  const running = { spec: { ...base.spec, completions: 2 }, status: { startTime: '2026-01-01T00:00:00Z' } }
  refusesUpdate(KINDS.Job, { metadata: { uid: 'u' }, ...running }, [
    [{ 'spec.parallelism': 4, 'spec.suspend': true, 'spec.activeDeadlineSeconds': 9, 'spec.ttlSecondsAfterFinished': 1, 'spec.backoffLimit': 1 }, []],
    [{ 'spec.completions': 3 }, named('spec.completions: Invalid value: 3')],
    [{ ...indexed, 'spec.completions': 2 }, named('spec.completionMode: Invalid value: "Indexed"')],
  ])
})

test('CronJobs', () => {
  const base = { spec: { schedule: '*/5 * * * *', jobTemplate: { spec: { template: JOB_TEMPLATE } } } }
  const wrong = (schedule: string, why: string): Case => [{ 'spec.schedule': schedule }, `spec.schedule: Invalid value: "${schedule}": ${why}`]
  refuses(KINDS.CronJob, base, [
    [{ 'spec.schedule': undefined }, 'spec.schedule: Required value'],
    [{ 'spec.schedule': '@every 5m' }, []],
    [{ 'spec.schedule': '0 0 * JAN-MAR,DEC mon' }, []],
    wrong('* * *', 'expected exactly 5 fields, found 3: [* * *]'),
    wrong('61 * * * *', 'end of range (61) above maximum (59): 61'),
    wrong('a * * * *', 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
    wrong('@often', 'unrecognized descriptor: @often'),
    [{ 'spec.schedule': 'TZ=UTC * * * * *' }, 'spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead'],
    [{ 'spec.timeZone': 'Europe/Berlin' }, []],
    [{ 'spec.timeZone': '' }, 'spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string'],
    [{ 'spec.timeZone': 'Local' }, 'spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones'],
    [{ 'spec.timeZone': 'Nowhere/Land' }, 'spec.timeZone: Invalid value: "Nowhere/Land": unknown time zone Nowhere/Land'],
    [{ 'spec.concurrencyPolicy': 'X' }, 'spec.concurrencyPolicy: Unsupported value: "X": supported values: "Allow", "Forbid", "Replace"'],
    [{ 'spec.startingDeadlineSeconds': -1 }, `spec.startingDeadlineSeconds: Invalid value: -1: ${GE0}`],
    [{ 'spec.successfulJobsHistoryLimit': -1, 'spec.failedJobsHistoryLimit': -1 }, [`spec.successfulJobsHistoryLimit: Invalid value: -1: ${GE0}`, `spec.failedJobsHistoryLimit: Invalid value: -1: ${GE0}`]],
    [{ 'spec.jobTemplate.spec.template.spec.restartPolicy': undefined }, 'spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    [{ 'metadata.name': 'n'.repeat(53) }, `metadata.name: Invalid value: "${'n'.repeat(53)}": must be no more than 52 characters`],
    [{ 'spec.jobTemplate.spec.manualSelector': true }, 'spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"'],
  ])
})

test('HorizontalPodAutoscalers and PodDisruptionBudgets', () => {
  const base = { spec: { maxReplicas: 3, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'd' }, metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } }] } }
  refuses(KINDS.V2HorizontalPodAutoscaler, base, [
    [{ 'spec.maxReplicas': 0 }, ['spec.maxReplicas: Invalid value: 0: must be greater than 0', 'spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`']],
    [{ 'spec.minReplicas': 0 }, ['spec.minReplicas: Invalid value: 0: must be greater than or equal to 1', 'spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas']],
    [{ 'spec.minReplicas': 4 }, 'spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`'],
    [{ 'spec.scaleTargetRef.name': '' }, 'spec.scaleTargetRef.name: Required value'],
    [{ 'spec.scaleTargetRef.kind': '' }, 'spec.scaleTargetRef.kind: Required value'],
    [{ 'spec.metrics[0].type': 'X' }, Array.from({ length: 2 }, () => 'spec.metrics[0].type: Unsupported value: "X": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"')],
    [{ 'spec.metrics[0].type': 'Pods' }, 'spec.metrics[0].pods: Required value: must populate information for the given metric source'],
    [{ 'spec.metrics[0].resource.target': { type: 'Utilization' } }, 'spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization'],
    [{ 'spec.behavior': { scaleDown: { stabilizationWindowSeconds: 3601 } } }, 'spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600'],
    [{ 'spec.behavior': { scaleUp: { policies: [{ type: 'Pods', value: 0, periodSeconds: 1801 }] } } }, ['spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero', 'spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800']],
  ])
  refuses(KINDS.PodDisruptionBudget, { spec: { minAvailable: 1, selector: {} } }, [
    [{ 'spec.maxUnavailable': 1 }, 'spec: Invalid value: {"MinAvailable":1,"Selector":{},"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set'],
    [{ 'spec.minAvailable': -1 }, `spec.minAvailable: Invalid value: -1: ${GE0}`],
    [{ 'spec.minAvailable': '101%' }, 'spec.minAvailable: Invalid value: "101%": must not be greater than 100%'],
    [{ 'spec.unhealthyPodEvictionPolicy': 'X' }, 'spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: "AlwaysAllow", "IfHealthyBudget"'],
  ])
})
