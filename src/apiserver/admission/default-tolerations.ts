/**
 * DefaultTolerationSeconds: a pod that says nothing of nodes that are not ready or away stays there for five minutes once
 * something taints them with NoExecute. This server's own node controller never does: a cut-off node keeps its pods.
 */
import type { Toleration } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import type { AdmissionPlugin } from './chain.ts'

const KEYS = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']
/** As in Kubernetes. */
const SECONDS = 300

export const defaultTolerations: AdmissionPlugin = {
  name: 'DefaultTolerationSeconds',
  admit({ call, verb, object }) {
    if (call.def !== KINDS.Pod || call.info.subresource !== undefined || (verb !== 'create' && verb !== 'update')) return
    const spec = (object.spec ??= {}) as { tolerations?: Toleration[] }
    const said = spec.tolerations ?? []
    const missing = KEYS.filter((key) => !said.some((t) => (!t.key || t.key === key) && (!t.effect || t.effect === 'NoExecute')))
    if (missing.length > 0) spec.tolerations = [...said, ...missing.map((key): Toleration => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: SECONDS }))]
  },
}
