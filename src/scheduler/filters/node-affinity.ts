/** `nodeSelector` and required node affinity: labels and fields a node must have. */
import { suitsNode } from '../../api/node-match.ts'
import { FITS, type Filter } from './filter.ts'

export { termMatches } from '../../api/node-match.ts'

const REASON = ["node(s) didn't match Pod's node affinity/selector"]

export const nodeAffinity: Filter = (pod, { node }) => (suitsNode(pod, node) ? FITS : REASON)
