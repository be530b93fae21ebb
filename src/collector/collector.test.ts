import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import * as http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import * as fc from 'fast-check'
import { nodeUser, type ApiRequest, type UserInfo } from '../api/contract.ts'
import { AppError } from '../base/errors.ts'
import { setLogSink } from '../base/log.ts'
import { createClient } from '../client/mod.ts'
import { encodeRecord, type CollectRecord } from '../telemetry/mod.ts'
import { createCollector, type Collector, type KeptRecord } from './mod.ts'

const directory = mkdtempSync(join(tmpdir(), 'skerry-collector-'))
const asked: string[] = []
/** The reviewer may all, the clerk may look, the sensor may post to one stream. */
const client = createClient({
  request: async (request: ApiRequest) => {
    const { user, resourceAttributes: a } = (request.body as { spec: { user: string; resourceAttributes: Record<string, string> } }).spec
    const what = [a.verb, a.subresource ? `${a.resource}/${a.subresource}` : a.resource].join(' ')
    asked.push(`${user} ${what} ${a.namespace}/${a.name ?? ''}`)
    const looks = ['get records', 'list records', 'watch records'].includes(what)
    const allowed = a.group === 'collect.skerry.io' && a.namespace === 'default' && (user === 'reviewer' || (user === 'clerk' && looks) || (user === 'sensor' && what === 'create records' && a.name === 'readings'))
    return { status: 201, headers: {}, body: JSON.stringify({ kind: 'SubjectAccessReview', status: { allowed } }) }
  },
})
const user = (name: string): UserInfo => ({ name, groups: ['system:authenticated'] })
const users: Record<string, UserInfo> = { reviewer: user('reviewer'), clerk: user('clerk'), sensor: user('sensor'), cam1: nodeUser('cam-1'), cam2: nodeUser('cam-2') }

let n = 0
/** A collector behind a real HTTP server; the header `x-user` stands for authentication. */
async function start(options: { maxBytes?: number; directory?: string } = {}): Promise<{ collector: Collector; server: Server; url: string; directory: string; [Symbol.asyncDispose](): Promise<void> }> {
  const own = options.directory ?? join(directory, String(n++))
  const collector = await createCollector({ directory: own, client, ...(options.maxBytes !== undefined && { maxBytes: options.maxBytes }) })
  const server = createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url ?? '/', 'http://x')
    void collector.handle(req, res, { user: users[String(req.headers['x-user'])], path: pathname, query: searchParams })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const stop = async (): Promise<void> => {
    await collector[Symbol.asyncDispose]()
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  return { collector, server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/collect/v1`, directory: own, [Symbol.asyncDispose]: stop }
}

const as = (name: string, more: Record<string, string> = {}) => ({ 'x-user': name, ...more })
const base = (url: string) => `${url}/namespaces/default/streams/violations/records`

function record(seq: number, id: string, more: Partial<CollectRecord> = {}, payload = Buffer.from(`photo of ${id}`)): Buffer {
  const meta: CollectRecord = {
    id, stream: 'violations', namespace: 'default', node: 'cam-1', pod: 'app', timeMs: 1_700_000_000_000 + seq, data: { frame: seq },
    attachments: [{ name: 'photo.jpg', contentType: 'image/jpeg', size: payload.length }], ...more,
  }
  return encodeRecord({ seq, timeMs: meta.timeMs, meta: JSON.stringify(meta), payload })
}

async function ingest(url: string, body: Uint8Array | readonly Uint8Array[], options: { as?: string; epoch?: string; losses?: unknown } = {}): Promise<{ status: number; body: { acked?: number; message?: string; kind?: string } }> {
  const headers = as(options.as ?? 'cam1', { 'x-skerry-epoch': options.epoch ?? 'e1', ...(options.losses !== undefined && { 'x-skerry-losses': JSON.stringify(options.losses) }) })
  const answer = await fetch(`${url}/ingest`, { method: 'POST', headers, body: new Uint8Array(body instanceof Uint8Array ? body : Buffer.concat([...body])) })
  return { status: answer.status, body: (await answer.json()) as { acked?: number } }
}

async function list(url: string, query = ''): Promise<{ items: KeptRecord[]; next?: string }> {
  const answer = await fetch(`${base(url)}${query}`, { headers: as('clerk') })
  assert.equal(answer.status, 200, await answer.clone().text())
  return (await answer.json()) as { items: KeptRecord[]; next?: string }
}

let sink: ReturnType<typeof setLogSink>
before(() => void (sink = setLogSink(() => {})))
after(() => {
  setLogSink(sink)
  rmSync(directory, { recursive: true })
})

describe('collector', () => {
  it('keeps a node’s batch and gives back record and attachment', async () => {
    await using c = await start()
    assert.deepEqual(await ingest(c.url, [record(1, 'cam-1/e/7.1'), record(2, 'cam-1/e/9.1')]), { status: 200, body: { acked: 2 } })
    const { items } = await list(c.url)
    assert.deepEqual(items.map((r) => [r.id, r.node, r.pod, r.data, r.review.state, r.issued]), [['cam-1/e/7.1', 'cam-1', 'app', { frame: 1 }, 'pending', false], ['cam-1/e/9.1', 'cam-1', 'app', { frame: 2 }, 'pending', false]])
    const one = `${base(c.url)}/${encodeURIComponent('cam-1/e/7.1')}`
    assert.equal(((await (await fetch(one, { headers: as('clerk') })).json()) as KeptRecord).time, '2023-11-14T22:13:20.001Z')
    const photo = await fetch(`${one}/attachments/photo.jpg`, { headers: as('clerk') })
    assert.equal(await photo.text(), 'photo of cam-1/e/7.1')
    assert.equal(photo.headers.get('content-type'), 'image/jpeg')
    assert.match(photo.headers.get('content-security-policy') ?? '', /sandbox/)
    assert.equal((await fetch(`${one}/attachments/none`, { headers: as('clerk') })).status, 404)
  })

  it('counts a record once, in the spool’s order, whatever is sent again or answered into the void', async () => {
    await using c = await start()
    let run = 0
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ resend: fc.nat(4), take: fc.integer({ min: 1, max: 5 }), lost: fc.boolean(), twice: fc.boolean() }), { minLength: 1, maxLength: 12 }), async (tries) => {
        const [epoch, stream] = [`epoch-${++run}`, `run-${run}`]
        // The app repeats itself too: every fourth record has the id of an earlier one.
        const idOf = (seq: number): string => `f/${seq % 4 === 0 ? seq - 2 : seq}`
        const bytes = (seq: number): Buffer => record(seq, idOf(seq), { stream, attachments: [] }, Buffer.alloc(0))
        let [known, sent] = [0, 0]
        for (const t of tries) {
          const from = Math.max(1, known + 1 - t.resend)
          const batch = Array.from({ length: t.take }, (_, i) => bytes(from + i))
          sent = Math.max(sent, from + t.take - 1)
          const answers = await Promise.all(t.twice ? [ingest(c.url, batch, { epoch }), ingest(c.url, batch, { epoch })] : [ingest(c.url, batch, { epoch })])
          for (const a of answers) assert.deepEqual(a, { status: 200, body: { acked: sent } })
          if (!t.lost) known = sent
        }
        const answer = await fetch(`${c.url}/namespaces/default/streams/${stream}/records?limit=1000`, { headers: as('clerk') })
        const { items } = (await answer.json()) as { items: KeptRecord[] }
        const want = [...new Set(Array.from({ length: sent }, (_, i) => idOf(i + 1)))]
        assert.deepEqual(items.map((r) => r.id), want)
      }),
      { numRuns: Number(process.env.SKERRY_SOAK ?? 0) > 0 ? 300 : 25 },
    )
  })

  it('keeps what it acknowledged over a restart, and still knows the spools', async () => {
    const own = join(directory, 'restart')
    {
      await using c = await start({ directory: own })
      await ingest(c.url, [record(1, 'a'), record(2, 'b')])
      writeFileSync(join(own, 'attachments', readdirSync(join(own, 'attachments'))[0] ?? '', 'stray'), 'left by a crash')
    }
    await using c = await start({ directory: own })
    assert.deepEqual((await ingest(c.url, [record(1, 'a'), record(2, 'changed id'), record(3, 'c')])).body, { acked: 3 })
    assert.deepEqual((await list(c.url)).items.map((r) => r.id), ['a', 'b', 'c'])
    assert.ok(!readdirSync(join(own, 'attachments'), { recursive: true }).some((f) => String(f).endsWith('stray')))
  })

  it('refuses who is no node, a record naming another node, and broken batches, and takes nothing of them', async () => {
    await using c = await start()
    assert.equal((await ingest(c.url, record(1, 'x'), { as: 'nobody' })).status, 401)
    assert.equal((await ingest(c.url, record(1, 'x'), { as: 'reviewer' })).status, 403)
    const cases: [string, Promise<{ status: number; body: { message?: string } }>, RegExp][] = [
      ['liar', ingest(c.url, [record(1, 'ok', { node: 'cam-2' }), record(2, 'x')], { as: 'cam2' }), /names node "cam-1" but came from node "cam-2"/],
      ['cut', ingest(c.url, record(1, 'x').subarray(0, -3)), /ends within a record/],
      ['order', ingest(c.url, [record(2, 'x'), record(1, 'y')]), /number 1 comes after 2/],
      ['epoch', ingest(c.url, record(1, 'x'), { epoch: 'a/b' }), /x-skerry-epoch is "a\/b"/],
      ['sizes', ingest(c.url, record(1, 'x', { attachments: [] })), /attachments of 0 bytes are announced, 10 came/],
      ['name', ingest(c.url, record(1, 'x', { stream: '../up' })), /stream is "..\/up"/],
      ['garbage', ingest(c.url, Buffer.alloc(100, 0xff)), /meta of \d+ bytes is over/],
    ]
    for (const [what, answer, message] of cases) {
      const { status, body } = await answer
      assert.ok(status === 400 || status === 413, `${what}: ${status}`)
      assert.match(body.message ?? '', message, what)
    }
    assert.deepEqual((await list(c.url)).items, [])
  })

  it('refuses a body over the limit without reading it', async () => {
    await using c = await start()
    const { status, body } = await ingest(c.url, Buffer.alloc(13 << 20))
    assert.equal(status, 413)
    assert.match(body.message ?? '', /13631488 bytes are over/)
  })

  it('lets RBAC decide, stream by stream, and remembers for a few seconds', async () => {
    await using c = await start()
    const post = (name: string, stream: string, id = 'r1') =>
      fetch(`${c.url}/namespaces/default/streams/${stream}/records`, { method: 'POST', headers: as(name), body: JSON.stringify({ id, time: '2026-01-01T00:00:00Z', data: { t: 21 }, attachments: [{ name: 'a', contentType: 'text/plain', base64: 'aGk=' }] }) })
    assert.equal((await post('sensor', 'readings')).status, 201)
    assert.equal((await post('sensor', 'readings')).status, 200, 'sent again, counted once')
    assert.equal((await post('sensor', 'violations')).status, 403)
    assert.equal((await post('nobody', 'readings')).status, 401)
    asked.length = 0
    for (let i = 0; i < 3; i++) await list(c.url)
    assert.deepEqual(asked, ['clerk list records default/violations'])
    const denied = await fetch(`${c.url}/namespaces/kube-system/streams/x/records`, { headers: as('clerk') })
    const status = (await denied.json()) as { kind: string; reason: string; message: string }
    assert.deepEqual([status.kind, status.reason], ['Status', 'Forbidden'])
    assert.match(status.message, /User "clerk" cannot list resource "records" in API group "collect.skerry.io" in the namespace "kube-system"/)
  })

  it('issues what is approved under a running number; the first decision stands', async () => {
    await using c = await start()
    await ingest(c.url, [record(1, 'a/1'), record(2, 'a/2'), record(3, 'a/3')])
    const decide = async (name: string, id: string, decision: string): Promise<[number, KeptRecord & { message?: string }]> => {
      const answer = await fetch(`${base(c.url)}/${encodeURIComponent(id)}/review`, { method: 'POST', headers: as(name), body: JSON.stringify({ decision, note: 'seen' }) })
      return [answer.status, (await answer.json()) as KeptRecord & { message?: string }]
    }
    assert.equal((await decide('clerk', 'a/1', 'approve'))[0], 403)
    assert.equal((await decide('reviewer', 'a/1', 'perhaps'))[0], 400)
    assert.equal((await decide('reviewer', 'a/9', 'approve'))[0], 404)
    const [, second] = await decide('reviewer', 'a/2', 'approve')
    assert.deepEqual([second.issued, second.issueNumber, second.review.state, second.review.by, second.review.note], [true, 1, 'approved', 'reviewer', 'seen'])
    assert.equal((await decide('reviewer', 'a/1', 'reject'))[1].issued, false)
    const [status, again] = await decide('reviewer', 'a/1', 'approve')
    assert.equal(status, 409)
    assert.match(again.message ?? '', /"reviewer" rejected it at 20/)
    assert.equal((await decide('reviewer', 'a/3', 'approve'))[1].issueNumber, 2)
    assert.deepEqual((await list(c.url, '?review=approved')).items.map((r) => r.id), ['a/2', 'a/3'])
  })

  it('lists by pages, newest first, since a time', async () => {
    await using c = await start()
    await ingest(c.url, Array.from({ length: 7 }, (_, i) => record(i + 1, `r${i + 1}`)))
    const first = await list(c.url, '?limit=3')
    assert.deepEqual(first.items.map((r) => r.id), ['r1', 'r2', 'r3'])
    const rest = await list(c.url, `?limit=4&after=${first.next}`)
    assert.deepEqual([rest.items.map((r) => r.id), rest.next], [['r4', 'r5', 'r6', 'r7'], undefined])
    assert.deepEqual((await list(c.url, '?limit=2&order=newest')).items.map((r) => r.id), ['r7', 'r6'])
    assert.deepEqual((await list(c.url, `?since=${1_700_000_000_006}`)).items.map((r) => r.id), ['r6', 'r7'])
    assert.equal((await fetch(`${base(c.url)}?limit=x`, { headers: as('clerk') })).status, 400)
  })

  it('streams records and reviews live, and resumes behind the last event seen', async () => {
    await using c = await start()
    await ingest(c.url, record(1, 'r1'))
    const first = await events(base(c.url), {})
    assert.deepEqual((await first.take(1)).map((e) => e.record.id), ['r1'])
    await ingest(c.url, [record(2, 'r2'), record(3, 'r3')])
    const live = await first.take(2)
    assert.deepEqual(live.map((e) => e.record.id), ['r2', 'r3'])
    await fetch(`${base(c.url)}/r2/review`, { method: 'POST', headers: as('reviewer'), body: '{"decision":"reject"}' })
    assert.deepEqual((await first.take(1)).map((e) => [e.record.id, e.record.review.state]), [['r2', 'rejected']])
    first.stop()
    await ingest(c.url, record(4, 'r4'))
    const resumed = await events(base(c.url), { 'last-event-id': live[0]?.id ?? '' })
    assert.deepEqual((await resumed.take(3)).map((e) => e.record.id), ['r3', 'r2', 'r4'])
    resumed.stop()
  })

  it('answers over HTTP/2 as well, which is what nodes speak', async () => {
    await using collector = await createCollector({ directory: join(directory, 'h2'), client })
    const server = http2.createServer((req, res) => {
      const { pathname, searchParams } = new URL(req.url, 'http://x')
      void collector.handle(req, res, { user: users[String(req.headers['x-user'])], path: pathname, query: searchParams })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const session = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const call = async (method: string, path: string, who: string, body?: Uint8Array): Promise<[number, string]> => {
      const stream = session.request({ ':method': method, ':path': `/collect/v1/${path}`, 'x-user': who, 'x-skerry-epoch': 'e1' })
      stream.end(body)
      const [headers] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader]
      return [headers[':status'] ?? 0, Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>)).toString()]
    }
    const path = 'namespaces/default/streams/violations/records'
    try {
      assert.deepEqual(await call('POST', 'ingest', 'cam1', record(1, 'a/1')), [200, '{"acked":1}'])
      assert.deepEqual(await call('GET', `${path}/a%2F1/attachments/photo.jpg`, 'clerk'), [200, 'photo of a/1'])
      assert.equal((await call('GET', path, 'nobody'))[0], 401)
      assert.equal((await call('POST', 'ingest', 'cam1', Buffer.alloc(13 << 20)))[0], 413)
      const live = session.request({ ':path': `/collect/v1/${path}?watch=true`, 'x-user': 'clerk' })
      let text = ''
      for await (const chunk of live as AsyncIterable<Buffer>) if ((text += chunk.toString()).includes('\n\nid: 1\n')) break
      assert.match(text, /data: {"id":"a\/1"/)
    } finally {
      session.destroy()
      server.close()
    }
  })

  it('stays within its bytes: reviewed first, oldest first, and says what it dropped', async () => {
    await using c = await start({ maxBytes: 100_000 })
    const big = (seq: number, id: string): Buffer => record(seq, id, { attachments: [{ name: 'p', contentType: 'image/jpeg', size: 18_000 }] }, Buffer.alloc(18_000, seq))
    await ingest(c.url, [big(1, 'old-pending'), big(2, 'reviewed'), big(3, 'c'), big(4, 'd')])
    await fetch(`${base(c.url)}/reviewed/review`, { method: 'POST', headers: as('reviewer'), body: '{"decision":"approve"}' })
    await ingest(c.url, [big(5, 'e'), big(6, 'f'), big(7, 'g')])
    assert.deepEqual((await list(c.url)).items.map((r) => r.id), ['c', 'd', 'e', 'f', 'g'])
    const { streams } = (await (await fetch(`${c.url}/namespaces/default/streams`, { headers: as('clerk') })).json()) as { streams: { records: number; dropped: { state: string; records: number; bytes: number }[] }[] }
    assert.equal(streams[0]?.records, 5)
    assert.deepEqual(streams[0]?.dropped.map((d) => [d.state, d.records]), [['approved', 1], ['pending', 1]])
    assert.ok((await c.collector.usage()).bytes <= 100_000)
    const files = readdirSync(join(c.directory, 'attachments'), { recursive: true }).filter((f) => /[0-9a-f]{64}$/.test(String(f)))
    assert.equal(files.length, 5, 'files went with their records')
  })

  it('keeps and shows what nodes say they lost', async () => {
    await using c = await start()
    const loss = { fromSeq: 3, toSeq: 5, fromMs: 10, toMs: 20, bytes: 999, reason: 'full' }
    await ingest(c.url, record(9, 'x'), { losses: [loss] })
    await ingest(c.url, [], { losses: [{ ...loss, toSeq: 8, bytes: 2000 }] })
    const { nodeLosses } = (await (await fetch(`${c.url}/namespaces/default/streams`, { headers: as('clerk') })).json()) as { nodeLosses: unknown[] }
    assert.deepEqual(nodeLosses, [{ node: 'cam-1', epoch: 'e1', ...loss, toSeq: 8, bytes: 2000 }])
    assert.equal((await ingest(c.url, [], { losses: 'x' })).status, 400)
  })

  it('names a file that does not check', async () => {
    const own = join(directory, 'torn')
    {
      await using c = await start({ directory: own })
      assert.equal(existsSync(own), false, 'costs nothing before it is used')
      await ingest(c.url, record(1, 'a'))
    }
    writeFileSync(join(own, 'records.db'), 'no database'.repeat(1000))
    await assert.rejects(start({ directory: own }), (e) => e instanceof AppError && e.code === 'corrupt' && /records\.db.*move the file aside/s.test(e.message))
  })
})

async function events(url: string, headers: Record<string, string>): Promise<{ take(n: number): Promise<{ id: string; record: KeptRecord }[]>; stop(): void }> {
  const stop = new AbortController()
  const answer = await fetch(`${url}?watch=true`, { headers: as('clerk', headers), signal: AbortSignal.any([stop.signal, AbortSignal.timeout(5000)]) })
  assert.equal(answer.headers.get('content-type'), 'text/event-stream')
  const reader = (answer.body ?? assert.fail('no body')).pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  const ready: { id: string; record: KeptRecord }[] = []
  return {
    async take(count) {
      while (ready.length < count) {
        const { value, done } = await reader.read()
        if (done) assert.fail('the stream ended')
        const parts = (rest + value).split('\n\n')
        rest = parts.pop() ?? ''
        for (const part of parts) {
          const [, id = '', data = ''] = /^id: (\d+)\ndata: (.*)$/s.exec(part) ?? []
          if (id !== '') ready.push({ id, record: JSON.parse(data) as KeptRecord })
        }
      }
      return ready.splice(0, count)
    },
    stop: () => stop.abort(),
  }
}
