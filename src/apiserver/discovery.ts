/** What the server can do, as clients ask: /api, /apis, group and version documents, and aggregated discovery v2; pure but for a memo. */
import { createHash } from 'node:crypto'
import { compareVersions } from '../api/crd.ts'
import type { ApiResponse } from '../api/contract.ts'
import { apiVersionOf, type ResourceDef } from '../api/kinds.ts'
import { negotiate } from './negotiate.ts'
import type { Resources } from './resources.ts'

/** Groups in the order kubectl users know; others follow in the order of the table. */
const FIRST = ['', 'apiregistration.k8s.io', 'apps', 'events.k8s.io', 'authentication.k8s.io', 'authorization.k8s.io', 'autoscaling', 'batch', 'certificates.k8s.io', 'networking.k8s.io', 'policy', 'rbac.authorization.k8s.io', 'storage.k8s.io', 'admissionregistration.k8s.io', 'apiextensions.k8s.io', 'scheduling.k8s.io', 'coordination.k8s.io', 'node.k8s.io', 'discovery.k8s.io', 'resource.k8s.io', 'flowcontrol.apiserver.k8s.io']

/** Answers the discovery paths from the table of kinds; documents are remade when what is served changes. */
export class Discovery {
  readonly #resources: Resources
  #memo = new Map<string, string>()
  #version = -1

  constructor(resources: Resources) {
    this.#resources = resources
  }

  /** undefined when the path is not one of discovery. */
  answer(path: string, accept: string | undefined, ifNoneMatch: string | undefined): ApiResponse | undefined {
    const clean = path.endsWith('/') ? path.slice(0, -1) : path
    const parts = clean.split('/').slice(1)
    if ((parts[0] !== 'api' && parts[0] !== 'apis') || parts.length > (parts[0] === 'api' ? 2 : 3)) return undefined
    const aggregated = parts.length === 1 && negotiate(accept).shape === 'aggregated' ? aggregatedVersion(accept) : undefined
    if (this.#version !== this.#resources.version) {
      this.#memo.clear()
      this.#version = this.#resources.version
    }
    const key = `${aggregated ?? ''}${clean}`
    let body = this.#memo.get(key)
    if (body === undefined) {
      const document = aggregated ? this.#aggregated(parts[0] === 'api', aggregated) : this.#plain(parts)
      if (!document) return undefined
      this.#memo.set(key, (body = JSON.stringify(document)))
    }
    const headers: Record<string, string> = { 'content-type': 'application/json' }
    if (aggregated) {
      headers['content-type'] = `application/json;g=apidiscovery.k8s.io;v=${aggregated};as=APIGroupDiscoveryList`
      headers.etag = `"${createHash('sha512').update(body).digest('hex').toUpperCase()}"`
      headers['cache-control'] = 'public'
      headers.vary = 'Accept'
      if (ifNoneMatch === headers.etag) return { status: 304, headers, body: '' }
    }
    return { status: 200, headers, body }
  }

  /** The paths of all documents. */
  paths(): string[] {
    const named = this.#groups().filter((g) => g !== '').flatMap((g) => [`/apis/${g}`, ...this.#versions(g).map((v) => `/apis/${g}/${v}`)])
    return ['/api', '/api/v1', '/apis', '/apis/', ...named]
  }

  #plain(parts: string[]): object | undefined {
    const [root, a, b] = parts
    if (root === 'api') {
      if (a === undefined) return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: '' }] }
      return this.#resourceList('', a)
    }
    if (a === undefined) return { kind: 'APIGroupList', apiVersion: 'v1', groups: this.#groups().filter((g) => g !== '').map((g) => this.#group(g)) }
    if (b === undefined) return this.#groups().includes(a) && a !== '' ? { kind: 'APIGroup', apiVersion: 'v1', ...this.#group(a) } : undefined
    return this.#resourceList(a, b)
  }

  #groups(): string[] {
    const all = [...new Set(this.#resources.all.map((d) => d.group))]
    return all.sort((x, y) => rank(x) - rank(y))
  }

  #versions(group: string): string[] {
    const versions = [...new Set(this.#resources.all.filter((d) => d.group === group).map((d) => d.version))]
    return this.#resources.custom.some((d) => d.group === group) ? versions.sort(compareVersions) : versions
  }

  /** The resources of a group and version, by name. */
  #of(group: string, version: string): ResourceDef[] {
    return this.#resources.all.filter((d) => d.group === group && d.version === version).sort((a, b) => (a.resource < b.resource ? -1 : 1))
  }

  #group(name: string): object {
    const versions = this.#versions(name).map((version) => ({ groupVersion: `${name}/${version}`, version }))
    return { name, versions, preferredVersion: versions[0] }
  }

  #resourceList(group: string, version: string): object | undefined {
    const defs = this.#of(group, version)
    if (defs.length === 0) return undefined
    const resources = defs.flatMap((d) => [
      {
        name: d.resource,
        singularName: d.singular,
        namespaced: d.namespaced,
        kind: d.kind,
        verbs: d.verbs,
        ...(d.shortNames.length > 0 ? { shortNames: d.shortNames } : {}),
        ...(d.categories.length > 0 ? { categories: d.categories } : {}),
        ...(d.storage === '' ? {} : { storageVersionHash: storageHash(this.#resources.all.find((x) => x.storage === d.storage) ?? d) }),
      },
      ...d.subresources.map((s) => ({
        name: `${d.resource}/${s.name}`,
        singularName: '',
        namespaced: d.namespaced,
        ...(s.group === undefined ? {} : { group: s.group, version: s.version }),
        kind: s.kind,
        verbs: s.verbs,
      })),
    ])
    return { kind: 'APIResourceList', ...(group === '' ? {} : { apiVersion: 'v1' }), groupVersion: apiVersionOf({ group, version }), resources }
  }

  #aggregated(core: boolean, version: string): object {
    const groups = this.#groups().filter((g) => (g === '') === core)
    const items = groups.map((group) => ({
      metadata: core ? {} : { name: group },
      versions: this.#versions(group).map((version) => ({
        version,
        resources: this.#of(group, version).map(discoveryOf),
        freshness: 'Current',
      })),
    }))
    return { kind: 'APIGroupDiscoveryList', apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items }
  }
}

/** The first version of the aggregated form that the caller names. */
function aggregatedVersion(accept: string | undefined): string {
  const first = (accept ?? '').split(',').find((type) => /;\s*as=APIGroupDiscoveryList/.test(type))
  return /;\s*v=(v2\w*)/.exec(first ?? '')?.[1] ?? 'v2'
}

function discoveryOf(d: ResourceDef): object {
  return {
    resource: d.resource,
    responseKind: { group: d.group, version: d.version, kind: d.kind },
    scope: d.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: d.singular,
    verbs: d.verbs,
    ...(d.shortNames.length > 0 ? { shortNames: d.shortNames } : {}),
    ...(d.categories.length > 0 ? { categories: d.categories } : {}),
    ...(d.subresources.length === 0
      ? {}
      : { subresources: d.subresources.map((s) => ({ subresource: s.name, responseKind: { group: s.group ?? d.group, version: s.version ?? d.version, kind: s.kind }, verbs: s.verbs })) }),
  }
}

function rank(group: string): number {
  const at = FIRST.indexOf(group)
  return at < 0 ? FIRST.length : at
}

function storageHash(d: ResourceDef): string {
  return createHash('sha256').update(`${d.group}/${d.version}/${d.kind}`).digest().subarray(0, 8).toString('base64')
}
