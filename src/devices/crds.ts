/**
 * The CustomResourceDefinitions of `devices.kubeedge.io/v1beta1`: accept what KubeEdge's published YAML says, and add what it
 * lacks: required names, enums, printed columns, a status subresource, values of any JSON. Applied by the server at start.
 */
import { hasCode } from '../base/errors.ts'
import type { KubeObject } from '../api/meta.ts'
import type { Client, ResourceRef } from '../client/mod.ts'

const CRDS: ResourceRef = { group: 'apiextensions.k8s.io', version: 'v1', resource: 'customresourcedefinitions', kind: 'CustomResourceDefinition', namespaced: false }

type Schema = Readonly<Record<string, unknown>>
const text = { type: 'string' } as const
const name = { type: 'string', minLength: 1, maxLength: 128 } as const
const any = { 'x-kubernetes-preserve-unknown-fields': true } as const
const freeMap = { type: 'object', ...any } as const
const count = { type: 'integer', format: 'int64', minimum: 0 } as const
const object = (properties: Record<string, Schema>, required: readonly string[] = []): Schema => ({ type: 'object', properties, ...(required.length > 0 && { required }) })
const described = (description: string, schema: Schema): Schema => ({ description, ...schema })
const byKey = (key: string, items: Schema): Schema => ({ type: 'array', items, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': [key] })

const visitors = described('Where on the device, as its protocol says it.', object({ protocolName: text, configData: freeMap }))
const stringMap = { type: 'object', additionalProperties: text } as const
const twinValue = object({ value: any, metadata: stringMap })

const modelSpec = object({
  protocol: described('Protocol of devices of this model, lower case: mqtt, modbus, ...', text),
  protocolConfigData: described('Defaults for protocol.configData of devices.', freeMap),
  properties: described(
    'What devices of this model have.',
    byKey(
      'name',
      object(
        {
          name,
          description: text,
          type: { type: 'string', enum: ['INT', 'FLOAT', 'DOUBLE', 'STRING', 'BOOLEAN', 'BYTES', 'STREAM', 'JSON'] },
          accessMode: { type: 'string', enum: ['ReadWrite', 'ReadOnly'] },
          minimum: described('Least value, a number or its text.', any),
          maximum: described('Greatest value, a number or its text.', any),
          unit: text,
          visitors,
        },
        ['name'],
      ),
    ),
  ),
})

const deviceSpec = object({
  deviceModelRef: described('The DeviceModel in the same namespace.', object({ name: text })),
  nodeName: described('The node that reaches the device.', text),
  protocol: object({ protocolName: text, configData: freeMap }),
  stateReport: object({ reportToCloud: { type: 'boolean' }, reportCycle: count }),
  methods: byKey('name', object({ name, description: text, propertyNames: { type: 'array', items: text } }, ['name'])),
  properties: byKey(
    'name',
    object(
      {
        name,
        desired: described('The value wanted on the device: JSON, or text as KubeEdge has it.', twinValue),
        visitors,
        reportCycle: described('Least time between reports to the API, ms.', count),
        collectCycle: described('How often to read the device, ms.', count),
        reportToCloud: { type: 'boolean' },
        pushMethod: freeMap,
      },
      ['name'],
    ),
  ),
})

const state = { type: 'string' } as const
const twins = byKey('propertyName', object({ propertyName: name, reported: twinValue, observedDesired: twinValue, message: text }, ['propertyName']))
const condition = object(
  { type: name, status: { type: 'string', enum: ['True', 'False', 'Unknown'] }, reason: text, message: text, lastTransitionTime: { type: 'string', format: 'date-time' }, observedGeneration: count },
  ['type', 'status'],
)
const deviceStatus: Schema = {
  ...object({
    state: described('online, offline, ok, unhealthy or unknown, as the node sees it.', state),
    message: described('Why it is in this state.', text),
    lastOnlineTime: described('When the device was last heard of; at most five minutes behind.', text),
    summary: described('The main values in one line.', text),
    twins,
    conditions: byKey('type', condition),
    observedGeneration: count,
    reportToCloud: { type: 'boolean' },
    reportCycle: count,
  }),
  ...any,
}

interface Column {
  readonly name: string
  readonly type: string
  readonly jsonPath: string
  readonly priority?: number
  readonly description?: string
}

const age: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }

function crd(kind: string, plural: string, shortNames: readonly string[], schema: Record<string, Schema>, columns: readonly Column[], status: boolean): KubeObject {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.devices.kubeedge.io` },
    spec: {
      group: 'devices.kubeedge.io',
      scope: 'Namespaced',
      names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List`, shortNames, categories: ['devices-all'] },
      versions: [
        {
          name: 'v1beta1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { ...object({ apiVersion: text, kind: text, metadata: { type: 'object' }, ...schema }), description: DESCRIPTIONS[kind] } },
          ...(status && { subresources: { status: {} }, selectableFields: [{ jsonPath: '.spec.nodeName' }] }),
          additionalPrinterColumns: [...columns, age],
        },
      ],
    },
  } as KubeObject
}

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  Device: 'A camera, sensor, PLC or other thing beside a node, and what is wanted of it.',
  DeviceModel: 'What devices of one kind have in common: their properties and where to find them.',
  DeviceStatus: "What a device reports; same name as its Device. KubeEdge's place for it, written beside Device.status.",
}

/** The three definitions, as applied. */
export const DEVICE_CRDS: readonly KubeObject[] = [
  crd('DeviceModel', 'devicemodels', ['dm'], { spec: modelSpec }, [
    { name: 'Protocol', type: 'string', jsonPath: '.spec.protocol' },
    { name: 'Properties', type: 'string', jsonPath: '.spec.properties[*].name' },
  ], false),
  crd('Device', 'devices', ['dev'], { spec: deviceSpec, status: deviceStatus }, [
    { name: 'Model', type: 'string', jsonPath: '.spec.deviceModelRef.name' },
    { name: 'Node', type: 'string', jsonPath: '.spec.nodeName' },
    { name: 'State', type: 'string', jsonPath: '.status.state' },
    { name: 'Last-Seen', type: 'date', jsonPath: '.status.lastOnlineTime' },
    { name: 'Values', type: 'string', jsonPath: '.status.summary' },
    { name: 'Valid', type: 'string', jsonPath: '.status.conditions[?(@.type=="Valid")].status' },
    { name: 'Message', type: 'string', jsonPath: '.status.message', priority: 1 },
    { name: 'Problem', type: 'string', jsonPath: '.status.conditions[?(@.type=="Valid")].message', priority: 1, description: 'What is wrong with the object, and the way out.' },
  ], true),
  crd('DeviceStatus', 'devicestatuses', [], { spec: freeMap, status: { ...object({ state, lastOnlineTime: text, twins, extensions: freeMap }), ...any } }, [
    { name: 'State', type: 'string', jsonPath: '.status.state' },
    { name: 'Last-Seen', type: 'date', jsonPath: '.status.lastOnlineTime' },
  ], false),
]

/** Makes the definitions, or brings those of an earlier version up to date. Safe to call at every start. */
export async function applyDeviceCrds(client: Client): Promise<void> {
  const crds = client.resource(CRDS)
  for (const object of DEVICE_CRDS) {
    try {
      await crds.create(object, { fieldManager: 'skerry' })
    } catch (error) {
      if (!hasCode(error, 'exists')) throw error
      await crds.patch(object.metadata?.name ?? '', undefined, { spec: (object as { spec?: unknown }).spec }, 'merge', { fieldManager: 'skerry' })
    }
  }
}
