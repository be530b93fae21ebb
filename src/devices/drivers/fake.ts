/**
 * The driver of tests: a well-behaved device in memory, and on wish (`protocol.configData.behave`) one that hangs its thread,
 * never answers, crashes, fails to open, or floods. Runs in a worker by naming this file as the driver's module.
 */
import { AppError } from '../../base/errors.ts'
import type { DeviceValue, Driver, DriverHost } from '../driver.ts'

/** Protocol name `fake`. */
export function createDriver(): Driver {
  return {
    protocols: ['fake'],
    validate: (device) => (device.config['wrong'] === undefined ? [] : [`protocol.configData.wrong is ${JSON.stringify(device.config['wrong'])}, leave it out`]),
    async open(device, host, signal) {
      const behave = device.config['behave']
      if (behave === 'no-open') throw new AppError('unavailable', `open ${device.name}: nobody answers`)
      if (behave === 'open-hangs') await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
      const values = new Map<string, DeviceValue>()
      let closed = false
      host.state('online', '')
      return {
        async subscribe(properties) {
          if (behave === 'flood') for (const p of properties) flood(host, p.name, () => closed)
          return behave === 'poll' ? [] : properties.map((p) => p.name)
        },
        async read(p) {
          return values.get(p.name) ?? { json: 0 }
        },
        async write(p, value, abort) {
          if (behave === 'hang') for (;;); // the thread is gone; only its end helps
          if (behave === 'deaf') await new Promise((_, reject) => abort.addEventListener('abort', () => reject(abort.reason as Error)))
          if (behave === 'crash') setImmediate(() => { throw new Error('the driver crashed') })
          if (behave === 'crash') await new Promise(() => undefined)
          values.set(p.name, value)
          await host.reading({ property: p.name, value, timeMs: Date.now() })
          return value
        },
        async call(method, args) {
          if (method === 'push') {
            const { property, json } = args as { property: string; json: unknown }
            await host.reading({ property, value: { json }, timeMs: Date.now(), meta: { pushed: 1 } })
            return { pushed: true }
          }
          if (method === 'garbage') return void host.refused('garbage: 0x00ff')
          if (method === 'offline' || method === 'online') return void host.state(method, `told to be ${method}`)
          throw new AppError('unsupported', `call "${method}": unknown`)
        },
        async close() {
          closed = true
        },
      }
    },
  }
}

/** Pushes as fast as it can without ever waiting for anyone. */
function flood(host: DriverHost, property: string, stopped: () => boolean): void {
  const turn = (): void => {
    if (stopped()) return
    for (let i = 0; i < 5000; i++) void host.reading({ property, value: { json: i }, timeMs: Date.now() })
    setImmediate(turn)
  }
  turn()
}
