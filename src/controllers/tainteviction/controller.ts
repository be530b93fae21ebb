/**
 * Pods leave a node when it is given a taint with the effect NoExecute that they do not tolerate, at once or after their
 * `tolerationSeconds`, as Kubernetes' taint-eviction-controller has it. A node that is merely cut off gets no such taint
 * (see `../node/plan.ts`): who sets one wants the pods gone.
 */
import type { Node, Pod } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { hasCode } from '../../base/errors.ts'
import { referenceTo, splitKey } from '../../client/mod.ts'
import { createController, isActive, kubeTime, watchObjects, type Controller, type Result, type Source } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'
import { BY_NODE, podCache } from '../pod-cache.ts'
import { mayStayMs } from './plan.ts'

const hurries = (node: Readonly<Node> | undefined): boolean => node?.spec?.taints?.some((t) => t.effect === 'NoExecute') === true

/** Watches nodes and their pods; see the header. */
export function createTaintEvictionController({ client, caches, clock, recorder }: ControllerContext): Controller {
  const nodes = caches.cache<Node>(KINDS.Node)
  const pods = podCache(caches)
  const api = client.resource<Pod>(KINDS.Pod)
  const events = recorder('taint-eviction-controller')
  /** Since when a pod's time runs, monotonic ms, by key; bounded by pods on nodes with such taints. */
  const since = new Map<string, { readonly uid: string; readonly at: number }>()

  const reconcile = async (key: string): Promise<Result | void> => {
    const { namespace, name } = splitKey(key)
    const pod = pods.get(name, namespace)
    if (!pod || !isActive(pod)) return void since.delete(key)
    const uid = pod.metadata?.uid ?? ''
    const stays = mayStayMs(pod, nodes.get(pod.spec?.nodeName ?? '')?.spec?.taints)
    const running = since.get(key)
    if (stays === undefined) {
      if (since.delete(key) && running?.uid === uid) events.event(referenceTo(pod, KINDS.Pod), 'Normal', 'TaintManagerEviction', `Cancelling deletion of Pod ${key}`)
      return
    }
    const at = running?.uid === uid ? running.at : clock.monotonic()
    since.set(key, { uid, at })
    const left = at + stays - clock.monotonic()
    if (left > 0) return { requeueAfterMs: left }
    const condition = { type: 'DisruptionTarget', status: 'True', reason: 'DeletionByTaintManager', message: 'Taint manager: deleting due to NoExecute taint', lastTransitionTime: kubeTime(clock.now()) }
    try {
      await api.patch(name, namespace, { metadata: { uid }, status: { conditions: [condition] } }, 'strategic', { subresource: 'status' })
      events.event(referenceTo(pod, KINDS.Pod), 'Normal', 'TaintManagerEviction', `Marking for deletion Pod ${key}`)
      await api.delete(name, namespace, { preconditions: { uid } })
    } catch (error) {
      // It has gone, or another one has come in its place, which is looked at for itself.
      if (!hasCode(error, 'not-found') && !hasCode(error, 'conflict')) throw error
    }
    since.delete(key)
  }

  const watchNodes: Source = (enqueue) =>
    nodes.onChange((now, old) => {
      if (!hurries(now) && !hurries(old)) return
      for (const pod of pods.byIndex(BY_NODE, (now ?? old)?.metadata?.name ?? '')) enqueue(`${pod.metadata?.namespace}/${pod.metadata?.name}`)
    })
  const concerned = (pod: Readonly<Pod> | undefined): boolean => hurries(nodes.get(pod?.spec?.nodeName ?? ''))
  return createController({ name: 'tainteviction', clock, sources: [watchObjects(pods, (now, old) => concerned(now) || concerned(old)), watchNodes], caches: [nodes, pods], reconcile })
}
