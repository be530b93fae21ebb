import { test } from 'node:test'
import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import { createGzip, gzipSync } from 'node:zlib'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { hasCode } from '../base/errors.ts'
import { createClient, createHttpTransport, type ResourceRef } from './mod.ts'

const PODS: ResourceRef = { group: '', version: 'v1', resource: 'pods', kind: 'Pod', namespaced: true }

async function serve(listener: RequestListener, work: (url: string) => Promise<void>): Promise<void> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

test('calls carry method, path, query, body and token, and understand compressed answers', async () => {
  const seen: string[] = []
  await serve(
    async (req, res) => {
      let body = ''
      for await (const chunk of req) body += String(chunk)
      seen.push(`${req.method} ${req.url} ${req.headers.authorization} ${req.headers['content-type']} ${body}`)
      res.setHeader('content-encoding', 'gzip')
      res.end(gzipSync('{"metadata":{"name":"web"}}'))
    },
    async (server) => {
      const transport = createHttpTransport({ server, token: () => 't0ken' })
      const pods = createClient(transport).resource(PODS)
      assert.equal((await pods.get('web', 'd')).metadata?.name, 'web')
      await pods.create({ metadata: { name: 'web', namespace: 'd' } }, { dryRun: true })
      await pods.patch('web', 'd', { spec: {} }, 'strategic', { subresource: 'status' })
      transport.close()
    },
  )
  assert.deepEqual(seen, [
    'GET /api/v1/namespaces/d/pods/web Bearer t0ken undefined ',
    'POST /api/v1/namespaces/d/pods?dryRun=All Bearer t0ken application/json {"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"d"}}',
    'PATCH /api/v1/namespaces/d/pods/web/status Bearer t0ken application/strategic-merge-patch+json {"spec":{}}',
  ])
})

test('a compressed watch delivers each event as it comes, and stopping ends the request', async () => {
  let closed = (): void => {}
  const ended = new Promise<void>((resolve) => (closed = resolve))
  await serve(
    (_req, res) => {
      res.on('close', closed)
      res.setHeader('content-encoding', 'gzip')
      const gzip = createGzip()
      gzip.pipe(res)
      gzip.write('{"type":"ADDED","object":{"metadata":{"name":"one","resourceVersion":"5"}}}\n')
      gzip.flush(2)
    },
    async (server) => {
      const transport = createHttpTransport({ server })
      const stop = new AbortController()
      for await (const event of createClient(transport).resource(PODS).watch({ resourceVersion: '1' }, stop.signal)) {
        assert.equal(event.object.metadata?.name, 'one')
        stop.abort()
      }
      await ended
      transport.close()
    },
  )
})

test('refusals become errors with their code; an unreachable or mute server is told apart', async () => {
  await serve(
    (req, res) => {
      if (req.url?.endsWith('/mute') === true) return
      if (req.url?.includes('watch=true') === true) {
        res.end('{"type":"ERROR","object":{"kind":"Status","status":"Failure","code":410,"reason":"Expired","message":"too old"}}\n')
        return
      }
      res.statusCode = 404
      res.end('{"kind":"Status","status":"Failure","code":404,"reason":"NotFound","message":"pods \\"x\\" not found"}')
    },
    async (server) => {
      const transport = createHttpTransport({ server, timeoutMs: 50 })
      const pods = createClient(transport).resource(PODS)
      await assert.rejects(pods.get('x', 'd'), (e) => hasCode(e, 'not-found') && /pods "x" not found/.test(String(e)))
      await assert.rejects(pods.get('mute', 'd'), (e) => hasCode(e, 'timeout'))
      const watch = pods.watch({ resourceVersion: '1' }, new AbortController().signal)[Symbol.asyncIterator]()
      await assert.rejects(watch.next(), (e) => hasCode(e, 'compacted'))
      transport.close()
    },
  )
  const nobody = createClient(createHttpTransport({ server: 'http://127.0.0.1:9' })).resource(PODS)
  await assert.rejects(nobody.get('x', 'd'), (e) => hasCode(e, 'unavailable'))
  assert.throws(() => createHttpTransport({ server: 'host:6443' }), /"host:6443" is not an http\(s\) URL/)
})
