/** A host port is one pod's at a time, also that of a pod that is still terminating. */
import { podHostPorts, portsClash } from '../requests.ts'
import { FITS, type Filter } from './filter.ts'

const REASON = ["node(s) didn't have free ports for the requested pod ports"]

export const hostPorts: Filter = (pod, node) => (podHostPorts(pod).some((p) => node.ports.some((q) => portsClash(p, q))) ? REASON : FITS)
