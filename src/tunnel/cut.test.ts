/** A text that is cut short must not read as if it had ended. */
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { Duplex } from 'node:stream'
import { setLogSink } from '../base/log.ts'
import { frontDoor, Relay, startLink, testHub, testPki, until, type TestPki } from '../../test/kit/tunnel.ts'

setLogSink(() => undefined)
let pki: TestPki
before(async () => {
  pki = await testPki()
})

/** How it is cut: by the way between them, by the server that ends the link, by the node that gives up on the one stream. */
const CUTS = ['way', 'server', 'node'] as const

for (const method of ['GET', 'POST'] as const) {
  for (const cut of CUTS) {
    test(`${method}: cut by the ${cut}, a reader of what the node says is told`, { timeout: 30_000 }, async () => {
      await using hub = testHub()
      const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
      await using relay = await Relay.create(door.port)
      let telling: Duplex | undefined
      await using link = startLink(relay.url, await pki.client('a'), async (request, respond) => {
        telling = respond(200)
        telling.on('error', () => undefined)
        telling.resume()
        if (request.method === 'POST') telling.on('end', () => undefined)
        telling.write('first\n')
      })
      await until(() => hub.links().length === 1)
      const { stream } = await hub.open('a', { method, path: '/' })
      const read: string[] = []
      const reading = (async () => {
        for await (const c of stream) {
          read.push(String(c))
          if (cut === 'way') relay.cut()
          else if (cut === 'server') hub.disconnect('a', 'test')
          else telling?.destroy()
        }
      })()
      await assert.rejects(reading, /lost|cut|reset|premature|link/i)
      assert.deepEqual(read, ['first\n'])
      await link.stop()
      await door.close()
    })
  }
}

test('a long answer to a GET is whole, also when it is read late', { timeout: 30_000 }, async () => {
  await using hub = testHub()
  const door = await frontDoor(pki, (s, n) => hub.accept(s, n))
  const page = Buffer.alloc(3 << 20, 'skerry ')
  await using link = startLink(door.url, await pki.client('a'), async (_request, respond) => void respond(200).end(page))
  await until(() => hub.links().length === 1)
  for (let i = 0; i < 10; i++) {
    const { stream } = await hub.open('a', { method: 'GET', path: '/' })
    await new Promise((resolve) => setTimeout(resolve, i * 3))
    let bytes = 0
    for await (const c of stream) bytes += (c as Buffer).length
    assert.equal(bytes, page.length)
  }
  await link.stop()
  await door.close()
})
