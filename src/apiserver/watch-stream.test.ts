import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { until } from '../../test/kit/until.ts'
import { WatchStream } from './watch-stream.ts'

const text = (n: number, length = 20): Buffer => Buffer.from(`${String(n).padStart(length, '.')}\n`)

/** One answer of a real server, as the handler sees it and as its client does. */
async function answer(handler: (res: ServerResponse) => void, chunkSize?: number): Promise<{ client: IncomingMessage; body: Promise<string>; close(): Promise<void> }> {
  const server = createServer({ ...(chunkSize && { highWaterMark: chunkSize }) }, (_req, res) => {
    res.writeHead(200, { 'content-type': 'application/json' })
    res.flushHeaders()
    handler(res)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const request = get({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' })
  const [client] = (await once(request, 'response')) as [IncomingMessage]
  let seen = ''
  const body = new Promise<string>((resolve) => {
    client.on('data', (c: Buffer) => (seen += c)).on('end', () => resolve(seen)).on('error', () => resolve(`${seen}(cut)`))
  })
  return {
    client,
    body,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

test('changes go into an answer as they come, in order, and what was there before them first', async () => {
  let ended = 0
  const stream = new WatchStream(1 << 20, () => ended++)
  stream.push(text(0))
  const shared = text(1)
  let done: Promise<void> | undefined
  const a = await answer((res) => (done = stream.into(res)))
  stream.push(shared)
  stream.push(text(2))
  stream.end()
  assert.equal(await a.body, `${text(0)}${shared}${text(2)}`)
  await done
  assert.equal(ended, 1)
  await a.close()
})

test('a long beginning is made piece by piece, as the reader takes it', async () => {
  const stream = new WatchStream(1 << 20, () => undefined)
  let made = 0
  stream.onTaken(() => {
    if (made === 500) return false
    stream.push(text(made++, 10_000))
    if (made === 500) stream.end()
    return true
  })
  const a = await answer((res) => void stream.into(res))
  const whole = (await a.body).split('\n')
  assert.equal(whole.length, 501)
  assert.equal(Number(whole[499]?.replaceAll('.', '')), 499)
  await a.close()
})

test('changes wait for a client that does not read, up to the limit; then its watch ends', async () => {
  let ended = 0
  const stream = new WatchStream(100_000, () => ended++)
  const a = await answer((res) => void stream.into(res))
  a.client.pause()
  let pushed = 0
  // What the system buffers between the two comes before the queue.
  await until('the queue is full', () => {
    for (let i = 0; i < 50 && !stream.ended; i++) stream.push(text(pushed++, 10_000))
    return ended === 1
  })
  assert.ok(stream.ended)
  a.client.resume()
  const got = await a.body
  assert.ok(got.startsWith(`${text(0, 10_000)}${text(1, 10_000)}`) && got.length < pushed * 10_001)
  await a.close()
})

test('a client that goes away ends its watch', async () => {
  let ended = 0
  const stream = new WatchStream(1 << 20, () => ended++)
  let done: Promise<void> | undefined
  const a = await answer((res) => (done = stream.into(res)))
  stream.push(text(0))
  a.client.destroy()
  await done
  assert.equal(ended, 1)
  stream.push(text(1))
  await a.close()
})

test('a loop reads the same', async () => {
  const stream = new WatchStream(1 << 20, () => undefined)
  stream.push(text(0))
  stream.push(text(1))
  let more = 2
  stream.onTaken(() => {
    if (more === 4) return false
    stream.push(text(more++))
    if (more === 4) stream.end()
    return true
  })
  const got: string[] = []
  for await (const chunk of stream) got.push(...Buffer.from(chunk).toString().trim().split('\n').map((l) => l.replaceAll('.', '')))
  assert.deepEqual(got, ['0', '1', '2', '3'])
})
