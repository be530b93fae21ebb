/**
 * The node's devices as ResourceSlices, for the scheduler to choose from. Loaded when the node offers devices, or did before.
 * Slices belong to the Node and go with it; a change is a new generation of the pool.
 */
import type { Device, Node, ResourceSlice } from '../../api/gen/types.ts'
import { DEVICE_DRIVER } from '../../api/claims.ts'
import { hasCode } from '../../base/errors.ts'
import type { Client } from '../../client/mod.ts'
import { RESOURCE_SLICES } from '../refs.ts'
import type { FoundDevice } from './found.ts'

/** Devices of one slice at most. */
const PER_SLICE = 128

/** What the slices of a node say but for their generation. Pure. */
export function slicesOf(nodeName: string, found: readonly FoundDevice[]): Device[][] {
  const devices = found.filter((d) => d.resource === undefined).map(({ name, attributes }): Device => ({ name, attributes: { ...attributes } }))
  return Array.from({ length: Math.ceil(devices.length / PER_SLICE) }, (_, i) => devices.slice(i * PER_SLICE, (i + 1) * PER_SLICE))
}

/** Makes the API say what is there. May be repeated. @throws ApiError, AppError `unavailable` */
export async function publishSlices(client: Client, node: Readonly<Node>, found: readonly FoundDevice[]): Promise<void> {
  const { name: nodeName = '', uid = '' } = node.metadata ?? {}
  const api = client.resource<ResourceSlice>(RESOURCE_SLICES)
  const mine = (await api.list({ fieldSelector: `spec.nodeName=${nodeName}` })).items.filter((s) => s.spec?.driver === DEVICE_DRIVER)
  const wanted = slicesOf(nodeName, found)
  const nameOf = (i: number): string => `${nodeName}-${DEVICE_DRIVER}-${i}`
  const text = (devices: readonly Device[] | undefined): string => JSON.stringify((devices ?? []).map((d) => [d.name, Object.entries(d.attributes ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1))]))
  const same = mine.length === wanted.length && wanted.every((devices, i) => {
    const there = mine.find((s) => s.metadata?.name === nameOf(i))
    return there?.metadata?.ownerReferences?.[0]?.uid === uid && text(there.spec?.devices) === text(devices)
  })
  if (same) return
  const generation = Math.max(0, ...mine.map((s) => s.spec?.pool?.generation ?? 0)) + 1
  for (const [i, devices] of wanted.entries()) {
    const there = mine.find((s) => s.metadata?.name === nameOf(i))
    const slice: ResourceSlice = {
      metadata: {
        name: nameOf(i),
        ...(there?.metadata?.resourceVersion === undefined ? {} : { resourceVersion: there.metadata.resourceVersion }),
        ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid, controller: true }],
      },
      spec: { driver: DEVICE_DRIVER, nodeName, pool: { name: nodeName, generation, resourceSliceCount: wanted.length }, devices },
    }
    await (there ? api.update(slice) : api.create(slice))
  }
  for (const s of mine) {
    const name = s.metadata?.name ?? ''
    if (!wanted.some((_, i) => nameOf(i) === name)) {
      await api.delete(name).catch((error: unknown) => {
        if (!hasCode(error, 'not-found')) throw error
      })
    }
  }
}
