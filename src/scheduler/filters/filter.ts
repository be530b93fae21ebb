/** What a filter is: a pure function that says why a pod cannot go to a node, in Kubernetes' words, or nothing. */
import type { Pod } from '../../api/gen/types.ts'
import type { NodeView } from '../snapshot.ts'

/** The whole view, gathered once a decision, for rules about other nodes' pods. */
export interface Field {
  readonly nodes: readonly NodeView[]
  /** Pods that object to others near them (required anti-affinity), with their nodes. */
  readonly objecting: readonly { readonly pod: Readonly<Pod>; readonly on: NodeView }[]
}

/** Each reason counts once a node in the pod's Event. */
export type Filter = (pod: Readonly<Pod>, node: NodeView, field: Field) => readonly string[]

export const FITS: readonly string[] = []
