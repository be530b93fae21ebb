/**
 * What is served now: the built-in table plus the resources of established CRDs, by group, version and plural. Several
 * versions of one resource share one storage. Used by the pipeline, discovery and OpenAPI.
 */
import { apiVersionOf, RESOURCES, type ResourceDef } from '../api/kinds.ts'
import { ROOT } from './watch-cache.ts'

/** The live table: built-in rows are fixed, custom ones change. */
export class Resources {
  readonly #builtin: readonly ResourceDef[]
  #custom: readonly ResourceDef[] = []
  #byPath = new Map<string, ResourceDef>()
  /** Counts changes of what is served; discovery and OpenAPI documents are remade when it moved. */
  version = 0

  constructor(builtin: readonly ResourceDef[] = RESOURCES) {
    this.#builtin = builtin
    this.#index()
  }

  get all(): readonly ResourceDef[] {
    return [...this.#builtin, ...this.#custom]
  }

  get custom(): readonly ResourceDef[] {
    return this.#custom
  }

  /** Replaces the resources of CRDs. */
  setCustom(defs: readonly ResourceDef[]): void {
    this.#custom = defs
    this.#index()
  }

  find(group: string, version: string, resource: string): ResourceDef | undefined {
    return this.#byPath.get(`${group}/${version}/${resource}`)
  }

  /** Any version of a resource. */
  findAny(group: string, resource: string): ResourceDef | undefined {
    return this.all.find((d) => d.group === group && d.resource === resource)
  }

  hasVersion(group: string, version: string): boolean {
    return this.all.some((d) => d.group === group && d.version === version)
  }

  #index(): void {
    this.version++
    this.#byPath = new Map()
    for (const d of [...this.#custom, ...this.#builtin]) this.#byPath.set(`${d.group}/${d.version}/${d.resource}`, d)
  }
}

export { apiVersionOf }

/** The storage's name as one key segment: `pods`, `deployments.apps`. */
export function storageName(def: Pick<ResourceDef, 'storage'>): string {
  const slash = def.storage.indexOf('/')
  return slash < 0 ? def.storage : `${def.storage.slice(slash + 1)}.${def.storage.slice(0, slash)}`
}

/** Key of one object, or the prefix of a namespace or resource (with a final slash) when the name is left out. */
export function keyOf(def: ResourceDef, namespace: string | undefined, name?: string): string {
  const base = `${ROOT}${storageName(def)}/`
  if (!def.namespaced) return base + (name ?? '')
  return namespace === undefined || namespace === '' ? base : `${base}${namespace}/${name ?? ''}`
}
