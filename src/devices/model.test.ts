import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mergeDevice } from './model.ts'
import type { DeviceModelObject, DeviceObject } from './types.ts'

const model: DeviceModelObject = {
  metadata: { name: 'thermo', namespace: 'default' },
  spec: {
    protocol: 'Modbus',
    protocolConfigData: { baud: 9600, parity: 'even' },
    properties: [
      { name: 'temperature', type: 'FLOAT', accessMode: 'ReadOnly', visitors: { configData: { register: 1, scale: 10 } } },
      { name: 'target', type: 'INT', accessMode: 'ReadWrite', minimum: '5', maximum: 30 },
      { name: 'on', type: 'BOOLEAN' },
    ],
  },
}
const device = (spec: DeviceObject['spec']): DeviceObject => ({ metadata: { name: 't1', namespace: 'default' }, spec: { deviceModelRef: { name: 'thermo' }, nodeName: 'n', ...spec } })
const messages = (d: DeviceObject): string[] => mergeDevice(d, model).mistakes.map((x) => x.message)

test('a device is its model, with its own settings over it', () => {
  const { config, desired, mistakes } = mergeDevice(
    device({ protocol: { configData: { parity: 'odd' } }, properties: [{ name: 'temperature', visitors: { configData: { register: 7 } }, collectCycle: 500 }, { name: 'target', desired: { value: '21' } }] }),
    model,
  )
  assert.deepEqual(mistakes, [])
  assert.equal(config?.protocol, 'modbus')
  assert.deepEqual(config?.config, { baud: 9600, parity: 'odd' })
  assert.deepEqual(config?.properties[0]?.visitor, { register: 7, scale: 10 })
  assert.equal(config?.properties[0]?.collectCycleMs, 500)
  assert.equal(config?.properties.length, 3)
  assert.deepEqual([...desired], [['target', 21]])
})

test('each mistake names what was seen and the way out, and leaves the rest of the device working', () => {
  assert.match(mergeDevice(device({}), undefined).mistakes[0]?.message ?? '', /DeviceModel "thermo" does not exist in namespace "default": create it/)
  assert.match(messages({ metadata: { name: 'x' }, spec: {} })[0] ?? '', /spec.deviceModelRef.name is not set/)
  const wrong = mergeDevice(
    device({
      properties: [
        { name: 'humidity' },
        { name: 'temperature', desired: { value: '20' } },
        { name: 'target', desired: { value: 'warm' } },
        { name: 'on', desired: { value: true } },
      ],
    }),
    model,
  )
  assert.deepEqual(wrong.mistakes.map((m) => m.message), [
    'property "humidity" is not in DeviceModel "thermo", which has "temperature", "target", "on"',
    'property "temperature" is ReadOnly in DeviceModel "thermo": its desired value cannot be set',
    'desired value of target: "warm" is not an INT: the value on the device stays',
  ])
  assert.deepEqual([...wrong.desired], [['on', true]])
  assert.match(messages(device({ properties: [{ name: 'target', desired: { value: 31 } }] }))[0] ?? '', /target: 31 is above the maximum 30/)
  assert.match(messages(device({ properties: [{ name: 'target', desired: { value: '21.5' } }] }))[0] ?? '', /"21.5" is not an INT/)
})
