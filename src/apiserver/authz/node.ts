/**
 * The Node authorizer: what a node (`system:node:<name>`) may do, by its relation to objects rather than by role: its own
 * Node and Lease, the pods bound to it, and the Secrets, ConfigMaps and ServiceAccounts those pods name. Kept incrementally
 * from pod changes. Limits on what a node may *write into* objects are admission's (`admission/node-restriction.ts`).
 */
import { GROUP_NODES, type UserInfo } from '../../api/contract.ts'
import type { Attributes } from '../ports.ts'
import type { Obj } from '../stored-text.ts'
import type { CacheEntry, WatchCache } from '../watch-cache.ts'

export const NODE_PREFIX = 'system:node:'
const READ = new Set(['get', 'list', 'watch'])
const WRITE = new Set(['create', 'update', 'patch'])
/** Groups whose objects describe devices; a node reads them all and writes those bound to it (admission checks). */
const DEVICE_GROUPS = new Set(['devices.kubeedge.io', 'skerry.io'])
const READ_ALL: Readonly<Record<string, readonly string[]>> = {
  '': ['services', 'endpoints', 'persistentvolumes', 'persistentvolumeclaims'],
  'discovery.k8s.io': ['endpointslices'],
  'node.k8s.io': ['runtimeclasses'],
  'storage.k8s.io': ['csidrivers', 'volumeattachments', 'storageclasses'],
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
  readonly #pods = new Map<string, PodRefs>()
  /** Per node: how many of its pods need a thing. */
  readonly #needs = new Map<string, Map<string, number>>()

  /** Follows the pods of `cache` from now on; call once after the cache has loaded. Returns how to stop. */
  attach(cache: WatchCache): () => void {
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

  /** The reason when a node may do this, else undefined. */
  allows(user: UserInfo, a: Attributes): string | undefined {
    const node = nodeName(user)
    if (node === undefined || a.resource === undefined) return undefined
    return this.#decide(node, a) ? `Node: "${node}" may` : undefined
  }

  #decide(node: string, a: Attributes): boolean {
    const { verb, name, namespace, subresource } = a
    const group = a.group ?? ''
    const resource = a.resource ?? ''
    const reads = READ.has(verb)
    if (DEVICE_GROUPS.has(group)) return reads || WRITE.has(verb) || verb === 'delete'
    if (reads && !subresource && READ_ALL[group]?.includes(resource)) return true
    switch (`${group}/${resource}`) {
      case '/nodes':
        if (verb === 'create') return !subresource
        if (name !== undefined) return name === node && (subresource === undefined || subresource === 'status') && (reads || WRITE.has(verb))
        return reads && fieldIs(a.fieldSelector, 'metadata.name', node)
      case '/pods':
        if (verb === 'create') return subresource === undefined || (subresource === 'eviction' && this.#has(node, `pods/${namespace}/${name}`))
        if (reads && name === undefined) return fieldIs(a.fieldSelector, 'spec.nodeName', node)
        if (!this.#has(node, `pods/${namespace}/${name}`)) return false
        return reads || (verb === 'delete' && !subresource) || (subresource === 'status' && (verb === 'update' || verb === 'patch'))
      case '/secrets':
      case '/configmaps':
        return reads && !subresource && name !== undefined && this.#has(node, `${resource}/${namespace}/${name}`)
      case '/serviceaccounts':
        return (
          name !== undefined &&
          this.#has(node, `serviceaccounts/${namespace}/${name}`) &&
          (subresource === 'token' ? verb === 'create' : verb === 'get' && !subresource)
        )
      case '/events':
      case 'events.k8s.io/events':
        return WRITE.has(verb)
      case 'coordination.k8s.io/leases':
        return namespace === 'kube-node-lease' && (verb === 'create' || name === node) && (WRITE.has(verb) || verb === 'get' || verb === 'delete')
      case 'storage.k8s.io/csinodes':
        return verb === 'create' || (name === node && (verb === 'get' || WRITE.has(verb) || verb === 'delete'))
      case 'certificates.k8s.io/certificatesigningrequests':
        return !subresource && (verb === 'create' || verb === 'get' || verb === 'list' || verb === 'watch')
      case 'authentication.k8s.io/tokenreviews':
      case 'authorization.k8s.io/subjectaccessreviews':
      case 'authorization.k8s.io/localsubjectaccessreviews':
        return verb === 'create'
      default:
        return false
    }
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
  const spec = (pod.spec ?? {}) as { serviceAccountName?: string }
  if (spec.serviceAccountName) found.add(`serviceaccounts/${namespace}/${spec.serviceAccountName}`)
  const walk = (value: unknown, field: string): void => {
    if (Array.isArray(value)) for (const item of value) walk(item, field)
    else if (typeof value === 'object' && value !== null) {
      const o = value as Record<string, unknown>
      const named = (o.secretName ?? o.name) as unknown
      if (typeof named === 'string') {
        if (/^(secret|secretRef|secretKeyRef|imagePullSecrets|nodePublishSecretRef)$/.test(field)) found.add(`secrets/${namespace}/${named}`)
        if (/^(configMap|configMapRef|configMapKeyRef)$/.test(field)) found.add(`configmaps/${namespace}/${named}`)
      }
      for (const [k, v] of Object.entries(o)) walk(v, k)
    }
  }
  walk(pod.spec, 'spec')
  return [...found]
}

function fieldIs(selector: string | undefined, field: string, value: string): boolean {
  return (selector ?? '').split(',').some((part) => part === `${field}=${value}` || part === `${field}==${value}`)
}
