/**
 * What every container runtime behind the Runtime port must do; `src/cri/fake.test.ts` runs it on the fake,
 * `src/agent/containerd/supervisor.test.ts` on real containerd (as root, where it is installed).
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Duplex } from 'node:stream'
import { hasCode } from '../../src/base/errors.ts'
import type { ContainerConfig, LinuxSecurity, Runtime, RuntimeEvent, SandboxConfig } from '../../src/cri/mod.ts'

export interface RuntimeFixture {
  readonly runtime: Runtime
  /** References of present images by how their containers behave. */
  readonly images: {
    /** Runs until stopped, ends on SIGTERM at once; answers `['/bin/sh', '-c', 'echo out; echo err >&2; exit 4']`; echoes on port 7. */
    readonly runs: string
    /** Ends by itself with 3, at once. */
    readonly exits3: string
    /** Ignores SIGTERM. */
    readonly stubborn: string
  }
  /** Waits until a container of `stubborn` does so: until its program has begun it ends of any signal. @default at once */
  readonly isStubborn?: (id: string) => Promise<void>
  readonly logDirectory: string
  readonly cgroupParent: string
  close(): Promise<void>
}

export const SECURITY: LinuxSecurity = {
  privileged: false,
  runAsUser: undefined,
  runAsUserName: undefined,
  runAsGroup: undefined,
  supplementalGroups: [],
  readOnlyRoot: false,
  noNewPrivileges: false,
  addCapabilities: [],
  dropCapabilities: [],
  seccomp: 'runtime/default',
  maskedPaths: undefined,
  readonlyPaths: undefined,
}

let next = 0

/** A plain pod's sandbox. */
export function sandboxConfig(fixture: Pick<RuntimeFixture, 'logDirectory' | 'cgroupParent'>, change: Partial<SandboxConfig> = {}): SandboxConfig {
  const uid = `uid-${process.pid}-${next++}`
  return {
    name: 'pod', namespace: 'default', uid, attempt: 0, hostname: 'pod', logDirectory: `${fixture.logDirectory}/${uid}`, dns: undefined, portMappings: [],
    labels: { app: 'suite' }, annotations: { note: 'kept "as" it is' }, cgroupParent: `${fixture.cgroupParent}/${uid}`, hostNetwork: false, hostPID: false,
    hostIPC: false, sharePID: false, sysctls: {}, runtimeHandler: '', security: SECURITY, ...change,
  }
}

/** A plain container of an image. */
export function containerConfig(image: string, change: Partial<ContainerConfig> = {}): ContainerConfig {
  return {
    name: 'main', attempt: 0, image, command: [], args: [], workingDir: '', env: [], mounts: [], devices: [], labels: { 'which': 'main' }, annotations: {},
    logPath: 'main/0.log', stdin: false, stdinOnce: false, tty: false,
    resources: { cpuShares: 2, cpuQuotaUs: 0, cpuPeriodUs: 0, memoryLimitBytes: 0, oomScoreAdj: 500 }, security: SECURITY, ...change,
  }
}

/** @param make boots the runtime; called once before the tests */
export function runtimeSuite(name: string, make: () => Promise<RuntimeFixture>): void {
  describe(`Runtime: ${name}`, () => {
    let f: RuntimeFixture
    let runtime: Runtime
    before(async () => {
      f = await make()
      runtime = f.runtime
    })
    after(() => f.close())

    /** A running container of an image in a sandbox of its own. */
    async function running(image: string): Promise<{ sandbox: string; id: string }> {
      const config = sandboxConfig(f)
      const sandbox = await runtime.sandboxes.run(config)
      const id = await runtime.containers.create(sandbox, containerConfig(image), config)
      await runtime.containers.start(id)
      return { sandbox, id }
    }

    test('reports that it is ready', async () => {
      const status = await runtime.status()
      assert.equal(status.ready, true)
      assert.equal(status.networkReady, true)
      assert.notEqual(status.name, '')
    })

    test('runs, lists, stops and removes sandboxes; stopping or removing twice is no error', async () => {
      const config = sandboxConfig(f)
      const id = await runtime.sandboxes.run(config)
      const other = await runtime.sandboxes.run(sandboxConfig(f))
      const listed = (await runtime.sandboxes.list()).find((s) => s.id === id)
      assert.deepEqual(
        { name: listed?.name, namespace: listed?.namespace, uid: listed?.uid, state: listed?.state, labels: listed?.labels, annotations: listed?.annotations },
        { name: config.name, namespace: config.namespace, uid: config.uid, state: 'ready', labels: config.labels, annotations: config.annotations },
      )
      const [ip] = await runtime.sandboxes.ips(id)
      assert.match(ip ?? '', /^\d+\.\d+\.\d+\.\d+$/)
      assert.notEqual(ip, (await runtime.sandboxes.ips(other))[0])
      await runtime.sandboxes.stop(id)
      await runtime.sandboxes.stop(id)
      assert.equal((await runtime.sandboxes.list()).find((s) => s.id === id)?.state, 'not-ready')
      for (const s of [id, other, id]) await runtime.sandboxes.remove(s)
      assert.equal((await runtime.sandboxes.list()).some((s) => s.id === id || s.id === other), false)
    })

    test('takes a container from created over running to exited, with its exit code and times', async () => {
      const config = sandboxConfig(f)
      const sandbox = await runtime.sandboxes.run(config)
      const id = await runtime.containers.create(sandbox, containerConfig(f.images.runs), config)
      const created = await runtime.containers.inspect(id)
      assert.deepEqual({ state: created.state, sandboxId: created.sandboxId, name: created.name, labels: created.labels }, { state: 'created', sandboxId: sandbox, name: 'main', labels: { which: 'main' } })
      await runtime.containers.start(id)
      const up = (await runtime.containers.list()).find((c) => c.id === id)
      assert.equal(up?.state, 'running')
      assert.ok((up?.startedAtMs ?? 0) >= created.createdAtMs)
      assert.ok((await runtime.containers.stats()).some((s) => s.id === id && s.memoryBytes > 0))
      await runtime.containers.stop(id, 10)
      const ended = (await runtime.containers.list()).find((c) => c.id === id)
      assert.deepEqual({ state: ended?.state, exitCode: ended?.exitCode, reason: ended?.reason }, { state: 'exited', exitCode: 0, reason: 'Completed' })
      assert.ok((ended?.finishedAtMs ?? 0) >= (up?.startedAtMs ?? Infinity))
      await runtime.containers.stop(id, 10)
      await runtime.containers.remove(id)
      await runtime.containers.remove(id)
      await assert.rejects(runtime.containers.inspect(id), (e) => hasCode(e, 'not-found'))
      await runtime.sandboxes.remove(sandbox)
    })

    test('gives a running container other resources, and goes on in a new file of its log', async () => {
      const { sandbox, id } = await running(f.images.runs)
      await runtime.containers.update(id, { cpuShares: 512, cpuQuotaUs: 50_000, cpuPeriodUs: 100_000, memoryLimitBytes: 64 << 20, oomScoreAdj: 500 })
      await runtime.containers.reopenLog(id)
      assert.equal((await runtime.containers.inspect(id)).state, 'running')
      await runtime.sandboxes.remove(sandbox)
      await assert.rejects(runtime.containers.update(id, { cpuShares: 512, cpuQuotaUs: 0, cpuPeriodUs: 0, memoryLimitBytes: 0, oomScoreAdj: 0 }), (e) => hasCode(e, 'not-found'))
    })

    test('kills what does not end within its grace period, with 137', async () => {
      const { sandbox, id } = await running(f.images.stubborn)
      await f.isStubborn?.(id)
      await runtime.containers.stop(id, 1)
      const ended = await runtime.containers.inspect(id)
      assert.deepEqual({ state: ended.state, exitCode: ended.exitCode }, { state: 'exited', exitCode: 137 })
      await runtime.sandboxes.remove(sandbox)
      assert.equal((await runtime.containers.list()).some((c) => c.id === id), false, 'a sandbox takes its containers with it')
    })

    test('pushes events, and the status agrees when an exit is told', async () => {
      const stop = new AbortController()
      const events: RuntimeEvent[] = []
      let state: unknown
      let subscribed = (): void => {}
      const first = new Promise<void>((resolve) => (subscribed = resolve))
      const reading = (async () => {
        for await (const event of runtime.events(stop.signal)) {
          events.push(event)
          subscribed()
          const c = event.type === 'exited' ? await runtime.containers.inspect(event.containerId).catch(() => undefined) : undefined
          if (c?.image === f.images.exits3 || c?.exitCode === 3) {
            state = { state: c?.state, exitCode: c?.exitCode }
            return
          }
        }
      })()
      const config = sandboxConfig(f)
      const probe = await runtime.sandboxes.run(config)
      await first
      const id = await runtime.containers.create(probe, containerConfig(f.images.exits3), config)
      await runtime.containers.start(id)
      await reading
      assert.deepEqual(state, { state: 'exited', exitCode: 3 })
      const types = events.filter((e) => e.containerId === id).map((e) => e.type)
      assert.deepEqual(types.filter((t) => t !== 'started'), ['created', 'exited'])
      stop.abort()
      await runtime.sandboxes.remove(probe)
    })

    test('an aborted event stream ends quietly', async () => {
      const stop = new AbortController()
      const reading = (async () => {
        for await (const _ of runtime.events(stop.signal));
      })()
      await new Promise((resolve) => setImmediate(resolve))
      stop.abort()
      await reading
    })

    test('runs commands in a container: to their end, and as a session', async () => {
      const { sandbox, id } = await running(f.images.runs)
      const command = ['/bin/sh', '-c', 'echo out; echo err >&2; exit 4']
      const result = await runtime.streams.execSync(id, command, 10)
      assert.deepEqual({ code: result.exitCode, out: String(result.stdout), err: String(result.stderr) }, { code: 4, out: 'out\n', err: 'err\n' })
      const session = await runtime.streams.exec(id, command, { stdin: true, tty: false })
      const [code, out, err] = await Promise.all([session.exit, text(session.stdout), text(session.stderr)])
      assert.deepEqual({ code, out, err }, { code: 4, out: 'out\n', err: 'err\n' })
      await assert.rejects(runtime.streams.execSync('no-such-container', command, 10), (e) => hasCode(e, 'not-found'))
      await runtime.sandboxes.remove(sandbox)
    })

    test('attaches to a running container until it ends', async () => {
      const { sandbox, id } = await running(f.images.runs)
      const session = await runtime.streams.attach(id, { stdin: false, tty: false })
      session.stdout.resume()
      await runtime.containers.stop(id, 10)
      assert.equal(await session.exit, 0)
      await runtime.sandboxes.remove(sandbox)
    })

    test('forwards a port of the pod, both ways', async () => {
      const { sandbox } = await running(f.images.runs)
      const stream = await connected(() => runtime.streams.portForward(sandbox, 7))
      stream.write('ping')
      assert.equal(String((await stream[Symbol.asyncIterator]().next()).value), 'ping')
      stream.destroy()
      await runtime.sandboxes.remove(sandbox)
    })

    test('shows the files of an image as a mount until it is released, where it can', async (t) => {
      const { views } = f.runtime
      if (!views) return t.skip('this runtime shows images in containers only')
      const key = `view-${process.pid}`
      const mount = await views.view(key, f.images.runs)
      assert.ok(mount.type !== '' && mount.source !== '', JSON.stringify(mount))
      assert.deepEqual(await views.view(key, f.images.runs), mount, 'the same view again')
      await views.release(key)
      await views.release(key)
    })

    test('knows which images are present, and creates nothing from one that is not', async () => {
      const present = await runtime.images.find(f.images.runs)
      assert.ok(present?.tags.includes(f.images.runs), "the image is found by its name")
      assert.ok((await runtime.images.list()).some((i) => i.id === present?.id))
      // containerd counts every ten seconds: zero is an answer, a failure is not.
      assert.ok((await runtime.images.usage()) >= 0)
      assert.equal(await runtime.images.find('example.invalid/absent:1'), undefined)
      const config = sandboxConfig(f)
      const sandbox = await runtime.sandboxes.run(config)
      await assert.rejects(runtime.containers.create(sandbox, containerConfig('example.invalid/absent:1'), config), (e) => hasCode(e, 'not-found'))
      await runtime.sandboxes.remove(sandbox)
    })
  })
}

async function text(stream: NodeJS.ReadableStream | undefined): Promise<string> {
  let out = ''
  if (stream) for await (const chunk of stream) out += String(chunk)
  return out
}

/** The echo server in the container needs a moment to listen, on a busy machine a long one: tries until a written byte comes back as an open stream. */
async function connected(dial: () => Promise<Duplex>): Promise<Duplex> {
  const end = performance.now() + 30_000
  for (let last: unknown; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    if (performance.now() > end) throw new Error('forward a port: nothing listens on port 7 of the pod', { cause: last })
    // The runtime says that nothing listens yet by an error of the call, of the stream, or by its end.
    const stream = await dial().catch((error: unknown) => void (last = error))
    if (!stream) continue
    const alive = new Promise<boolean>((resolve) => {
      stream.once('error', (error) => {
        last = error
        resolve(false)
      })
      for (const over of ['end', 'close']) stream.once(over, () => resolve(false))
      stream.once('data', (d: Buffer) => {
        stream.pause()
        assert.equal(String(d), '.')
        resolve(true)
      })
    })
    stream.write('.')
    if (await alive) return stream
  }
}
