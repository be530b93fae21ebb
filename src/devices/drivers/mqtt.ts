/**
 * Devices that speak MQTT, through the node's embedded broker or one of their own.
 *
 * `protocol.configData` of the Device: `brokerUrl`, `username`, `password` (another broker), `availabilityTopic` (say by last
 * will; `onlinePayload`, `offlinePayload`), `callTopic` (methods, `{method}` in it).
 * `visitors.configData` of a property: `topic` (values; `{name}` for parts that go into the reading's meta, `{device}` and
 * `{namespace}` for the device's own), `setTopic` (writes), `json` (the field in a JSON payload), `contentType`, `retain`.
 *
 * A write is done when the device says a value on `topic` after it: the one written, or another than before (it chose). Until
 * then it is said again every second.
 */
import { AppError, messageOf } from '../../base/errors.ts'
import type { MqttLink } from '../broker.ts'
import { fromBytes, sameJson, seen, toText } from '../convert.ts'
import type { DeviceConfig, DeviceValue, Driver, DriverHost, DriverSession, PropertyConfig } from '../driver.ts'
import { topicTemplate } from '../topics.ts'

/** How often a write is said again while the device has not answered, ms: setting a value twice does no harm. */
const REPEAT_MS = 1000

/** Gives the node's own broker, started on first use. */
export type LocalBroker = () => Promise<MqttLink>

interface Visit {
  readonly property: PropertyConfig
  readonly topic: string | undefined
  /** The topic as subscribed, for messages. */
  readonly filter: string | undefined
  readonly setTopic: string | undefined
  readonly json: string | undefined
  last: DeviceValue | undefined
  readonly waiting: Set<(value: DeviceValue, before: DeviceValue | undefined) => void>
}

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined)

/** @param localBroker used by devices that name no `brokerUrl` */
export function createMqttDriver(localBroker: LocalBroker): Driver {
  const links = new Map<string, { link: MqttLink; users: number }>()

  async function linkFor(device: DeviceConfig): Promise<{ link: MqttLink; release: () => Promise<void> }> {
    const url = text(device.config['brokerUrl'])
    if (url === undefined) return { link: await localBroker(), release: async () => undefined }
    const username = text(device.config['username'])
    const password = text(device.config['password'])
    const key = JSON.stringify([url, username, password])
    let entry = links.get(key)
    if (!entry) {
      const { connectMqtt } = await import('./mqtt-client.ts')
      entry = links.get(key) ?? { link: connectMqtt({ url, ...(username !== undefined && { username }), ...(password !== undefined && { password }) }), users: 0 }
      links.set(key, entry)
    }
    const mine = entry
    mine.users++
    const release = async (): Promise<void> => {
      if (--mine.users > 0) return
      links.delete(key)
      await mine.link.close()
    }
    return { link: mine.link, release }
  }

  return {
    protocols: ['mqtt'],
    validate(device) {
      const wrong: string[] = []
      for (const key of ['brokerUrl', 'availabilityTopic', 'callTopic']) {
        const value = device.config[key]
        if (value !== undefined && text(value) === undefined) wrong.push(`protocol.configData.${key} is ${seen(value)}, it must be text`)
      }
      const url = text(device.config['brokerUrl'])
      if (url !== undefined && !/^(mqtts?|wss?|tcp|ssl|tls):\/\//.test(url)) wrong.push(`protocol.configData.brokerUrl is ${seen(url)}, it must start with mqtt:// or mqtts://`)
      for (const p of device.properties) {
        for (const key of ['topic', 'setTopic']) {
          const value = p.visitor[key]
          if (value === undefined) continue
          try {
            const { filter } = topicTemplate(text(value) ?? '', own(device))
            if (key === 'setTopic' && /[+#]/.test(filter)) wrong.push(`property "${p.name}": setTopic ${seen(value)} leaves parts open, a value needs one topic`)
          } catch (error) {
            wrong.push(`property "${p.name}": ${messageOf(error)}`)
          }
        }
      }
      return wrong
    },
    async open(device, host, signal) {
      const { link, release } = await linkFor(device)
      try {
        signal.throwIfAborted()
        return await openSession(device, host, link, release)
      } catch (error) {
        await release()
        throw error
      }
    },
  }
}

const own = (device: DeviceConfig): Record<string, string> => ({ device: device.name, namespace: device.namespace })

async function openSession(device: DeviceConfig, host: DriverHost, link: MqttLink, release: () => Promise<void>): Promise<DriverSession> {
  const visits = new Map<string, Visit>()
  for (const property of device.properties) {
    const filter = (key: string): string | undefined => {
      const value = text(property.visitor[key])
      return value === undefined ? undefined : topicTemplate(value, own(device)).filter
    }
    visits.set(property.name, { property, topic: text(property.visitor['topic']), filter: filter('topic'), setTopic: filter('setTopic'), json: text(property.visitor['json']), last: undefined, waiting: new Set() })
  }
  const stops: (() => void)[] = []
  let away: string | undefined
  const availability = text(device.config['availabilityTopic'])

  stops.push(
    link.onState((up, why) => {
      if (!up) host.state('offline', (away = why))
      else if (availability === undefined) away = undefined
    }),
  )

  async function follow(visit: Visit, topic: string): Promise<void> {
    const template = topicTemplate(topic, own(device))
    const { property } = visit
    const contentType = text(property.visitor['contentType'])
    const handler = {
      namespace: device.namespace,
      refused: (what: string) => host.refused(what),
      message(at: string, payload: Uint8Array): Promise<void> | void {
        let value: DeviceValue | undefined
        try {
          value = fromBytes(property, payload, { ...(contentType !== undefined && { contentType }), ...(visit.json !== undefined && { path: visit.json }) })
        } catch (error) {
          return host.refused(`message on topic "${at}": ${messageOf(error)}`)
        }
        if (value === undefined) return
        const before = visit.last
        if ('json' in value) {
          visit.last = value
          for (const fn of visit.waiting) fn(value, before)
        }
        return host.reading({ property: property.name, value, timeMs: Date.now(), meta: template.meta(at) })
      },
    }
    stops.push(await link.subscribe(template.filter, handler))
  }

  function visitOf(property: PropertyConfig): Visit {
    const visit = visits.get(property.name)
    if (!visit) throw new AppError('not-found', `device "${device.name}" has no property "${property.name}"`)
    return visit
  }

  return {
    async subscribe(properties) {
      if (availability !== undefined) {
        const online = text(device.config['onlinePayload']) ?? 'online'
        const { filter } = topicTemplate(availability, own(device))
        stops.push(
          await link.subscribe(filter, {
            namespace: device.namespace,
            refused: (what) => host.refused(what),
            message(_topic, payload) {
              const said = Buffer.from(payload).toString('utf8', 0, 100)
              away = said === online ? undefined : `the device says ${seen(said)} on ${filter}`
              host.state(away === undefined ? 'online' : 'offline', away ?? '')
            },
          }),
        )
      }
      const followed: string[] = []
      for (const { name } of properties) {
        const visit = visits.get(name)
        if (!visit?.topic) continue
        await follow(visit, visit.topic)
        followed.push(name)
      }
      return followed
    },
    async read(property) {
      const { last, topic } = visitOf(property)
      if (last) return last
      throw new AppError('unsupported', `read ${property.name}: it is only pushed${topic === undefined ? ', and visitors.configData.topic is not set' : ` on ${topic}, nothing has come yet`}`)
    },
    async write(property, value, signal) {
      const visit = visitOf(property)
      if (visit.setTopic === undefined) throw new AppError('invalid', `write ${property.name}: visitors.configData.setTopic is not set`)
      if (away !== undefined) throw new AppError('unavailable', `write ${property.name}: ${away}`)
      const payload = 'bytes' in value ? value.bytes : visit.json === undefined ? toText(value.json) : JSON.stringify(nested(visit.json.split('.'), value.json))
      const options = { retain: property.visitor['retain'] === true }
      if (visit.topic === undefined || 'bytes' in value) {
        await link.publish(visit.setTopic, payload, options)
        return undefined
      }
      const { setTopic } = visit
      const answer = answerTo(visit, value.json, signal)
      try {
        await link.publish(setTopic, payload, options)
      } catch (error) {
        answer.cancel()
        throw error
      }
      // A device that has just connected may not listen yet, and a broker keeps nothing for it: say it again until it answers.
      const again = setInterval(() => void link.publish(setTopic, payload, options).catch(() => undefined), REPEAT_MS)
      return await answer.promise.finally(() => clearInterval(again))
    },
    async call(method, args) {
      const topic = text(device.config['callTopic'])
      if (topic === undefined) throw new AppError('unsupported', `call ${method}: protocol.configData.callTopic is not set`)
      await link.publish(topicTemplate(topic, { ...own(device), method }).filter, JSON.stringify(args ?? null))
      return null
    },
    async close() {
      for (const stop of stops.splice(0)) stop()
      await release()
    },
  }
}

/** Waits for what the device says on the property's topic after a write. */
function answerTo(visit: Visit, written: unknown, signal: AbortSignal): { promise: Promise<DeviceValue>; cancel: () => void } {
  let cancel = (): void => undefined
  const promise = new Promise<DeviceValue>((resolve, reject) => {
    const onAbort = (): void => {
      cancel()
      const last = visit.last && 'json' in visit.last ? `, last said ${seen(visit.last.json)}` : ''
      reject(new AppError('timeout', `write ${visit.property.name}: the device has not answered on ${visit.filter}${last}`))
    }
    const onValue = (value: DeviceValue, before: DeviceValue | undefined): void => {
      if (!('json' in value)) return
      const chose = before !== undefined && 'json' in before && !sameJson(value.json, before.json)
      if (!sameJson(value.json, written) && !chose) return
      cancel()
      resolve(value)
    }
    cancel = () => {
      visit.waiting.delete(onValue)
      signal.removeEventListener('abort', onAbort)
    }
    visit.waiting.add(onValue)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  return { promise, cancel }
}

function nested(path: readonly string[], value: unknown): unknown {
  return path.reduceRight((inner, key) => ({ [key]: inner }), value)
}
