/**
 * Devices of a benchmark, in a process of their own on the node's machine: answers settings with the same value as reported,
 * or sends readings as fast as they are acknowledged. `device-process.ts <broker> echo <id>` says `ready` when it listens;
 * `device-process.ts <broker> readings <seconds> <id>...` prints how many readings were acknowledged.
 */
import mqtt from 'mqtt'

/** Readings of one device on their way at once. */
const IN_FLIGHT = 50

const [broker = '', mode, ...rest] = process.argv.slice(2)
if (mode === 'echo') await echo(rest[0] ?? '')
else await readings(Number(rest[0]), rest.slice(1))

async function echo(id: string): Promise<void> {
  const client = await mqtt.connectAsync(broker, { clientId: id })
  client.on('message', (topic, payload) => void client.publish(topic.replace('/set', '/state'), payload, { qos: 1 }))
  await client.subscribeAsync(`${id}/set`, { qos: 1 })
  console.log('ready')
}

async function readings(seconds: number, ids: readonly string[]): Promise<void> {
  const clients = await Promise.all(ids.map((id) => mqtt.connectAsync(broker, { clientId: `${id}-sensor` })))
  const end = performance.now() + seconds * 1000
  let taken = 0
  await Promise.all(
    clients.flatMap((client, d) =>
      Array.from({ length: IN_FLIGHT }, async () => {
        while (performance.now() < end) {
          await client.publishAsync(`${ids[d]}/value`, String(taken), { qos: 1 })
          taken++
        }
      }),
    ),
  )
  console.log(taken)
  for (const client of clients) await client.endAsync()
}
