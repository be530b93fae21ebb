/** A pod that names its node goes there or nowhere. */
import { FITS, type Filter } from './filter.ts'

const REASON = ["node(s) didn't match the requested node name"]

export const nodeName: Filter = (pod, node) => ((pod.spec?.nodeName ?? '') === '' || pod.spec?.nodeName === node.name ? FITS : REASON)
