/**
 * The server as a process of its own, with thousands of TLS connections whose watches drop and resume while objects change: each
 * watcher sees every change once and in order, the process is as large after the last round as after the first, and at rest about as it was before them.
 * `SKERRY_SOAK` is the number of rounds; `SKERRY_SOAK_WATCHES` how many watches (default 2000, 200 for fewer than 10 rounds).
 */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { request, type Agent } from 'node:https'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { ROOT } from '../kit/process.ts'
import { until } from '../kit/until.ts'
import { bundleInto, startServerProcess, type ServerProcess } from '../bench/server-process.ts'

const ROUNDS = Math.max(1, Number(process.env['SKERRY_SOAK'] ?? 0) || 2)
const WATCHES = Number(process.env['SKERRY_SOAK_WATCHES'] ?? (ROUNDS < 10 ? 200 : 2_000))
const CHANGES = 30
const PORT = 17_443
/** The engine gives memory back late, MB: what a leak of a few hundred bytes a watch and round would exceed. */
const MARGIN_MB = 40
const BUNDLE = 'dist/soak'
const PATH = '/api/v1/namespaces/default/configmaps'

interface Event {
  readonly type: string
  readonly object: { readonly metadata: { readonly name: string; readonly resourceVersion: string } }
}

function call(agent: Agent, method: string, path: string, body?: object): Promise<{ status: number; body: { metadata: { resourceVersion: string } } }> {
  return new Promise((resolve, reject) => {
    const req = request({ agent, port: PORT, host: '127.0.0.1', method, path, headers: body ? { 'content-type': 'application/json' } : {} }, (res) => {
      let text = ''
      res.setEncoding('utf8').on('data', (c: string) => (text += c)).on('end', () => resolve({ status: res.statusCode ?? 0, body: JSON.parse(text) as never }))
    })
    req.on('error', reject)
    req.end(body && JSON.stringify(body))
  })
}

/** Handshakes under way at once, at most: more would wait for each other until the server gives them up. */
const OPENING = 100
let opening = 0
const waiting: (() => void)[] = []
async function enter(): Promise<() => void> {
  if (opening < OPENING) opening++
  else await new Promise<void>((resolve) => waiting.push(resolve)) // a place handed on
  let left = false
  return () => {
    if (left) return
    left = true
    const next = waiting.shift()
    if (next) next()
    else opening--
  }
}

/** One connection's watch from `from`; ends when `take` says so. Resolves to how it ended. */
async function watchOnce(agent: Agent, from: string, take: (event: Event) => boolean): Promise<void> {
  const leave = await enter()
  return new Promise<void>((resolve, reject) => {
    const req = request({ agent, port: PORT, host: '127.0.0.1', path: `${PATH}?watch=true&resourceVersion=${from}` }, (res) => {
      leave()
      let rest = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          if (line === '' || req.destroyed) continue
          if (take(JSON.parse(line) as Event)) continue
          req.destroy()
          resolve()
        }
      })
      res.on('end', resolve).on('error', () => resolve())
    })
    req.on('error', (error) => (req.destroyed ? resolve() : reject(error)))
    req.end()
  }).finally(leave)
}

/** Follows `count` changes from `from`, dropping the connection at random. */
async function follow(agent: Agent, from: string, count: number): Promise<string[]> {
  const got: string[] = []
  let at = from
  for (let attempt = 0; got.length < count; attempt++) {
    assert.ok(attempt < 50, 'a watch that brings nothing')
    const until = Math.random() < 0.5 ? got.length + 1 + Math.floor(Math.random() * CHANGES) : Infinity
    await watchOnce(agent, at, ({ type, object }) => {
      assert.notEqual(type, 'ERROR', JSON.stringify(object))
      at = object.metadata.resourceVersion
      got.push(`${type} ${object.metadata.name}`)
      return got.length < Math.min(count, until)
    })
  }
  return got
}

async function round(server: ServerProcess, watchers: Agent, writer: Agent, n: number): Promise<void> {
  const { metadata } = (await call(writer, 'GET', PATH)).body
  const following = Array.from({ length: WATCHES }, () => follow(watchers, metadata.resourceVersion, CHANGES))
  const all = Promise.all(following)
  all.catch(() => undefined) // told below, when the changes are made
  const expected: string[] = []
  for (let i = 0; i < CHANGES; i++) {
    const name = `cm-${i % 5}`
    const there = (await call(writer, 'GET', `${PATH}/${name}`)).status === 200
    const act = !there ? 'ADDED' : i % 3 === 0 ? 'DELETED' : 'MODIFIED'
    const body = { metadata: { name }, data: { text: `${n}-${i} ${'x'.repeat(1_000)}` } }
    const answer = await call(writer, act === 'ADDED' ? 'POST' : act === 'DELETED' ? 'DELETE' : 'PUT', act === 'ADDED' ? PATH : `${PATH}/${name}`, act === 'DELETED' ? undefined : body)
    assert.ok(answer.status < 300, `${act} ${name}: ${answer.status}`)
    expected.push(`${act} ${name}`)
  }
  for (const got of await all) assert.deepEqual(got, expected)
}

test(`${WATCHES} TLS watches of a server process drop and resume for ${ROUNDS} rounds; its memory returns`, async () => {
  const server = await startServerProcess(PORT, bundleInto(BUNDLE))
  try {
    const watchers = server.agent(Infinity)
    const writer = server.agent(1)
    // A namespace gets this from a controller; until then it would be a change that nobody here made.
    await until('the namespace is furnished', async () => (await call(writer, 'GET', `${PATH}/kube-root-ca.crt`)).status === 200, 60_000)
    const idle = server.rssMb()
    const sizes: number[] = []
    for (let n = 0; n <= ROUNDS; n++) {
      await round(server, watchers, writer, n)
      await sleep(2_000) // Closed connections and garbage take their time to go; nothing else is waited for.
      sizes.push(Math.round(server.rssMb()))
    }
    console.log(`server: ${Math.round(idle)} MB idle; after each round of ${WATCHES} watches: ${sizes.join(' ')} MB; ${server.cpuSeconds().toFixed(0)} s of CPU`)
    // The first rounds fill the engine's own pools; after that there is nothing left to grow.
    const settled = Math.max(...sizes.slice(0, Math.max(1, Math.ceil(sizes.length / 3))))
    assert.ok((sizes.at(-1) as number) <= settled + MARGIN_MB, `it grew from ${settled} to ${sizes.at(-1)} MB`)
    watchers.destroy()
    writer.destroy()
    const back = await until(`memory near the ${Math.round(idle)} MB of before`, () => server.rssMb() <= idle + MARGIN_MB && server.rssMb(), 180_000)
    console.log(`server: ${Math.round(back)} MB at rest`)
  } finally {
    await server.stop()
    rmSync(join(ROOT, BUNDLE), { recursive: true, force: true })
  }
})
