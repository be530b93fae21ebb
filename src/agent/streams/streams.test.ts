import assert from 'node:assert/strict'
import { appendFileSync, closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, PassThrough } from 'node:stream'
import test, { after } from 'node:test'
import type { ContainerStatus } from '../../api/gen/types.ts'
import { FakeClock, systemClock } from '../../base/clock.ts'
import { setLogSink } from '../../base/log.ts'
import { AppError } from '../../base/errors.ts'
import { CHANNEL, encodeFrame, FrameDecoder } from '../../base/stream.ts'
import { testNode, testPod, type TestNode } from '../testing.ts'
import { createHandler, type HandlerOptions } from './handler.ts'
import { parseLogQuery, readLog } from './log-reader.ts'
import { rotateLogs } from './log-rotation.ts'

setLogSink(() => {})
const root = await mkdtemp(join(tmpdir(), 'skerry-streams-'))
after(() => rm(root, { recursive: true, force: true }))

const line = (second: number, text: string, tag = 'F', stream = 'stdout'): string => `2026-01-01T00:00:${String(second).padStart(2, '0')}.5Z ${stream} ${tag} ${text}\n`

async function read(path: string, query: string, running = false, signal = new AbortController().signal): Promise<string> {
  let out = ''
  const q = parseLogQuery(new URLSearchParams(query), Date.UTC(2026, 0, 1, 0, 0, 10))
  for await (const chunk of readLog({ path, clock: systemClock, running: () => running }, q, signal)) out += chunk.toString()
  return out
}

test('logs are read by tail, time, stream, size and with timestamps', async () => {
  const path = join(root, '0.log')
  writeFileSync(`${path}.20260101T000000`, line(1, 'old'))
  writeFileSync(path, line(2, 'two') + line(3, 'long ', 'P') + line(3, 'line') + line(4, 'err', 'F', 'stderr'))
  assert.equal(await read(path, ''), 'old\ntwo\nlong line\nerr\n')
  assert.equal(await read(path, 'tailLines=2'), 'long line\nerr\n')
  assert.equal(await read(path, 'tailLines=0'), '')
  assert.equal(await read(path, 'sinceSeconds=7'), 'long line\nerr\n')
  assert.equal(await read(path, 'sinceTime=2026-01-01T00:00:04Z'), 'err\n')
  assert.equal(await read(path, 'limitBytes=5'), 'old\nt')
  assert.equal(await read(path, 'stream=Stderr'), 'err\n')
  assert.equal(await read(path, 'tailLines=2&timestamps=true'), '2026-01-01T00:00:03.5Z long line\n2026-01-01T00:00:04.5Z err\n')
  await assert.rejects(read(path, 'tailLines=many'), /tailLines "many" must be a whole number/)
})

test('the last lines are those at the moment of asking, however much is written meanwhile', async () => {
  const path = join(root, '2.log')
  writeFileSync(path, line(1, 'a') + line(2, 'b'))
  let out = ''
  for await (const c of readLog({ path, clock: systemClock, running: () => true }, parseLogQuery(new URLSearchParams('tailLines=2'), 0), new AbortController().signal)) {
    out += c.toString()
    appendFileSync(path, line(3, 'later'))
  }
  assert.equal(out, 'a\nb\n')
})

test('a followed log shows what is appended, over a rotation, and ends with the container', async () => {
  const path = join(root, '1.log')
  writeFileSync(path, line(1, 'a'))
  let running = true
  let out = ''
  const done = (async () => {
    for await (const c of readLog({ path, clock: systemClock, running: () => running }, parseLogQuery(new URLSearchParams('follow=true'), 0), new AbortController().signal)) out += c.toString()
  })()
  const until = async (text: string): Promise<void> => {
    for (let i = 0; i < 200; i++) {
      if (out === text) return
      await new Promise((r) => setTimeout(r, 10))
    }
    assert.equal(out, text)
  }
  await until('a\n')
  appendFileSync(path, line(2, 'b'))
  await until('a\nb\n')
  writeFileSync(path, line(3, 'c'))
  await until('a\nb\nc\n')
  appendFileSync(path, line(4, 'last'))
  running = false
  await done
  assert.equal(out, 'a\nb\nc\nlast\n')
})

/** A runtime that appends to one log file and opens it anew when told, as containerd does. */
function writer(path: string): { write: (text: string) => void; reopen: () => Promise<void>; close: () => void } {
  let fd = openSync(path, 'a')
  const reopen = async (): Promise<void> => {
    closeSync(fd)
    fd = openSync(path, 'a')
  }
  return { write: (text) => void writeSync(fd, text), reopen, close: () => closeSync(fd) }
}

test('a log over its size is renamed and goes on in a new file, nothing is lost, and old files go', async () => {
  const dir = join(root, 'pods', 'pod', 'main')
  mkdirSync(dir, { recursive: true })
  const path = join(dir, '0.log')
  const clock = new FakeClock()
  const out = writer(path)
  const options = { clock, logs: () => [{ containerId: 'c', path }], maxBytes: 50, maxFiles: 3 }
  for (let i = 0; i < 5; i++) {
    out.write(line(i, `${i}`.repeat(100)))
    // What is written between the renaming and the reopening goes into the old file.
    await rotateLogs({ ...options, reopen: async () => (out.write(line(i, 'between')), await out.reopen()) })
    clock.jump(2000)
  }
  assert.equal(readFileSync(path, 'utf8'), '')
  assert.equal(readdirSync(dir).length, 3)
  out.write(line(9, 'now'))
  assert.equal(await read(path, ''), `${'3'.repeat(100)}\nbetween\n${'4'.repeat(100)}\nbetween\nnow\n`)

  // A runtime that cannot: the file has its name back.
  out.write(line(9, 'y'.repeat(100)))
  await rotateLogs({ ...options, reopen: () => Promise.reject(new Error('away')) })
  assert.match(readFileSync(path, 'utf8'), /now\n.*y{100}/)
  // Renamed by an agent that ended then: the runtime is told.
  renameSync(path, `${path}.20260102T000000`)
  await rotateLogs({ ...options, reopen: out.reopen })
  assert.equal(readFileSync(path, 'utf8'), '')
  out.close()
})

function ask(n: TestNode, path: string, input: Buffer[] = []): { status: Promise<number>; text: Promise<string>; send: (b: Buffer) => void; end: () => void } {
  const toNode = new PassThrough()
  const fromNode = new PassThrough()
  const chunks: Buffer[] = []
  fromNode.on('data', (c: Buffer) => chunks.push(c))
  const text = new Promise<string>((resolve) => fromNode.on('end', () => resolve(Buffer.concat(chunks).toString('latin1'))))
  for (const b of input) toNode.write(b)
  const status = new Promise<number>((resolve) => {
    void n.agent.handler({ method: 'POST', path }, (code) => {
      resolve(code)
      return Duplex.from({ readable: toNode, writable: fromNode })
    })
  })
  return { status, text, send: (b) => void toNode.write(b), end: () => void toNode.end() }
}

test('exec ends with a Status that carries the exit code', async () => {
  await using n = await testNode({ app: { exec: ([word]) => ({ exitCode: word === 'bad' ? 7 : 0, stdout: 'out', stderr: 'err' }) } })
  n.api.put('pods', testPod('web'))
  await n.until('running', () => n.api.pod('web').status?.phase === 'Running')
  const frames = new FrameDecoder().push(Buffer.from(await ask(n, '/exec/default/web/main?command=bad').text, 'latin1'))
  const of = (channel: number): string => frames.filter((f) => f.channel === channel).map((f) => f.payload.toString()).join('')
  assert.equal(of(CHANNEL.stdout), 'out')
  assert.equal(of(CHANNEL.stderr), 'err')
  const status = JSON.parse(of(CHANNEL.error)) as { status: string; reason: string; details: object }
  assert.equal(status.reason, 'NonZeroExitCode')
  assert.deepEqual(status.details, { causes: [{ reason: 'ExitCode', message: '7' }] })
  const good = new FrameDecoder().push(Buffer.from(await ask(n, '/exec/default/web?command=ok', [encodeFrame(CHANNEL.resize, Buffer.from('{"Width":80,"Height":24}'))]).text, 'latin1'))
  assert.equal((JSON.parse(String(good.at(-1)?.payload)) as { status: string }).status, 'Success')
})

test('a command that cannot start is told on the stream, not by refusing it', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('running', () => n.api.pod('web').status?.phase === 'Running')
  n.runtime.failNext('streams.exec', new AppError('unavailable', 'exec: "nothere": executable file not found in $PATH'))
  const refused = ask(n, '/exec/default/web/main?command=nothere')
  assert.equal(await refused.status, 200)
  const [frame] = new FrameDecoder().push(Buffer.from(await refused.text, 'latin1'))
  assert.equal(frame?.channel, CHANNEL.error)
  const { message, reason } = JSON.parse(String(frame?.payload)) as { message: string; reason: string }
  assert.deepEqual([reason, message], ['InternalError', 'Internal error occurred: error executing command in container: exec: "nothere": executable file not found in $PATH'])
})

test('the log of a container that has not started says what it waits for', async () => {
  await using n = await testNode({ app: {} })
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'nobody-has-it', imagePullPolicy: 'Always' }] }))
  await n.until('the failed pull', () => n.api.pod('web').status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImagePull')
  assert.match(await ask(n, '/containerLogs/default/web/main').text, /"main" in pod "web" is waiting to start: image can't be pulled$/)
})

test('the previous log of a container that waits for its next start is that of its last', async () => {
  await using n = await testNode({ app: { exitAfterMs: 1_000, exitCode: 3 } })
  n.api.put('pods', testPod('web'))
  const current = (): ContainerStatus | undefined => n.api.pod('web').status?.containerStatuses?.[0]
  for (const restarts of [0, 1]) {
    await n.until(`run ${restarts}`, () => current()?.state?.running !== undefined && current()?.restartCount === restarts)
    await n.pass(1_000)
  }
  await n.until('the wait', () => current()?.state?.waiting?.reason === 'CrashLoopBackOff')
  const logs = join(n.dirs.data, 'logs', 'pods', 'default_web_uid-web', 'main')
  mkdirSync(logs, { recursive: true })
  for (const run of [0, 1]) writeFileSync(join(logs, `${run}.log`), line(1, `run ${run}`))
  assert.equal(await ask(n, '/containerLogs/default/web/main?previous=true').text, 'run 1\n')
})

test('a request for what is not there is refused with its reason', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('running', () => n.api.pod('web').status?.phase === 'Running')
  const no = ask(n, '/containerLogs/default/none/main')
  assert.equal(await no.status, 404)
  assert.match(await no.text, /"default\/none" is not on this node/)
  assert.equal(await ask(n, '/containerLogs/default/web/other').status, 400)
  assert.equal(await ask(n, '/containerLogs/default/web/main?previous=true').status, 400)
  assert.equal(await ask(n, '/portForward/default/web?port=x').status, 400)
  assert.equal(await ask(n, '/nothing').status, 404)
})

test('logs come through the handler, port-forward carries raw bytes, metrics are text', async () => {
  await using n = await testNode()
  n.api.put('pods', testPod('web'))
  await n.until('running', () => n.api.pod('web').status?.phase === 'Running')
  mkdirSync(join(n.dirs.data, 'logs', 'pods', 'default_web_uid-web', 'main'), { recursive: true })
  writeFileSync(join(n.dirs.data, 'logs', 'pods', 'default_web_uid-web', 'main', '0.log'), line(1, 'hello'))
  assert.equal(await ask(n, '/containerLogs/default/web/main').text, 'hello\n')
  assert.match(await ask(n, '/metrics').text, /kubelet_running_pods 1/)
  const forward = ask(n, '/portForward/default/web?port=80', [Buffer.from('echo')])
  assert.equal(await forward.status, 200)
})

test('the pages of a kubelet: its pods, what runs, how probes went, its settings', async () => {
  await using n = await testNode({ app: { exec: ([word]) => ({ exitCode: word === 'ready' ? 0 : 1 }) } })
  const probe = (word: string) => ({ exec: { command: [word] }, periodSeconds: 1, failureThreshold: 100 })
  n.api.put('pods', testPod('web', { containers: [{ name: 'main', image: 'app', readinessProbe: probe('ready'), livenessProbe: probe('live') }] }))
  await n.until('ready', () => n.api.pod('web').status?.containerStatuses?.[0]?.ready === true)
  await n.pass(2000)
  const read = async (path: string): Promise<string> => (await ask(n, path)).text
  const list = async (path: string) => JSON.parse(await read(path)) as { kind: string; items: { metadata: object; spec: { containers: object[] }; status: { phase?: string } }[] }
  const pods = await list('/pods')
  assert.deepEqual([pods.kind, pods.items.length, pods.items[0]?.status.phase], ['PodList', 1, 'Running'])
  const running = await list('/runningpods/')
  assert.deepEqual(running.items[0], { metadata: { name: 'web', namespace: 'default', uid: 'uid-web', creationTimestamp: null }, spec: { containers: [{ name: 'main', image: 'app', resources: {} }] }, status: {} })
  const labels = 'container="main",namespace="default",pod="web",pod_uid="uid-web",probe_type'
  assert.match(await read('/metrics/probes'), new RegExp(`prober_probe_total{${labels}="Liveness",result="failed"} [1-9]`))
  assert.match(await read('/metrics/probes'), new RegExp(`prober_probe_total{${labels}="Readiness",result="successful"} [1-9]`))
  const { kubeletconfig: c } = JSON.parse(await read('/configz')) as { kubeletconfig: Record<string, unknown> }
  assert.deepEqual([c['kind'], c['maxPods'], c['evictionPressureTransitionPeriod'], c['imageGCHighThresholdPercent']], ['KubeletConfiguration', 110, '5m0s', 85])
  assert.deepEqual((c['evictionHard'] as Record<string, string>)['memory.available'], '100Mi')
  assert.match(await read('/metrics'), /kubelet_running_containers\{container_state="running"\} 1/)
})

test('a port of the node is dialled by the address that the cluster knows, and what cannot be reached is told', async () => {
  const echo = createServer((socket) => socket.pipe(socket))
  await new Promise<void>((resolve) => echo.listen(0, '127.0.0.2', resolve))
  const { port } = echo.address() as AddressInfo
  let known: string[] = []
  const handler = createHandler({ hostIPs: () => known } as unknown as HandlerOptions)
  const asked = async (path: string): Promise<string> => (await ask({ agent: { handler } } as unknown as TestNode, path).text)
  try {
    assert.match(await asked(`/nodeForward?port=${port}`), /does not know its address yet/)
    known = ['127.0.0.2', '127.0.0.3']
    assert.match(await asked('/nodeForward?port=0'), /"0" is not a port/)
    const forward = ask({ agent: { handler } } as unknown as TestNode, `/nodeForward?port=${port}`, [Buffer.from('hello')])
    assert.equal(await forward.status, 200)
    forward.end()
    assert.equal(await forward.text, 'hello')
    known = ['127.0.0.3']
    assert.match(await asked(`/nodeForward?port=${port}`), new RegExp(`dial tcp 127\\.0\\.0\\.3:${port}: .*ECONNREFUSED`))
  } finally {
    await new Promise((resolve) => echo.close(resolve))
  }
})
