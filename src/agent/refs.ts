/** The resources the agent reads and writes, by name. */
import type { ResourceRef } from '../client/mod.ts'

const core = (resource: string, kind: string, namespaced = true): ResourceRef => ({ group: '', version: 'v1', resource, kind, namespaced })

export const PODS = core('pods', 'Pod')
export const NODES = core('nodes', 'Node', false)
export const CONFIG_MAPS = core('configmaps', 'ConfigMap')
export const SECRETS = core('secrets', 'Secret')
