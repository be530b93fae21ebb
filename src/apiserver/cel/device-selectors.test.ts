import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compileDeviceSelector, matchesDevice } from './device-selectors.ts'

const device = {
  name: 'video0',
  attributes: { path: { string: '/dev/video0' }, major: { int: 81 }, usb: { bool: true }, 'vendor.example.com/firmware': { version: '2.1.0' } },
  capacity: { memory: { value: '2Gi' } },
}

test('a selector sees driver, attributes and capacity by domain; a name without a domain is in the driver’s', () => {
  const holds = (text: string): boolean => matchesDevice(text, 'dev.skerry.io', device)
  for (const text of [
    'device.driver == "dev.skerry.io"',
    'device.attributes["dev.skerry.io"].path.startsWith("/dev/video") && device.attributes["dev.skerry.io"].usb',
    'device.attributes["dev.skerry.io"].major == 81',
    'device.attributes["vendor.example.com"].firmware.isGreaterThan(semver("2.0.0"))',
    'device.capacity["dev.skerry.io"].memory.compareTo(quantity("1Gi")) > 0',
    '!has(device.attributes["other.example.com"].path)',
    'device.attributes["other.example.com"].?path.orValue("none") == "none"',
  ]) {
    assert.equal(holds(text), true, text)
  }
  assert.equal(holds('device.attributes["dev.skerry.io"].major == 4'), false)
})

test('what a device does not have cannot be compared, and what is no condition does not compile', () => {
  assert.throws(() => matchesDevice('device.attributes["dev.skerry.io"].colour == "red"', 'dev.skerry.io', device), /no such key: colour/)
  assert.throws(() => compileDeviceSelector('device.driver'), /must evaluate to bool/)
  assert.throws(() => compileDeviceSelector('device.name == "video0"'), /undefined field 'name'/)
})
