/** Devices: kinds, the node's device layer, the server's controller, and the driver port. */
export { BUS_PORT, createDeviceLayer, type DeviceLayer, type DeviceLayerOptions } from './mapper.ts'
export { createDeviceController, type DeviceControllerOptions } from './controller.ts'
export { applyDeviceCrds, DEVICE_CRDS } from './crds.ts'
export { mergeDevice, type Mistake } from './model.ts'
export { DEVICE_MODELS, DEVICE_STATUSES, DEVICES, type DeviceModelObject, type DeviceObject, type DeviceStatusObject } from './types.ts'
export type { DeviceConfig, DeviceState, DeviceValue, Driver, DriverHost, DriverSession, PropertyConfig, Reading } from './driver.ts'
export type { PodIdentity } from './local-http.ts'
