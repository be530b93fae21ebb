/**
 * Agent, containerd and shims are killed at random points while pods come, go and crash, round after round. After each round
 * the node must be what the API wants, and hold nothing of pods that are gone: sandboxes, containers, cgroups, mounts,
 * addresses, network interfaces, directories. `SKERRY_FAULTS` is the number of rounds, `SKERRY_SEED` plays a former run's dice.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { instancePaths } from '../../src/agent/containerd/paths.ts'
import type { Pod } from '../../src/api/gen/types.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { containerdRuntime, type ContainerdRuntime } from '../../src/cri/mod.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, Site } from './site.ts'

const NODE = 'fl-1'
const ROUNDS = Number(process.env['SKERRY_FAULTS'] ?? 20)
const SEED = Number(process.env['SKERRY_SEED'] ?? Date.now() % 1_000_000)
/** Pods that live through it all, beside those that come and go. */
const KEEPERS = ['keeper-0', 'keeper-1', 'keeper-2']

describe(`${ROUNDS} rounds of faults, seed ${SEED}`, { skip: cannotRunContainers() }, () => {
  let site: Site
  let runtime: ContainerdRuntime
  let bridge = ''
  const random = mulberry(SEED)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const pods = async (): Promise<Pod[]> => (await site.get<{ items: Pod[] }>('pods')).items
  const paths = () => {
    const { data, run, instance } = pathsOf(site.data(NODE))
    return instancePaths({ instance, dataDir: data, runDir: run })
  }

  before(async () => {
    site = await Site.create('faults', [NODE])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'keeper', `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`))
    await site.join(NODE)
    await site.kubectl('create', 'configmap', 'settings', '--from-literal=colour=blue')
    await site.apply(KEEPERS.map(manifest).join('---'))
    await site.kubectl('wait', '--for=condition=Ready', 'pods', '--all', '--timeout=60s')
    bridge = paths().bridge
    runtime = containerdRuntime({ address: paths().socket, ioDirectory: join(site.dir, 'io') })
  })
  after(async () => {
    runtime?.[Symbol.dispose]()
    assert.deepEqual(await site?.close(), [])
  })

  const faults: Readonly<Record<string, () => Promise<void>>> = {
    agent: async () => {
      await site.kill(NODE)
      await sleep(random() * 300)
      site.startAgent(NODE)
    },
    containerd: async () => void killed(containerdPid(paths().pidFile)),
    'agent and containerd': async () => {
      await site.kill(NODE)
      killed(containerdPid(paths().pidFile))
      await sleep(random() * 300)
      site.startAgent(NODE)
    },
    shim: async () => void killed(pick(shims(paths().socket))),
    'all shims': async () => shims(paths().socket).forEach(killed),
    'a container': async () => {
      const running = (await runtime.sandboxes.list().catch(() => [])).filter((s) => s.state === 'ready')
      if (running.length > 0) killed(await runtime.sandboxPid(pick(running).id).catch(() => undefined))
    },
  }

  test('the node is always what is wanted, and keeps nothing of what is gone', { timeout: ROUNDS * 120_000 }, async (t) => {
    let next = 0
    const slow: number[] = []
    for (let round = 1; round <= ROUNDS; round++) {
      const fault = pick(Object.keys(faults))
      const said = `round ${round}: ${fault}`
      const churn = (async () => {
        const names = [1, 2].map(() => `fleeting-${next++}`)
        await site.apply(names.map(manifest).join('---'))
        await sleep(random() * 500)
        const there = (await pods()).map((p) => p.metadata?.name ?? '').filter((n) => n.startsWith('fleeting'))
        const gone = there.filter(() => random() < 0.6)
        if (gone.length > 0) await site.kubectl('delete', 'pod', ...gone, '--wait=false', ...(random() < 0.3 ? ['--force', '--grace-period=0'] : []))
      })()
      await sleep(random() * 900)
      await faults[fault]?.()
      await churn
      const start = performance.now()
      await eventually(`${said}: all pods Ready`, async () => {
        const list = await pods()
        const bad = list.filter((p) => p.metadata?.deletionTimestamp !== undefined || !p.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'))
        if (bad.length > 0) throw new Error(bad.map((p) => `${p.metadata?.name} ${p.metadata?.deletionTimestamp === undefined ? '' : 'going, '}${JSON.stringify(p.status?.containerStatuses?.[0]?.state)}`).join('; '))
        return KEEPERS.every((k) => list.some((p) => p.metadata?.name === k))
      }, 45_000)
      slow.push(performance.now() - start)
      const wanted = (await pods()).map((p) => p.metadata?.uid ?? '').sort()
      await eventually(`${said}: nothing else on the node`, async () => {
        assert.deepEqual(await held(wanted), held0(wanted))
        return true
      }, 75_000) // what could not be removed at once is swept up within a minute
    }
    slow.sort((a, b) => a - b)
    t.diagnostic(`seed ${SEED}: all Ready again after ${Math.round(slow[slow.length >> 1] ?? 0)} ms in the middle, ${Math.round(slow.at(-1) ?? 0)} ms at worst`)
    const log = site.log(NODE)
    assert.doesNotMatch(log, /unhandled|TypeError/i)
  })

  test('a process of a pod that the runtime does not know ends with the pod', { timeout: 120_000 }, async () => {
    await site.apply(manifest('haunted'))
    await site.kubectl('wait', '--for=condition=Ready', 'pod/haunted', '--timeout=60s')
    const uid = (await pods()).find((p) => p.metadata?.name === 'haunted')?.metadata?.uid ?? ''
    const dir = join('/sys/fs/cgroup', existsSync('/sys/fs/cgroup/freezer') ? 'freezer' : '', paths().cgroupRoot, 'kubepods/besteffort', `pod${uid}`, 'forgotten')
    mkdirSync(dir)
    const forgotten = spawn('sleep', ['600'], { stdio: 'ignore' })
    const ended = once(forgotten, 'exit')
    writeFileSync(join(dir, 'cgroup.procs'), String(forgotten.pid))
    await site.kubectl('delete', 'pod', 'haunted', '--timeout=60s')
    assert.deepEqual(await ended, [null, 'SIGKILL'])
    const wanted = (await pods()).map((p) => p.metadata?.uid ?? '').sort()
    await eventually('its cgroup is gone', async () => (await held(wanted)).cgroups.length === wanted.length, 60_000)
  })

  interface Held {
    sandboxes: string[]
    running: string[]
    cgroups: string[]
    mounts: string[]
    directories: string[]
    addresses: number
    interfaces: number
  }
  /** What a node with these pods holds: one of each, once. */
  const held0 = (uids: string[]): Held => ({ sandboxes: uids, running: uids, cgroups: uids, mounts: uids, directories: uids, addresses: uids.length, interfaces: uids.length })

  async function held(wanted: readonly string[]): Promise<Held> {
    const { cniLeases, network, cgroupRoot, state } = paths()
    const sandboxes = await runtime.sandboxes.list()
    const uidOf = new Map(sandboxes.map((s) => [s.id, s.uid]))
    const containers = await runtime.containers.list()
    const links = (await site.on(NODE, 'ip', ['-o', 'link', 'show', 'master', bridge])).out.split('\n').filter((l) => l !== '')
    // The directory of a pod's task holds its root file system.
    const tasks = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((l) => l.split(' ')[4] ?? '').filter((m) => m.startsWith(`${state}/`) && m.endsWith('/rootfs'))
    return {
      // Dead ones of a living pod stay for the logs of its former containers, as the kubelet keeps them.
      sandboxes: sandboxes.filter((s) => s.state === 'ready' || !wanted.includes(s.uid)).map((s) => s.uid).sort(),
      running: containers.filter((c) => c.state === 'running').map((c) => uidOf.get(c.sandboxId) ?? `of no sandbox: ${c.id}`).sort(),
      cgroups: [...new Set(cgroupPods(cgroupRoot, wanted))].sort(),
      mounts: [...new Set(tasks.map((m) => m.split('/').at(-2) ?? '').map((id) => uidOf.get(id) ?? uidOf.get(containers.find((c) => c.id === id)?.sandboxId ?? '') ?? `of nobody: ${id}`))].sort(),
      directories: list(join(site.data(NODE), 'agent/pods')).sort(),
      addresses: list(join(cniLeases, network)).filter((f) => /^\d/.test(f)).length,
      interfaces: links.length,
    }
  }
})

const list = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : [])
const subdirectories = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir, { withFileTypes: true }).filter((e) => e.isDirectory()).map((e) => e.name) : [])

/** Uids of the pods that have a cgroup, in any hierarchy; beside those not wanted, what still runs in them. */
function cgroupPods(root: string, wanted: readonly string[]): string[] {
  const found: string[] = []
  const walk = (dir: string, depth: number): void => {
    if (!existsSync(dir)) return
    for (const name of subdirectories(dir)) {
      const uid = /^pod([0-9a-f-]{36})$/.exec(name)?.[1]
      if (uid !== undefined) found.push(wanted.includes(uid) ? uid : `${uid} (${join(dir, name)}): ${inside(join(dir, name)).join('; ')}`)
      else if (depth < 3) walk(join(dir, name), depth + 1)
    }
  }
  for (const top of ['', ...list('/sys/fs/cgroup')]) walk(join('/sys/fs/cgroup', top, root), 0)
  return found
}

/** Command lines of the processes of a cgroup and of those below it. */
function inside(cgroup: string): string[] {
  const read = (file: string): string => {
    try {
      return readFileSync(file, 'utf8')
    } catch {
      return '' // it has just ended
    }
  }
  const own = read(join(cgroup, 'cgroup.procs')).split('\n').filter((l) => l !== '').map((pid) => `${pid} ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()}`)
  return [...own, ...subdirectories(cgroup).flatMap((d) => inside(join(cgroup, d)))]
}

function containerdPid(pidFile: string): number | undefined {
  try {
    return (JSON.parse(readFileSync(pidFile, 'utf8')) as { pid: number }).pid
  } catch {
    return undefined // between two lives
  }
}

/** Pids of the shims of one containerd, known by its socket on their command line. */
function shims(socket: string): number[] {
  return list('/proc').filter((n) => /^\d+$/.test(n)).map(Number).filter((pid) => {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      return args[0]?.includes('containerd-shim') === true && args.includes(socket)
    } catch {
      return false // it has just ended
    }
  })
}

function killed(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, 'SIGKILL')
  } catch {
    // it has just ended
  }
}

/** Small seeded dice. */
function mulberry(seed: number): () => number {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

const manifest = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: config, configMap: {name: settings}}, {name: scratch, emptyDir: {medium: Memory}}]
  containers:
    - name: main
      image: keeper
      volumeMounts: [{name: config, mountPath: /config}, {name: scratch, mountPath: /scratch}]
`
