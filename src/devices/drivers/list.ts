/** The drivers that come with Skerry, loaded only when a device of their protocol is opened. Runs in the driver's worker. */
import { AppError } from '../../base/errors.ts'
import type { Driver } from '../driver.ts'
import type { LocalBroker } from './mqtt.ts'

/** Protocols with a built-in driver. */
export const BUILT_IN_PROTOCOLS: readonly string[] = ['mqtt', 'simulator']

/**
 * @param module a file that exports `createDriver(): Driver`, instead of a built-in one
 * @throws AppError `unsupported` naming the protocols there are
 */
export async function loadDriver(protocol: string, localBroker: LocalBroker, module?: string): Promise<Driver> {
  if (module !== undefined) {
    const { createDriver } = (await import(module)) as { createDriver: () => Driver }
    return createDriver()
  }
  switch (protocol) {
    case 'mqtt':
      return (await import('./mqtt.ts')).createMqttDriver(localBroker)
    case 'simulator':
      return (await import('./simulator.ts')).createSimulatorDriver()
    default:
      throw new AppError('unsupported', `no driver for protocol "${protocol}": there are ${BUILT_IN_PROTOCOLS.join(', ')}`)
  }
}
