/** A link to an MQTT broker elsewhere (mosquitto and the like), shared by the devices that name the same one. Loaded only when a device does. */
import { connect } from 'mqtt'
import { AppError, messageOf } from '../../base/errors.ts'
import type { MqttHandler, MqttLink } from '../broker.ts'
import { TopicTrie } from '../topics.ts'

export interface MqttClientOptions {
  readonly url: string
  readonly username?: string
  readonly password?: string
}

/** Starts dialing at once and for ever; a QoS 1 message is acknowledged after its handlers are done with it. */
export function connectMqtt(options: MqttClientOptions): MqttLink {
  const taps = new TopicTrie<MqttHandler>()
  const states = new Set<(up: boolean, why: string) => void>()
  let up = false
  let lastError = ''
  const client = connect(options.url, {
    reconnectPeriod: 1000,
    connectTimeout: 10_000,
    clean: true,
    ...(options.username !== undefined && { username: options.username }),
    ...(options.password !== undefined && { password: options.password }),
  })
  client.handleMessage = (packet, done) => {
    const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload
    void acknowledgeAfter(Promise.allSettled(taps.match(packet.topic).map(async (h) => h.message(packet.topic, payload))), done)
  }
  const tell = (now: boolean, why: string): void => {
    if (up === now && why === '') return
    up = now
    for (const fn of states) fn(now, why)
  }
  client.on('connect', () => tell(true, ''))
  client.on('error', (error) => (lastError = messageOf(error)))
  client.on('close', () => tell(false, `broker ${options.url} is away${lastError && `: ${lastError}`}`))

  return {
    async subscribe(filter, handler) {
      const remove = taps.add(filter, handler)
      await client.subscribeAsync(filter, { qos: 1 })
      return () => {
        remove()
        if (!client.disconnecting) client.unsubscribe(filter, () => undefined)
      }
    },
    async publish(topic, payload, { retain = false } = {}) {
      if (!client.connected) throw new AppError('unavailable', `publish to ${topic}: the broker ${options.url} is away`)
      await client.publishAsync(topic, Buffer.from(payload), { qos: 1, retain })
    },
    onState(fn) {
      states.add(fn)
      if (up) fn(true, '')
      return () => void states.delete(fn)
    },
    async close() {
      states.clear()
      await client.endAsync(true)
    },
  }
}

/** A handler's own failure is its to report; the broker must not send the message again for ever. */
async function acknowledgeAfter(kept: Promise<unknown>, done: () => void): Promise<void> {
  await kept
  done()
}
