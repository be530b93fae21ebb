/** `kubectl cordon`: no new pods, unless they tolerate exactly that. */
import { FITS, type Filter } from './filter.ts'
import { tolerates } from './taints.ts'

const REASON = ['node(s) were unschedulable']
const TAINT = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }

export const unschedulable: Filter = (pod, node) =>
  node.node.spec?.unschedulable === true && !pod.spec?.tolerations?.some((t) => tolerates(t, TAINT)) ? REASON : FITS
