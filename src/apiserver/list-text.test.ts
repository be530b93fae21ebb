import assert from 'node:assert/strict'
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { sendResponse } from './http.ts'
import { ListText } from './list-text.ts'

const items = Array.from({ length: 3_000 }, (_, i) => ({ n: i, text: `ü${'x'.repeat(100)}` }))
const made = (): ListText => new ListText('{"items":[', items.length, (i) => JSON.stringify(items[i]))

test('the parts of a list are bounded and together the list; an empty one is whole too', async () => {
  const parts: string[] = []
  for await (const part of made()) parts.push(part)
  assert.deepEqual(JSON.parse(parts.join('')), { items })
  assert.ok(parts.length > 3)
  for (const part of parts) assert.ok(part.length < 70_000)
  for await (const part of new ListText('{"items":[', 0, () => '')) assert.equal(part, '{"items":[]}')
})

test('over HTTP it arrives whole, compressed for who asks, and a client that leaves ends it', async () => {
  let asked = 0
  const ended: Promise<void>[] = []
  const server = createServer((req, res) => {
    const body = req.url === '/endless' ? new ListText('{"items":[', 10_000_000, (i) => ((asked = i), `"${'x'.repeat(100)}"`)) : made()
    ended.push(sendResponse(res, { status: 200, headers: { 'content-type': 'application/json' }, body }, String(req.headers['accept-encoding'] ?? '')))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const read = (path: string, headers: Record<string, string>): Promise<{ encoding: string | undefined; bytes: Buffer }> =>
    new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port, path, headers, agent: false }, (res) => {
        const chunks: Buffer[] = []
        res.on('data', (c: Buffer) => chunks.push(c)).on('end', () => resolve({ encoding: res.headers['content-encoding'], bytes: Buffer.concat(chunks) })).on('error', reject)
      }).on('error', reject)
    })
  try {
    const plain = await read('/', {})
    assert.equal(plain.encoding, undefined)
    assert.deepEqual(JSON.parse(plain.bytes.toString()), { items })
    const zipped = await read('/', { 'accept-encoding': 'gzip' })
    assert.equal(zipped.encoding, 'gzip')
    assert.ok(zipped.bytes.length < plain.bytes.length / 5)
    assert.deepEqual(JSON.parse(gunzipSync(zipped.bytes).toString()), { items })
    for (const headers of [{}, { 'accept-encoding': 'gzip' }]) {
      await new Promise<void>((resolve) => {
        const req = get({ host: '127.0.0.1', port, path: '/endless', headers, agent: false }, (res) => res.once('data', () => (req.destroy(), resolve())).on('error', () => undefined))
        req.on('error', () => undefined)
      })
      await ended.at(-1)
      assert.ok(asked < 9_000_000)
    }
  } finally {
    server.close()
  }
})
