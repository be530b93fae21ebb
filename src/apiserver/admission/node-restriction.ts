/**
 * NodeRestriction: what a node may write into objects that the Node authorizer lets it write: itself, its own pods, and
 * devices bound to it. Labels that place workloads on trusted nodes are not a node's to set.
 */
import { KINDS } from '../../api/kinds.ts'
import { equal } from '../../api/patch/json-patch.ts'
import { forbidden } from '../../api/status.ts'
import { ANN_LOCAL_NODE, FINALIZER_LOCAL_PATH } from '../../api/volumes.ts'
import { nodeName, podRefs } from '../authz/node.ts'
import type { Core } from '../core.ts'
import type { Obj } from '../stored-text.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'

const DEVICE_GROUPS = new Set(['devices.kubeedge.io', 'skerry.io'])
const OWN_LABELS = /^(kubernetes\.io\/(hostname|arch|os)|beta\.kubernetes\.io\/(arch|os|instance-type)|node\.kubernetes\.io\/instance-type|(failure-domain\.beta|topology)\.kubernetes\.io\/(region|zone)|([\w.-]+\.)?(kubelet|node)\.kubernetes\.io\/.*)$/
const RESTRICTED = /^node-restriction\.kubernetes\.io\/|\.node-restriction\.kubernetes\.io\//

export const nodeRestriction: AdmissionPlugin = {
  name: 'NodeRestriction',
  validate(event) {
    const node = nodeName(event.call.user)
    if (node === undefined) return
    const why = refusal(event, node)
    if (why !== undefined) throw forbidden(event.call.def, event.object.metadata.name ?? '', why)
  },
}

/** Why a node may not do this write; undefined when it may. */
function refusal(event: AdmissionEvent, node: string): string | undefined {
  const { call, verb, object, old } = event
  const { def } = call
  const bound = (o: Obj | undefined): string | undefined => (o?.spec as { nodeName?: string } | undefined)?.nodeName
  if (DEVICE_GROUPS.has(def.group)) return deviceRefusal(event, node)
  switch (def) {
    case KINDS.Node: {
      if (object.metadata.name !== node) return `node "${node}" is not allowed to modify node "${object.metadata.name}"`
      if (verb === 'delete') return `node "${node}" is not allowed to delete itself`
      if (verb === 'update' && JSON.stringify((object.spec as { taints?: unknown } | undefined)?.taints) !== JSON.stringify((old?.spec as { taints?: unknown } | undefined)?.taints)) {
        return `node "${node}" is not allowed to modify taints`
      }
      // An owner of its choosing would have the garbage collector delete the node, and with it what its labels and taints stood for.
      if (JSON.stringify(object.metadata.ownerReferences ?? []) !== JSON.stringify(old?.metadata.ownerReferences ?? [])) return `node "${node}" is not allowed to modify ownerReferences`
      const changed = changedLabels(object, old)
      const bad = changed.filter((key) => RESTRICTED.test(key) || (/(^|\.)(kubernetes|k8s)\.io\//.test(key) && !OWN_LABELS.test(key)))
      return bad.length > 0 ? `is not allowed to modify labels: ${bad.join(', ')}` : undefined
    }
    case KINDS.Pod: {
      if (verb === 'create') {
        if (object.metadata.annotations?.['kubernetes.io/config.mirror'] === undefined) return `pod does not have "kubernetes.io/config.mirror" annotation, node "${node}" can only create mirror pods`
        if (bound(object) !== node) return `node "${node}" can only create pods with spec.nodeName set to itself`
        for (const owner of object.metadata.ownerReferences ?? []) if (owner.kind !== 'Node' || owner.name !== node) return `node "${node}" can only create pods with an owner reference set to itself`
        const kinds = new Set(podRefs(object).map((ref) => ref.slice(0, ref.indexOf('/'))).filter((kind) => kind !== 'pods'))
        return kinds.size === 0 ? undefined : `node "${node}" can not create pods that reference ${[...kinds].join(', ')}`
      }
      if (call.info.subresource === 'status' && changedLabels(object, old).length > 0) return `node "${node}" cannot update labels through pod status`
      return bound(old ?? object) === node ? undefined : `node "${node}" can only ${verb} pods with spec.nodeName set to itself`
    }
    case KINDS.Lease:
      return object.metadata.namespace === 'kube-node-lease' && object.metadata.name === node ? undefined : `can only access node lease with the same name as the requesting node`
    case KINDS.PersistentVolume: {
      const mine = verb === 'update' && old?.metadata.annotations?.[ANN_LOCAL_NODE] === node
      const rest = (o: Obj | undefined): object => ({ ...o, metadata: { ...o?.metadata, resourceVersion: '', managedFields: [], finalizers: (o?.metadata.finalizers ?? []).filter((f) => f !== FINALIZER_LOCAL_PATH) } })
      return mine && equal(rest(object), rest(old)) ? undefined : `node "${node}" can only hold and release volumes that are directories of its own`
    }
    case KINDS.ResourceSlice:
      return bound(old ?? object) === node && bound(object) === node ? undefined : `can only ${verb} ResourceSlice with the same NodeName as the requesting node`
    case KINDS.CSINode:
      return object.metadata.name === node ? undefined : 'can only access CSINode with the same name as the requesting node'
    default:
      return undefined
  }
}

/** A node reports on devices whose `spec.nodeName` is itself; the desired state, models and other nodes' devices are not its own. */
function deviceRefusal({ core, call, verb, object, old }: AdmissionEvent, node: string): string | undefined {
  const { def, info } = call
  if (def.resource === 'devicemodels') return `node "${node}" may not write device models`
  if (def.resource === 'devices' && (verb !== 'update' || info.subresource !== 'status')) return `node "${node}" may only update the status of devices`
  // A DeviceStatus belongs to the device of its name; one whose device is gone may be cleared away by anyone who reported it.
  const subject = def.resource === 'devicestatuses' ? deviceOf(core, object) : (old ?? object)
  if (!subject && verb === 'delete') return undefined
  const owner = (subject?.spec as { nodeName?: string } | undefined)?.nodeName ?? subject?.metadata.labels?.['skerry.io/node']
  if (owner === node) return undefined
  return `node "${node}" may only write what belongs to devices bound to it, this is bound to ${owner === undefined ? 'no node' : `"${owner}"`}`
}

function deviceOf(core: Core, status: Obj): Readonly<Obj> | undefined {
  const devices = core.cache.resource('devices.devices.kubeedge.io')
  return devices.get(`${devices.prefix}${status.metadata.namespace}/${status.metadata.name}`)?.parsed()
}

function changedLabels(object: Obj, old: Obj | undefined): string[] {
  const now = object.metadata.labels ?? {}
  const before = old?.metadata.labels ?? {}
  return [...new Set([...Object.keys(now), ...Object.keys(before)])].filter((k) => now[k] !== before[k])
}
