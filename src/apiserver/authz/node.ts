/**
 * The Node authorizer: what a node (`system:node:<name>`) may do, by its relation to objects rather than by role: its own
 * Node and Lease, the pods bound to it, and the Secrets, ConfigMaps, claims and ServiceAccounts those pods name. Kept incrementally
 * from pod changes. Limits on what a node may *write into* objects are admission's (`admission/node-restriction.ts`).
 */
import { GROUP_NODES, type UserInfo } from '../../api/contract.ts'
import { parseFieldSelector, parseLabelSelector } from '../../api/selectors.ts'
import { LABEL_NODE, nodeLabel } from '../../api/volumes.ts'
import type { Attributes, Decision } from '../ports.ts'
import type { Obj } from '../stored-text.ts'
import type { CacheEntry, WatchCache } from '../watch-cache.ts'

export const NODE_PREFIX = 'system:node:'
const READ = new Set(['get', 'list', 'watch'])
const WRITE = new Set(['create', 'update', 'patch'])
/** Groups whose objects describe devices; a node reads them all and writes those bound to it (admission checks). */
const DEVICE_GROUPS = new Set(['devices.kubeedge.io', 'skerry.io'])
const READ_ALL: Readonly<Record<string, readonly string[]>> = {
  '': ['services', 'endpoints'],
  'discovery.k8s.io': ['endpointslices'],
  'node.k8s.io': ['runtimeclasses'],
  'storage.k8s.io': ['csidrivers'],
}

/** The node's name when the user is a node. */
export function nodeName(user: UserInfo): string | undefined {
  return user.groups.includes(GROUP_NODES) && user.name.startsWith(NODE_PREFIX) ? user.name.slice(NODE_PREFIX.length) : undefined
}

interface PodRefs {
  readonly node: string
  /** `secrets/ns/name`, `configmaps/ns/name`, `serviceaccounts/ns/name`, `pods/ns/name` … */
  readonly refs: readonly string[]
}

/** Knows which node needs what; decides from memory. */
export class NodeAuthorizer {
  #cache: WatchCache | undefined
  readonly #pods = new Map<string, PodRefs>()
  /** Per node: how many of its pods need a thing. */
  readonly #needs = new Map<string, Map<string, number>>()

  /** Follows the pods of `cache` from now on; call once after the cache has loaded. Returns how to stop. */
  attach(cache: WatchCache): () => void {
    this.#cache = cache
    const pods = cache.resource('pods')
    const load = (): void => {
      this.#pods.clear()
      this.#needs.clear()
      for (const entry of pods.scan()) this.#set(entry)
    }
    load()
    return pods.subscribe((event) => {
      if (event === 'reset') load()
      else if (event.type === 'delete') this.#drop(event.entry.key)
      else this.#set(event.entry)
    })
  }

  /** What a node may do, with Kubernetes' reason when it may not; undefined when the user is no node. */
  decide(user: UserInfo, a: Attributes): Decision | undefined {
    const node = nodeName(user)
    if (node === undefined || a.resource === undefined) return undefined
    const why = node === '' ? `unknown node for user ${JSON.stringify(user.name)}` : this.#refusal(node, a)
    return why === undefined ? { allowed: true, reason: '' } : { allowed: false, reason: why }
  }

  /** Why not; empty when nothing more is to be said, undefined when it may. */
  #refusal(node: string, a: Attributes): string | undefined {
    const { verb, name, namespace, subresource } = a
    const group = a.group ?? ''
    const resource = a.resource ?? ''
    const reads = READ.has(verb)
    const related = (ref: string): string | undefined => (name !== undefined && this.#needsNow(node, ref) ? undefined : name === undefined ? 'No Object name found' : `no relationship found between node '${node}' and this object`)
    const individual = (): string | undefined => (verb !== 'get' ? 'can only get individual resources of this type' : subresource ? 'cannot get subresource' : undefined)
    const when = (allowed: boolean, why = ''): string | undefined => (allowed ? undefined : why)
    if (DEVICE_GROUPS.has(group)) return when(reads || WRITE.has(verb) || verb === 'delete')
    if (reads && !subresource && READ_ALL[group]?.includes(resource)) return undefined
    switch (`${group}/${resource}`) {
      case '/nodes':
        if (verb === 'create') return when(!subresource)
        if (name === undefined) return reads ? `node '${node}' cannot read all nodes, only its own Node object` : ''
        if (reads && !subresource) return when(name === node, `node '${node}' cannot read '${name}', only its own Node object`)
        return when(name === node && (subresource === undefined || subresource === 'status') && WRITE.has(verb))
      case '/pods':
        if (verb === 'create') return subresource === undefined ? undefined : subresource === 'eviction' ? related(`pods/${namespace}/${name}`) : ''
        if (subresource === 'status') return verb === 'update' || verb === 'patch' ? related(`pods/${namespace}/${name}`) : ''
        if (subresource !== undefined) return ''
        if (reads && name === undefined) return when(selects(a.fieldSelector, 'spec.nodeName', node), 'can only list/watch pods with spec.nodeName field selector')
        return reads || verb === 'delete' ? related(`pods/${namespace}/${name}`) : ''
      case '/secrets':
      case '/configmaps':
        if (!reads) return 'can only read resources of this type'
        if (subresource) return 'cannot read subresource'
        if (!namespace) return 'can only read namespaced object of this type'
        return related(`${resource}/${namespace}/${name}`)
      case '/persistentvolumes':
        // A node holds the deletion of a volume that is a directory of its own until that is gone; admission sees to the rest.
        if (verb === 'patch') return when(name !== undefined && !subresource)
        if ((verb === 'list' || verb === 'watch') && !subresource && labelled(a.labelSelector, LABEL_NODE, nodeLabel(node))) return undefined
        return individual() ?? related(`persistentvolumes//${name}`)
      case '/persistentvolumeclaims':
        if (subresource !== 'status') return individual() ?? related(`persistentvolumeclaims/${namespace}/${name}`)
        return verb === 'update' || verb === 'patch' ? related(`persistentvolumeclaims/${namespace}/${name}`) : 'can only get/update/patch this type'
      case 'resource.k8s.io/resourceclaims':
        return individual() ?? related(`resourceclaims/${namespace}/${name}`)
      case 'resource.k8s.io/resourceslices':
        if (subresource) return 'cannot authorize ResourceSlice subresources'
        if (verb === 'create') return undefined
        if (verb === 'list' || verb === 'watch' || verb === 'deletecollection') return when(selects(a.fieldSelector, 'spec.nodeName', node), 'can only list/watch/deletecollection resourceslices with spec.nodeName field selector')
        return when(this.#spec('resourceslices.resource.k8s.io', name)?.nodeName === node, `no relationship found between node '${node}' and this object`)
      case 'storage.k8s.io/volumeattachments':
        if (verb !== 'get') return 'can only get individual resources of this type'
        return when(this.#spec('volumeattachments.storage.k8s.io', name)?.nodeName === node, `no relationship found between node '${node}' and this object`)
      case '/serviceaccounts':
        if (subresource === 'token' && verb === 'create') return related(`serviceaccounts/${namespace}/${name}`)
        if (verb === 'get' && !subresource) return related(`serviceaccounts/${namespace}/${name}`)
        return verb === 'create' ? 'can only create token subresource of serviceaccount' : 'can only create tokens for individual service accounts'
      case '/events':
      case 'events.k8s.io/events':
        return when(WRITE.has(verb))
      case 'coordination.k8s.io/leases':
        if (namespace !== 'kube-node-lease') return 'can only access leases in the "kube-node-lease" system namespace'
        if (!WRITE.has(verb) && verb !== 'get' && verb !== 'delete') return 'can only get, create, update, patch, or delete a node lease'
        return when(verb === 'create' || name === node, 'can only access node lease with the same name as the requesting node')
      case 'storage.k8s.io/csinodes':
        if (!WRITE.has(verb) && verb !== 'get' && verb !== 'delete') return 'can only get, create, update, patch, or delete a CSINode'
        return when(verb === 'create' || name === node, 'can only access CSINode with the same name as the requesting node')
      case 'certificates.k8s.io/certificatesigningrequests':
        return when(!subresource && (verb === 'create' || reads))
      case 'authentication.k8s.io/tokenreviews':
      case 'authorization.k8s.io/subjectaccessreviews':
      case 'authorization.k8s.io/localsubjectaccessreviews':
        return when(verb === 'create')
      default:
        return ''
    }
  }

  /** Asked of what is indexed, then of what changes while a pod runs: ephemeral containers, claims, volumes behind claims. */
  #needsNow(node: string, ref: string): boolean {
    if (this.#has(node, ref)) return true
    const [resource, namespace, named] = ref.split('/')
    if (resource === 'persistentvolumes') {
      const { claimRef } = (this.#spec('persistentvolumes', named) ?? {}) as { claimRef?: { namespace?: string; name?: string } }
      return claimRef !== undefined && this.#needsNow(node, `persistentvolumeclaims/${claimRef.namespace}/${claimRef.name}`)
    }
    for (const need of this.#needs.get(node)?.keys() ?? []) {
      const [kind, at, name] = need.split('/')
      if (kind === 'pods' && at === namespace && resource !== 'pods') {
        const pod = this.#cache?.resource('pods').get(`/registry/pods/${at}/${name}`)?.parsed()
        if (pod && podRefs(pod).includes(ref)) return true
      } else if (kind === 'persistentvolumeclaims' && resource === 'secrets') {
        const claim = this.#cache?.resource('persistentvolumeclaims').get(`/registry/persistentvolumeclaims/${at}/${name}`)?.parsed()
        const volume = (claim?.spec as { volumeName?: string } | undefined)?.volumeName
        if (volume && secretRefs(this.#spec('persistentvolumes', volume)).includes(ref)) return true
      }
    }
    return false
  }

  #spec(resource: string, name: string | undefined): { readonly nodeName?: string } | undefined {
    return this.#cache?.resource(resource).get(`/registry/${resource}/${name ?? ''}`)?.parsed().spec as { nodeName?: string } | undefined
  }

  #has(node: string, ref: string): boolean {
    return (this.#needs.get(node)?.get(ref) ?? 0) > 0
  }

  #set(entry: CacheEntry): void {
    const pod = entry.parsed()
    const node = (pod.spec as { nodeName?: string } | undefined)?.nodeName
    const old = this.#pods.get(entry.key)
    // A pod's references do not change once it is bound, except ephemeral ones; recomputed only when the node does.
    if (old?.node === node) return
    this.#drop(entry.key)
    if (!node) return
    const refs = podRefs(pod)
    this.#pods.set(entry.key, { node, refs })
    let needs = this.#needs.get(node)
    if (!needs) this.#needs.set(node, (needs = new Map()))
    for (const ref of refs) needs.set(ref, (needs.get(ref) ?? 0) + 1)
  }

  #drop(key: string): void {
    const old = this.#pods.get(key)
    if (!old) return
    this.#pods.delete(key)
    const needs = this.#needs.get(old.node)
    for (const ref of old.refs) {
      const left = (needs?.get(ref) ?? 1) - 1
      if (left > 0) needs?.set(ref, left)
      else needs?.delete(ref)
    }
    if (needs?.size === 0) this.#needs.delete(old.node)
  }
}

/** Everything a pod names that its node must read; pure. Found by field name, so new places in a pod spec are covered. */
export function podRefs(pod: Readonly<Obj>): string[] {
  const { namespace, name } = pod.metadata
  const found = new Set<string>([`pods/${namespace}/${name}`])
  const spec = (pod.spec ?? {}) as { serviceAccountName?: string; volumes?: { name?: string; ephemeral?: object; persistentVolumeClaim?: { claimName?: string } }[]; resourceClaims?: { resourceClaimName?: string }[] }
  const statuses = (pod.status as { resourceClaimStatuses?: { resourceClaimName?: string }[] } | undefined)?.resourceClaimStatuses ?? []
  if (spec.serviceAccountName) found.add(`serviceaccounts/${namespace}/${spec.serviceAccountName}`)
  for (const { name: volume, ephemeral, persistentVolumeClaim } of spec.volumes ?? []) {
    if (ephemeral) found.add(`persistentvolumeclaims/${namespace}/${name}-${volume}`)
    if (persistentVolumeClaim?.claimName) found.add(`persistentvolumeclaims/${namespace}/${persistentVolumeClaim.claimName}`)
  }
  for (const { resourceClaimName } of [...(spec.resourceClaims ?? []), ...statuses]) if (resourceClaimName) found.add(`resourceclaims/${namespace}/${resourceClaimName}`)
  const walk = (value: unknown, field: string): void => {
    if (Array.isArray(value)) for (const item of value) walk(item, field)
    else if (typeof value === 'object' && value !== null) {
      const o = value as Record<string, unknown>
      const named = o['secretName'] ?? o['name']
      if (typeof named === 'string') {
        if (/^(secret|secretRef|secretKeyRef|imagePullSecrets|nodePublishSecretRef|azureFile)$/.test(field)) found.add(`secrets/${namespace}/${named}`)
        if (/^(configMap|configMapRef|configMapKeyRef)$/.test(field)) found.add(`configmaps/${namespace}/${named}`)
      }
      for (const [k, v] of Object.entries(o)) walk(v, k)
    }
  }
  walk(pod.spec, 'spec')
  return [...found]
}

/** The Secrets a volume names, `secrets/ns/name`; pure. */
function secretRefs(spec: unknown): string[] {
  const found: string[] = []
  const walk = (value: unknown, field: string): void => {
    if (typeof value !== 'object' || value === null) return
    const { name, secretName, namespace, secretNamespace } = value as Record<string, unknown>
    const [secret, at] = [secretName ?? name, secretNamespace ?? namespace]
    if (/secret|azureFile/i.test(field) && typeof secret === 'string' && typeof at === 'string') found.push(`secrets/${at}/${secret}`)
    for (const [k, v] of Object.entries(value)) walk(v, k)
  }
  walk(spec, '')
  return found
}

/** True when a label selector cannot match anything with another value of this label. */
function labelled(selector: string | undefined, label: string, value: string): boolean {
  try {
    return parseLabelSelector(selector ?? '').some((r) => r.key === label && r.operator === 'In' && r.values.length === 1 && r.values[0] === value)
  } catch {
    return false
  }
}

/** True when a field selector cannot match anything with another value in this field. */
function selects(selector: string | undefined, field: string, value: string): boolean {
  try {
    return parseFieldSelector(selector ?? '').some((r) => r.field === field && r.equal && r.value === value)
  } catch {
    // Refused as a bad request elsewhere; here it proves nothing.
    return false
  }
}
