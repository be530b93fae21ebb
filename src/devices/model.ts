/**
 * Device merged over its DeviceModel: what a driver gets, the desired values in their types, and every mistake in words for
 * the user. Pure; the node acts on the result, the server's controller shows the mistakes on the Device.
 */
import { messageOf } from '../base/errors.ts'
import { toProperty } from './convert.ts'
import type { DeviceConfig, PropertyConfig } from './driver.ts'
import type { DeviceModelObject, DeviceObject, DevicePropertySpec, ModelProperty } from './types.ts'

/** One mistake; `reason` is a CamelCase word for conditions and Events. */
export interface Mistake {
  readonly reason: 'ModelMissing' | 'ModelNotNamed' | 'PropertyUnknown' | 'PropertyInvalid' | 'DesiredInvalid' | 'ProtocolMissing' | 'NodeMissing'
  readonly message: string
}

export interface MergedDevice {
  /** Undefined when the device cannot be opened at all. */
  readonly config: DeviceConfig | undefined
  /** Valid desired values by property, in the property's own type. */
  readonly desired: ReadonlyMap<string, unknown>
  readonly mistakes: readonly Mistake[]
}

const TYPES: readonly string[] = ['INT', 'FLOAT', 'DOUBLE', 'STRING', 'BOOLEAN', 'BYTES', 'STREAM', 'JSON']

/** Merges; wrong properties and values are left out and named, the rest of the device goes on. */
export function mergeDevice(device: DeviceObject, model: DeviceModelObject | undefined): MergedDevice {
  const { name = '', namespace = '' } = device.metadata ?? {}
  const spec = device.spec ?? {}
  const modelName = spec.deviceModelRef?.name
  const mistakes: Mistake[] = []
  const nothing = (reason: Mistake['reason'], message: string): MergedDevice => ({ config: undefined, desired: new Map(), mistakes: [...mistakes, { reason, message }] })
  if (!modelName) return nothing('ModelNotNamed', 'spec.deviceModelRef.name is not set: name a DeviceModel of this namespace')
  if (!model) return nothing('ModelMissing', `DeviceModel "${modelName}" does not exist in namespace "${namespace}": create it, or correct spec.deviceModelRef.name`)
  const protocol = (spec.protocol?.protocolName ?? model.spec?.protocol ?? '').toLowerCase()
  if (protocol === '') return nothing('ProtocolMissing', `neither spec.protocol.protocolName nor DeviceModel "${modelName}" names a protocol`)

  const inModel = new Map((model.spec?.properties ?? []).map((p) => [p.name, p]))
  const inDevice = new Map((spec.properties ?? []).map((p) => [p.name, p]))
  for (const p of inDevice.keys()) {
    if (!inModel.has(p)) mistakes.push({ reason: 'PropertyUnknown', message: `property "${p}" is not in DeviceModel "${modelName}", which has ${[...inModel.keys()].map((n) => `"${n}"`).join(', ') || 'none'}` })
  }
  const properties: PropertyConfig[] = []
  const desired = new Map<string, unknown>()
  for (const [propertyName, fromModel] of inModel) {
    const own = inDevice.get(propertyName)
    const property = mergeProperty(fromModel, own, mistakes)
    if (!property) continue
    properties.push(property)
    const wanted = own?.desired?.value
    if (wanted === undefined || wanted === null || wanted === '') continue
    if (property.accessMode === 'ReadOnly') {
      mistakes.push({ reason: 'DesiredInvalid', message: `property "${propertyName}" is ReadOnly in DeviceModel "${modelName}": its desired value cannot be set` })
      continue
    }
    try {
      desired.set(propertyName, toProperty(property, wanted))
    } catch (error) {
      mistakes.push({ reason: 'DesiredInvalid', message: `desired value of ${messageOf(error)}: the value on the device stays` })
    }
  }
  return { config: { namespace, name, protocol, config: { ...model.spec?.protocolConfigData, ...spec.protocol?.configData }, properties }, desired, mistakes }
}

function mergeProperty(model: ModelProperty, own: DevicePropertySpec | undefined, mistakes: Mistake[]): PropertyConfig | undefined {
  const type = model.type ?? 'STRING'
  if (!TYPES.includes(type)) {
    mistakes.push({ reason: 'PropertyInvalid', message: `property "${model.name}" has type "${type}": use one of ${TYPES.join(', ')}` })
    return undefined
  }
  const bounds: { minimum?: string; maximum?: string } = {}
  for (const bound of ['minimum', 'maximum'] as const) {
    const value = model[bound]
    if (value === undefined || value === null || value === '') continue
    if (Number.isFinite(Number(value))) bounds[bound] = String(value)
    else mistakes.push({ reason: 'PropertyInvalid', message: `property "${model.name}" has ${bound} ${JSON.stringify(value)}, which is not a number: the bound is ignored` })
  }
  return {
    name: model.name,
    type: type as PropertyConfig['type'],
    accessMode: model.accessMode === 'ReadOnly' ? 'ReadOnly' : 'ReadWrite',
    ...bounds,
    ...(model.unit !== undefined && { unit: model.unit }),
    visitor: { ...model.visitors?.configData, ...own?.visitors?.configData },
    ...(own?.collectCycle !== undefined && { collectCycleMs: own.collectCycle }),
    ...(own?.reportCycle !== undefined && { reportCycleMs: own.reportCycle }),
    // KubeEdge reports nothing unless asked; here small values show unless told not to.
    reportToCloud: own?.reportToCloud ?? !(type === 'STREAM' || type === 'BYTES'),
  }
}
