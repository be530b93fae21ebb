import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { LocalDialer } from '../../tunnel/mod.ts'
import { commandNode, fakeApi, type FakeApi } from '../../../test/kit/pod-node.ts'

setLogSink(() => undefined)
const KUBECTL = join(import.meta.dirname, '../../../dist/clients/kubectl')
const skip = existsSync(KUBECTL) ? false : 'no kubectl in dist/clients: run tools/unpack-clients.ts'
let api: FakeApi
let dir: string
before(async () => {
  const dialer = new LocalDialer()
  dialer.connect('n1', commandNode)
  api = await fakeApi(dialer)
  dir = mkdtempSync(join(tmpdir(), 'streams-'))
})
after(async () => {
  await api.close()
  rmSync(dir, { recursive: true })
})

const environment = (ws: boolean): NodeJS.ProcessEnv => ({ ...process.env, HOME: dir, KUBECTL_REMOTE_COMMAND_WEBSOCKETS: String(ws), KUBECTL_PORT_FORWARD_WEBSOCKETS: String(ws) })

function kubectl(ws: boolean, args: string[], stdin?: Buffer): Promise<{ code: number; out: Buffer; err: string }> {
  return new Promise((resolve) => {
    const child = execFile(KUBECTL, [`--server=${api.url}`, ...args], { env: environment(ws), encoding: 'buffer', maxBuffer: 64 << 20, timeout: 15_000 }, (error, out, err) =>
      resolve({ code: error ? Number(error.code ?? -1) : 0, out, err: err.toString() }),
    )
    child.stdin?.end(stdin)
  })
}

for (const ws of [true, false]) {
  const via = ws ? 'WebSocket' : 'SPDY'
  test(`kubectl exec over ${via}: output, exit code, stdin to its end, refusals`, { skip, timeout: 30_000 }, async () => {
    const failing = await kubectl(ws, ['exec', 'web', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7'])
    assert.deepEqual([failing.code, failing.out.toString()], [7, 'out\n'])
    assert.match(failing.err, /^err\n.*exit code 7/s)
    const bytes = randomBytes(3_000_000)
    const piped = await kubectl(ws, ['exec', '-i', 'web', '--', 'cat'], bytes)
    assert.deepEqual([piped.code, piped.out.equals(bytes)], [0, true])
    const took: number[] = []
    // A slow machine has a quick moment too; a wait of ours would be in every try.
    for (let tries = 0; tries < 5 && !took.some((ms) => ms < 900); tries++) {
      const started = performance.now()
      assert.equal((await kubectl(ws, ['exec', 'web', '--', 'true'])).code, 0)
      took.push(performance.now() - started)
    }
    assert.ok(took.some((ms) => ms < 900), `the end of a command is seen at once: ${took.join(', ')} ms`)
    assert.match((await kubectl(ws, ['exec', 'web', '-c', 'missing', '--', 'true'])).err, /container "missing" not found/)
    const last = api.upgrades.at(-1) ?? ''
    assert.ok(last.startsWith(ws ? 'v5.channel.k8s.io' : 'v4.channel.k8s.io') || !ws)
  })

  test(`kubectl cp over ${via} brings files there and back unharmed`, { skip, timeout: 30_000 }, async () => {
    const [from, there, back] = ['from', 'there', 'back'].map((n) => join(dir, `${n}-${via}`)) as [string, string, string]
    mkdirSync(from)
    const bytes = randomBytes(2_000_000)
    writeFileSync(join(from, 'big'), bytes)
    assert.equal((await kubectl(ws, ['cp', from, `web:${there}`])).code, 0)
    assert.equal((await kubectl(ws, ['cp', `web:${there}/big`, back])).code, 0)
    assert.equal(createHash('sha256').update(readFileSync(back)).digest('hex'), createHash('sha256').update(bytes).digest('hex'))
  })

  test(`kubectl port-forward over ${via}: many connections at once, half-closes, a refused port`, { skip, timeout: 30_000 }, async () => {
    // The server answers only after the client has ended its half, so a lost half-close would hang.
    const server = createServer({ allowHalfOpen: true }, (s) => {
      const parts: Buffer[] = []
      s.on('data', (c) => parts.push(c)).on('end', () => s.end(createHash('sha256').update(Buffer.concat(parts)).digest()))
    })
    await new Promise<void>((r) => server.listen(0, '127.0.0.1', r))
    const port = (server.address() as { port: number }).port
    const child = spawn(KUBECTL, [`--server=${api.url}`, 'port-forward', 'web', '--address=127.0.0.1', `:${port}`, ':1'], { env: environment(ws) })
    let text = ''
    const local = await new Promise<number[]>((resolve) => {
      child.stdout.on('data', (c: Buffer) => {
        text += String(c)
        const ports = [...text.matchAll(/127\.0\.0\.1:(\d+) ->/g)].map((m) => Number(m[1]))
        if (ports.length === 2) resolve(ports)
      })
    })
    let errors = ''
    child.stderr.on('data', (c: Buffer) => (errors += String(c)))
    await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const bytes = randomBytes(100_000 * i + 1)
        const socket = connect({ port: local[0] as number, host: '127.0.0.1', allowHalfOpen: true })
        socket.end(bytes)
        const parts: Buffer[] = []
        for await (const c of socket as AsyncIterable<Buffer>) parts.push(c)
        assert.deepEqual(Buffer.concat(parts), createHash('sha256').update(bytes).digest())
      }),
    )
    const refused = connect({ port: local[1] as number, host: '127.0.0.1' })
    refused.on('error', () => undefined).resume()
    await new Promise((r) => refused.once('close', r))
    await new Promise((r) => child.once('close', r)) // kubectl gives up after a failed connection
    assert.match(errors, /error forwarding port 1: dial pod: .*ECONNREFUSED/)
    server.close()
  })
}
