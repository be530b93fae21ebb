import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, test } from 'node:test'
import { setLogSink } from '../base/log.ts'
import { startMirror } from './mirror.ts'
import { Rewriter, type ProxyEnv } from './rewriter.ts'

setLogSink(() => {})

const servers: Server[] = []
/** A server of these answers; @returns where it is. */
async function serve(answer: (req: IncomingMessage, res: ServerResponse) => void): Promise<string> {
  const server = createServer(answer)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe('a mirror with other names', () => {
  after(() => servers.forEach((s) => s.close()))
  const login = { username: 'edge', password: 's3cret' }
  const basic = `Basic ${Buffer.from('edge:s3cret').toString('base64')}`
  const rename = (name: string): string => `cache/${name}`
  /** Asks through the node's mirror, as containerd does. */
  const ask = async (target: { endpoint: string; login?: typeof login }, path: string, env?: ProxyEnv): Promise<{ status: number; text: string }> => {
    const rewriter = new Rewriter((key) => (key === 'any_0' ? { endpoint: new URL(target.endpoint), rename, login: target.login, tls: undefined } : undefined), env)
    await using mirror = await startMirror({ port: 0, upstream: () => assert.fail('the server is not asked'), beside: (req, res) => rewriter.handle(req, res) })
    const answer = await fetch(`http://127.0.0.1:${mirror.port}${path}?ns=any.example`)
    return { status: answer.status, text: await answer.text() }
  }

  test('the name is changed, the login is sent when it is asked for', async () => {
    const heard: string[] = []
    const endpoint = await serve((req, res) => {
      heard.push(`${req.method} ${req.url} ${req.headers.authorization ?? ''}`)
      if (req.headers.authorization === basic) res.end('manifest')
      else res.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end('no')
    })
    assert.deepEqual(await ask({ endpoint, login }, '/rewrite/any_0/v2/team/app/manifests/v1'), { status: 200, text: 'manifest' })
    assert.deepEqual(heard, ['GET /v2/cache/team/app/manifests/v1 ', `GET /v2/cache/team/app/manifests/v1 ${basic}`])
    const refused = await ask({ endpoint }, '/rewrite/any_0/v2/team/app/manifests/v1')
    assert.equal(refused.status, 502)
    assert.match(refused.text, /wants a login: write one under configs/)
    assert.equal((await ask({ endpoint, login }, '/rewrite/other_0/v2/team/app/manifests/v1')).status, 404)
  })

  test('a token is got where the challenge says, and a redirect is followed without the login', async () => {
    const cdn = await serve((req, res) => res.end(`layer, ${req.headers.authorization ?? 'no login'}`))
    const tokens = await serve((req, res) => res.end(JSON.stringify({ token: `${req.headers.authorization === basic} ${req.url}` })))
    const endpoint = await serve((req, res) => {
      if (req.headers.authorization === 'Bearer true /token?service=reg&scope=repository%3Acache%2Fteam%2Fapp%3Apull') res.writeHead(307, { location: `${cdn}/layer` }).end()
      else res.writeHead(401, { 'www-authenticate': `Bearer realm="${tokens}/token",service="reg",scope="repository:cache/team/app:pull"` }).end(String(req.headers.authorization))
    })
    assert.deepEqual(await ask({ endpoint: `${endpoint}/v2`, login }, `/rewrite/any_0/v2/team/app/blobs/sha256:${'a'.repeat(64)}`), { status: 200, text: 'layer, no login' })
  })

  test('an endpoint is asked through the proxy of the environment, unless it is one to reach directly', async () => {
    const heard: string[] = []
    const proxy = await serve((req, res) => {
      heard.push(`${req.method} ${req.url}`)
      res.end('by proxy')
    })
    servers.at(-1)?.on('connect', (req, socket) => {
      heard.push(`${req.method} ${req.url}`)
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    })
    const path = '/rewrite/any_0/v2/a/manifests/v1'
    const env = { HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NO_PROXY: 'plain.example,127.0.0.1' }
    assert.deepEqual(await ask({ endpoint: 'http://mirror.example:5000' }, path, env), { status: 200, text: 'by proxy' })
    assert.equal((await ask({ endpoint: 'https://mirror.example' }, path, env)).status, 502)
    assert.deepEqual(heard, ['GET http://mirror.example:5000/v2/cache/a/manifests/v1', 'CONNECT mirror.example:443'])
    const direct = await serve((_req, res) => res.end('direct'))
    assert.deepEqual(await ask({ endpoint: direct }, path, env), { status: 200, text: 'direct' })
  })

  test('what the endpoint has not is 404, and one that is away is told', async () => {
    const endpoint = await serve((_req, res) => res.writeHead(404).end('none'))
    assert.equal((await ask({ endpoint }, '/rewrite/any_0/v2/a/manifests/v1')).status, 404)
    const away = await ask({ endpoint: 'http://127.0.0.1:1' }, '/rewrite/any_0/v2/a/manifests/v1')
    assert.deepEqual([away.status, /ask 127\.0\.0\.1:1: .*ECONNREFUSED/.test(away.text)], [502, true], away.text)
  })
})
