/** What the API serves now, CRDs included: for controllers that act on every kind (garbage collection, namespace deletion). */
import { messageOf } from '../base/errors.ts'
import { callJson } from './resources.ts'
import type { ResourceRef, Transport } from './ports.ts'

export interface DiscoveredResource extends ResourceRef {
  readonly verbs: readonly string[]
}

export interface Discovery {
  /** Each resource once, in the preferred version of its group; no subresources. */
  readonly resources: readonly DiscoveredResource[]
  /** Group versions that could not be read, with why: whoever deletes must not take them for empty. */
  readonly failed: readonly string[]
}

interface ApiResourceList {
  resources: { name: string; kind: string; namespaced: boolean; verbs: string[] }[]
}
interface ApiGroupList {
  groups: { name: string; preferredVersion?: { version: string }; versions: { version: string }[] }[]
}

/** @throws when not even the list of groups can be read */
export async function discover(transport: Transport): Promise<Discovery> {
  const { groups } = await callJson<ApiGroupList>(transport, { method: 'GET', path: '/apis' })
  const found = new Map<string, DiscoveredResource>()
  const failed: string[] = []
  const read = async (group: string, version: string, path: string): Promise<void> => {
    try {
      const list = await callJson<ApiResourceList>(transport, { method: 'GET', path })
      for (const { name, kind, namespaced, verbs } of list.resources) {
        const key = `${group}/${name}`
        if (!name.includes('/') && !found.has(key)) found.set(key, { group, version, resource: name, kind, namespaced, verbs })
      }
    } catch (error) {
      failed.push(`${group === '' ? version : `${group}/${version}`}: ${messageOf(error)}`)
    }
  }
  await read('', 'v1', '/api/v1')
  for (const group of groups) {
    const preferred = group.preferredVersion?.version
    // The preferred version first; others only for resources that it lacks.
    const versions = group.versions.map((v) => v.version).toSorted((a, b) => Number(b === preferred) - Number(a === preferred))
    for (const version of versions) await read(group.name, version, `/apis/${group.name}/${version}`)
  }
  return { resources: [...found.values()], failed }
}
