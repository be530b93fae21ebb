/**
 * The server's part of devices: says on each Device what is wrong with it (conditions and Events), whether its node exists and
 * is in touch. Writes `status.conditions` and nothing else; the node writes the rest. Wired by the server.
 */
import type { Condition, KubeObject } from '../api/meta.ts'
import type { Clock } from '../base/clock.ts'
import { hasCode } from '../base/errors.ts'
import type { CacheSet, Client, EventRecorder, ResourceRef } from '../client/mod.ts'
import { createController, findCondition, kubeTime, setCondition, watchMapped, watchObjects, type Controller } from '../control/mod.ts'
import { mergeDevice, type Mistake } from './model.ts'
import { DEVICE_MODELS, DEVICES, referenceTo, type DeviceModelObject, type DeviceObject } from './types.ts'

const NODES: ResourceRef = { group: '', version: 'v1', resource: 'nodes', kind: 'Node', namespaced: false }
interface NodeObject extends KubeObject {
  status?: { conditions?: readonly Condition[] }
}

const MODEL_INDEX = 'device-model'
const NODE_INDEX = 'device-node'
/** Condition types on a Device. */
export const VALID = 'Valid'
export const NODE_CONNECTED = 'NodeConnected'

export interface DeviceControllerOptions {
  readonly client: Client
  readonly caches: CacheSet
  readonly clock: Clock
  readonly recorder: Pick<EventRecorder, 'event'>
}

/** Makes the controller; run it where the other controllers run. */
export function createDeviceController({ client, caches, clock, recorder }: DeviceControllerOptions): Controller {
  const devices = caches.cache<DeviceObject>(DEVICES, {
    indexes: {
      [MODEL_INDEX]: (d) => [`${d.metadata?.namespace}/${d.spec?.deviceModelRef?.name}`],
      [NODE_INDEX]: (d) => [d.spec?.nodeName ?? ''],
    },
  })
  const models = caches.cache<DeviceModelObject>(DEVICE_MODELS)
  const nodes = caches.cache<NodeObject>(NODES)
  const api = client.resource<DeviceObject>(DEVICES)
  const keys = (found: readonly Readonly<DeviceObject>[]): string[] => found.map((d) => `${d.metadata?.namespace}/${d.metadata?.name}`)

  return createController({
    name: 'device',
    clock,
    caches: [devices, models, nodes],
    sources: [
      watchObjects(devices),
      watchMapped(models, (m) => keys(devices.byIndex(MODEL_INDEX, `${m.metadata?.namespace}/${m.metadata?.name}`))),
      watchMapped(nodes, (n) => keys(devices.byIndex(NODE_INDEX, n.metadata?.name ?? ''))),
    ],
    async reconcile(key) {
      const [namespace = '', name = ''] = key.split('/')
      const device = devices.get(name, namespace)
      if (!device || device.metadata?.deletionTimestamp !== undefined) return
      const model = models.get(device.spec?.deviceModelRef?.name ?? '', namespace)
      const node = nodes.get(device.spec?.nodeName ?? '')
      const before = device.status?.conditions ?? []
      const now = kubeTime(clock.now())
      const mistakes = mistakesOf(device, model, node !== undefined)
      const after = planConditions(device, mistakes, node, now)
      if (same(before, after)) return
      try {
        await api.patch(name, namespace, { status: { conditions: after } }, 'merge', { subresource: 'status', fieldManager: 'device-controller' })
      } catch (error) {
        if (hasCode(error, 'not-found')) return
        throw error
      }
      const told = findCondition([...before], VALID)?.message
      if (mistakes.length > 0 && told !== findCondition(after, VALID)?.message) for (const m of mistakes) recorder.event(referenceTo(device), 'Warning', m.reason, m.message)
    },
  })
}

/** All that is wrong with a device as the server can tell. Pure. */
export function mistakesOf(device: DeviceObject, model: DeviceModelObject | undefined, nodeExists: boolean): Mistake[] {
  const mistakes = [...mergeDevice(device, model).mistakes]
  const node = device.spec?.nodeName
  if (!node) mistakes.push({ reason: 'NodeMissing', message: 'spec.nodeName is not set: name the node that reaches the device' })
  else if (!nodeExists) mistakes.push({ reason: 'NodeMissing', message: `node "${node}" does not exist: correct spec.nodeName, or join the node` })
  return mistakes
}

/** The conditions to stand on the device. Pure. */
export function planConditions(device: DeviceObject, mistakes: readonly Mistake[], node: NodeObject | undefined, now: string): Condition[] {
  const observedGeneration = device.metadata?.generation ?? 0
  const first = mistakes[0]
  let conditions = setCondition<Condition>(
    device.status?.conditions,
    first
      ? { type: VALID, status: 'False', reason: first.reason, message: mistakes.map((m) => m.message).join('; ').slice(0, 4096), observedGeneration }
      : { type: VALID, status: 'True', reason: 'Accepted', message: '', observedGeneration },
    now,
  )
  const ready = findCondition([...(node?.status?.conditions ?? [])], 'Ready')
  conditions = setCondition<Condition>(
    conditions,
    ready?.status === 'True'
      ? { type: NODE_CONNECTED, status: 'True', reason: 'NodeReady', message: '', observedGeneration }
      : { type: NODE_CONNECTED, status: node ? 'Unknown' : 'False', reason: node ? 'NodeNotReady' : 'NodeMissing', message: 'state and values are as last reported', observedGeneration },
    now,
  )
  return conditions
}

function same(a: readonly Condition[], b: readonly Condition[]): boolean {
  return a.length === b.length && a.every((c, i) => JSON.stringify(sorted(c)) === JSON.stringify(sorted(b[i] as Condition)))
}

function sorted(c: Condition): unknown[] {
  return [c.type, c.status, c.reason, c.message, c.observedGeneration]
}
