/**
 * A device that exists only here, for trying things out and for tests of apps: numbers wander between their bounds, what is
 * written stays. `protocol.configData`: `periodMs` (@default 1000), `seed` (@default 1; the same seed plays the same values).
 */
import { AppError } from '../../base/errors.ts'
import type { DeviceValue, Driver, PropertyConfig } from '../driver.ts'

/** Protocol name `simulator`. */
export function createSimulatorDriver(): Driver {
  return {
    protocols: ['simulator'],
    validate: (device) => {
      const period = device.config['periodMs']
      return period === undefined || (typeof period === 'number' && period >= 1) ? [] : [`protocol.configData.periodMs is ${JSON.stringify(period)}, it must be a number of at least 1`]
    },
    async open(device, host) {
      const random = mulberry(Number(device.config['seed'] ?? 1))
      const values = new Map<string, DeviceValue>()
      const written = new Set<string>()
      const step = (p: PropertyConfig): DeviceValue => {
        const before = values.get(p.name)
        const value = written.has(p.name) && before ? before : wander(p, before, random())
        values.set(p.name, value)
        return value
      }
      let frame = 0
      let timer: NodeJS.Timeout | undefined
      const push = (p: PropertyConfig): Promise<void> => host.reading({ property: p.name, value: step(p), timeMs: Date.now(), ...(p.type === 'STREAM' && { meta: { frame } }) })
      host.state('online', '')
      return {
        async subscribe(properties) {
          timer = setInterval(() => {
            frame++
            for (const p of properties) void push(p)
          }, Number(device.config['periodMs'] ?? 1000))
          return properties.map((p) => p.name)
        },
        read: async (p) => values.get(p.name) ?? step(p),
        async write(p, value) {
          values.set(p.name, value)
          written.add(p.name)
          void push(p)
          return value
        },
        async call(method) {
          if (method !== 'reset') throw new AppError('unsupported', `call "${method}": a simulator knows "reset"`)
          written.clear()
          return { reset: true }
        },
        async close() {
          clearInterval(timer)
        },
      }
    },
  }
}

function wander(p: PropertyConfig, before: DeviceValue | undefined, r: number): DeviceValue {
  const least = Number(p.minimum ?? 0)
  const most = Number(p.maximum ?? 100)
  const was = before && 'json' in before ? before.json : undefined
  switch (p.type) {
    case 'BOOLEAN':
      return { json: was === undefined ? true : r < 0.1 ? !was : was }
    case 'STRING':
      return { json: `word-${Math.floor(r * 10)}` }
    case 'JSON':
      return { json: { x: r } }
    case 'BYTES':
    case 'STREAM':
      return { bytes: new Uint8Array(1024).fill(Math.floor(r * 256)), contentType: 'application/octet-stream' }
    default: {
      const from = typeof was === 'number' ? was : (least + most) / 2
      const next = Math.min(most, Math.max(least, from + (r - 0.5) * (most - least) * 0.1))
      return { json: p.type === 'INT' ? Math.round(next) : next }
    }
  }
}

/** A small seeded generator, 0..1. */
function mulberry(seed: number): () => number {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
