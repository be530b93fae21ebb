import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { hasCode } from '../base/errors.ts'
import { GrpcTransport, MAX_MESSAGE, type GrpcCall } from './grpc-transport.ts'

const dir = mkdtempSync(join(tmpdir(), 'skerry-grpc-'))
const path = join(dir, 's.sock')
let server: Http2Server
let transport: GrpcTransport
let answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void
const sessions = new Set<ServerHttp2Session>()

before(async () => {
  await listen()
})
beforeEach((t) => {
  transport = new GrpcTransport(path)
  if ('after' in t) t.after(() => transport.close())
})
after(async () => {
  await shut()
  rmSync(dir, { recursive: true })
})

async function listen(): Promise<void> {
  server = createServer()
  server.on('session', (s) => {
    sessions.add(s)
    s.on('close', () => sessions.delete(s)).on('error', () => {})
  })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {}).resume()
    answer(stream, headers)
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
}

async function shut(): Promise<void> {
  for (const s of sessions) s.destroy()
  await new Promise<void>((resolve) => server.close(() => resolve()))
}

const call = (change: Partial<GrpcCall> = {}): GrpcCall => ({ path: '/p.S/Do', message: Buffer.from('ask'), headers: {}, timeoutMs: 5_000, signal: undefined, ...change })
const frame = (text: string): Buffer => Buffer.concat([Buffer.of(0, 0, 0, 0, text.length), Buffer.from(text)])

/** Answers with these pieces of bytes, then a status. */
function say(pieces: readonly Buffer[], status = '0', message = ''): typeof answer {
  return (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, ...(message && { 'grpc-message': message }) }))
    for (const p of pieces) stream.write(p)
    stream.end()
  }
}

test('a call sends its message framed, with its time limit and headers, and gives the answer', async () => {
  let sent = Buffer.alloc(0)
  let told: IncomingHttpHeaders = {}
  answer = (stream, headers) => {
    told = headers
    stream.on('data', (d: Buffer) => (sent = Buffer.concat([sent, d])))
    stream.on('end', () => say([frame('yes')])(stream, headers))
  }
  assert.equal(String(await transport.unary(call({ headers: { 'containerd-namespace': 'k8s.io' } }))), 'yes')
  assert.deepEqual(sent, frame('ask'))
  assert.deepEqual([told[':path'], told['grpc-timeout'], told['containerd-namespace'], told['te']], ['/p.S/Do', '5000m', 'k8s.io', 'trailers'])
})

test('messages come whole however their bytes are cut', async () => {
  const bytes = Buffer.concat([frame('one'), frame(''), frame('three')])
  for (let cut = 1; cut < bytes.length; cut++) {
    answer = say([bytes.subarray(0, cut), bytes.subarray(cut)])
    const got: string[] = []
    for await (const m of transport.stream(call())) got.push(String(m))
    assert.deepEqual(got, ['one', '', 'three'])
  }
})

test('a status is an error with its code and the words of the runtime, with and without an answer before it', async () => {
  answer = say([], '5', 'no such image %22x%22')
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'not-found') && /Do of the container runtime failed: no such image "x"/.test(String(e)))
  answer = (stream) => void stream.respond({ ':status': 200, 'grpc-status': '12' }, { endStream: true })
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'unsupported'))
  answer = say([frame('part')], '14', 'going')
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'unavailable') && /going/.test(String(e)))
})

test('an answer that is none is unavailable: another HTTP status, an end within a message, no end at all', async () => {
  answer = (stream) => void stream.respond({ ':status': 503 }, { endStream: true })
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'unavailable') && /503/.test(String(e)))
  answer = say([frame('cut').subarray(0, 6)])
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'unavailable') && /within a message/.test(String(e)))
  answer = (stream) => stream.session?.destroy()
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'unavailable'))
})

test('a message above the limit is refused before it is read', async () => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(MAX_MESSAGE + 1, 1)
  answer = say([head])
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'full'))
})

test('a call ends at its time limit and by its signal, and the runtime is told', async () => {
  let told = Promise.withResolvers<void>()
  answer = (stream) => {
    stream.respond({ ':status': 200 })
    stream.on('close', () => told.resolve())
  }
  await assert.rejects(transport.unary(call({ timeoutMs: 20 })), (e) => hasCode(e, 'timeout'))
  await told.promise
  told = Promise.withResolvers<void>()
  const stop = new AbortController()
  const asked = transport.unary(call({ signal: stop.signal }))
  setImmediate(() => stop.abort(new Error('enough')))
  await assert.rejects(asked, /enough/)
  await told.promise
})

test('a runtime that was away and came back answers the next call on a new connection', async () => {
  answer = say([frame('a')])
  assert.equal(String(await transport.unary(call())), 'a')
  await shut()
  await assert.rejects(transport.unary(call()), (e) => hasCode(e, 'unavailable'))
  await listen()
  assert.equal(String(await transport.unary(call())), 'a')
})

test('many calls share one connection', async () => {
  answer = say([frame('a')])
  await Promise.all(Array.from({ length: 50 }, () => transport.unary(call())))
  assert.equal(sessions.size, 1)
})
