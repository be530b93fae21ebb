/** The resources the agent reads and writes, by name. */
import type { ResourceRef } from '../client/mod.ts'

const core = (resource: string, kind: string, namespaced = true): ResourceRef => ({ group: '', version: 'v1', resource, kind, namespaced })

export const PODS = core('pods', 'Pod')
export const NODES = core('nodes', 'Node', false)
export const CONFIG_MAPS = core('configmaps', 'ConfigMap')
export const SERVICES = core('services', 'Service')
export const SECRETS = core('secrets', 'Secret')
export const PERSISTENT_VOLUME_CLAIMS = core('persistentvolumeclaims', 'PersistentVolumeClaim')
export const PERSISTENT_VOLUMES = core('persistentvolumes', 'PersistentVolume', false)
const device = (resource: string, kind: string, namespaced: boolean): ResourceRef => ({ group: 'resource.k8s.io', version: 'v1', resource, kind, namespaced })

export const RESOURCE_CLAIMS = device('resourceclaims', 'ResourceClaim', true)
export const RESOURCE_SLICES = device('resourceslices', 'ResourceSlice', false)
export const RUNTIME_CLASSES: ResourceRef = { group: 'node.k8s.io', version: 'v1', resource: 'runtimeclasses', kind: 'RuntimeClass', namespaced: false }
