/** The door of `agent`: the node. */
export { createAgent } from './agent.ts'
export type { Agent } from './agent.ts'
export type { AgentOptions, HostPort, Mounter, NodeFacts, NodeNetwork, Seal } from './ports.ts'
export { machineArch, KUBERNETES_VERSION } from './node/facts.ts'
export { checkNode, type CheckOptions, type CheckRow } from './check/check.ts'
export { startContainerd, type OwnContainerd } from './containerd/supervisor.ts'
export { BridgeNetwork } from './network/network.ts'
