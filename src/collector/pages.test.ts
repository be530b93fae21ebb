import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { ApiRequest } from '../api/contract.ts'
import { notFound } from '../api/status.ts'
import { FakeClock } from '../base/clock.ts'
import { createClient } from '../client/mod.ts'
import { createPages } from './pages.ts'

const maps: Record<string, { labels?: Record<string, string>; data?: Record<string, string>; binaryData?: Record<string, string> }> = {
  violations: { labels: { 'skerry.io/page': 'true' }, data: { 'index.html': '<h1>hi</h1>', 'page.js': '1' }, binaryData: { 'dot.png': 'iVBORw==' } },
  secretive: { data: { 'index.html': 'not a page' } },
}
let reads = 0
const client = createClient({
  request: async (request: ApiRequest) => {
    reads++
    const name = request.path.split('/').at(-1) ?? ''
    const map = maps[name]
    if (!request.path.startsWith('/api/v1/namespaces/default/configmaps/') || !map) {
      return { status: 404, headers: { 'content-type': 'application/json' }, body: JSON.stringify(notFound({ group: '', resource: 'configmaps' }, name).status) }
    }
    const { labels, ...content } = map
    return { status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify({ kind: 'ConfigMap', metadata: { name, labels }, ...content }) }
  },
})

describe('pages', () => {
  const clock = new FakeClock()
  const pages = createPages({ client, clock })
  const server = createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url ?? '/', 'http://x')
    void pages(req, res, { user: undefined, path: pathname, query: searchParams })
  })
  const get = (path: string, init: RequestInit = {}) => fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/pages/${path}`, { redirect: 'manual', ...init })
  before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
  after(() => server.close())

  it('serves the files of a labelled ConfigMap with their types and a strict content policy', async () => {
    const index = await get('default/violations/')
    assert.equal(await index.text(), '<h1>hi</h1>')
    assert.equal(index.headers.get('content-type'), 'text/html; charset=utf-8')
    assert.match(index.headers.get('content-security-policy') ?? '', /default-src 'none'; script-src 'self'/)
    assert.equal((await get('default/violations/page.js')).headers.get('content-type'), 'text/javascript; charset=utf-8')
    assert.deepEqual(Buffer.from(await (await get('default/violations/dot.png')).arrayBuffer()), Buffer.from('iVBORw==', 'base64'))
    assert.equal((await get('default/violations')).headers.get('location'), '/pages/default/violations/')
    assert.equal((await get('default/violations/', { headers: { 'if-none-match': index.headers.get('etag') ?? '' } })).status, 304)
  })

  it('says what is not there, and serves no ConfigMap without the label', async () => {
    for (const path of ['default/none/', 'default/secretive/', 'default/violations/none.js', 'default/violations/constructor', 'other/violations/', 'default/violations/a/b', '', 'default/%2e%2e%2fviolations/']) {
      const answer = await get(path)
      assert.ok(answer.status === 404 || answer.status === 400, `${path}: ${answer.status}`)
      assert.equal(((await answer.json()) as { kind: string }).kind, 'Status')
    }
    assert.equal((await get('default/violations/', { method: 'POST' })).status, 405)
  })

  it('reads a ConfigMap at most every two seconds', async () => {
    await clock.advance(3000)
    reads = 0
    for (let i = 0; i < 5; i++) await get('default/violations/')
    assert.equal(reads, 1)
    maps.violations = { ...maps.violations, data: { 'index.html': 'new' } }
    await clock.advance(3000)
    assert.equal(await (await get('default/violations/')).text(), 'new')
  })
})
