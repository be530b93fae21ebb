/**
 * The node's cgroup tree: `<root>/kubepods/{,burstable,besteffort}/pod<uid>`, on cgroup v2 and on v1 (one tree a controller).
 * The runtime uses plain paths (cgroupfs driver). Limits of a pod are set when all its containers have one.
 */
import { mkdir, readFile, readdir, rmdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import type { CgroupFiles } from '../stats/kernel-figures.ts'
import { uidOf } from '../pods/names.ts'
import { cpuShares, podLimit, podRequest, qosOf, type Qos } from '../pods/quantities.ts'

/** `unified` is the v2 tree beside v1's on a hybrid system: no controllers there, but runc makes its directories in it too. */
const V1 = ['cpu', 'cpuacct', 'cpuset', 'memory', 'pids', 'blkio', 'devices', 'freezer', 'systemd', 'unified'] as const
const V2_CONTROLLERS = ['cpu', 'memory', 'pids', 'cpuset', 'io'] as const
const QOS = ['Guaranteed', 'Burstable', 'BestEffort'] as const

interface Layout {
  /** cgroup v2. */
  readonly unified: boolean
  /** Where trees are mounted: one on v2, one a controller on v1. */
  readonly trees: readonly string[]
}

/** The tree of one agent instance. All steps may be repeated; what the kernel does not offer is left out. */
export class Cgroups {
  readonly #root: string
  readonly #mount: string
  #layout: Promise<Layout> | undefined
  /** The tree was made once. One that somebody removed since is made again with the next pod. */
  #made = false

  /** @param root e.g. `/skerry-default`; @param mount where cgroups are mounted */
  constructor(root: string, mount = '/sys/fs/cgroup') {
    this.#root = root
    this.#mount = mount
  }

  /** The pod's cgroup as the runtime is told. */
  parentOf(uid: string, qos: Qos): string {
    return join(this.#root, 'kubepods', qos === 'Guaranteed' ? '' : qos.toLowerCase(), `pod${uid}`)
  }

  /** Makes the tree down to the QoS classes. */
  async ensureTree(): Promise<void> {
    for (const path of ['', 'kubepods', 'kubepods/burstable', 'kubepods/besteffort']) await this.#make(join(this.#root, path))
    await this.#set(join(this.#root, 'kubepods/besteffort'), { 'cpu/cpu.shares': '2', 'cpu.weight': '1' })
    this.#made = true
  }

  /**
   * Makes a pod's cgroup, and sets its limits: all, or only those of `which`. What the kernel refuses is left as it is, or with `insist`
   * @throws AppError `internal` naming the limit
   */
  async ensurePod(pod: Readonly<Pod>, which: readonly ('cpu' | 'memory')[] = ['cpu', 'memory'], insist = false): Promise<void> {
    const path = this.parentOf(uidOf(pod), qosOf(pod.spec))
    if (!this.#made) await this.ensureTree()
    await this.#make(path).catch(async (error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await this.ensureTree()
      await this.#make(path)
    })
    const spec = pod.spec ?? { containers: [] }
    const shares = cpuShares(podRequest(spec, 'cpu'))
    const values: Record<string, string> = { 'cpu/cpu.shares': String(shares), 'cpu.weight': String(weight(shares)) }
    const memory = Math.floor(podLimit(spec, 'memory'))
    if (memory > 0 && which.includes('memory')) Object.assign(values, { 'memory/memory.limit_in_bytes': String(memory), 'memory.max': String(memory) })
    const cpu = podLimit(spec, 'cpu')
    if (cpu > 0 && which.includes('cpu')) {
      const quota = String(Math.max(1000, Math.round(cpu * 100_000)))
      Object.assign(values, { 'cpu/cpu.cfs_quota_us': quota, 'cpu.max': `${quota} 100000` })
    }
    await this.#set(path, values, insist)
  }

  /**
   * Removes the cgroups of a pod that has ended, innermost first. What still runs in them is killed: a container whose shim was
   * killed while runc made it is known to nobody else. @throws while something has not ended yet
   */
  async removePod(uid: string): Promise<void> {
    for (const qos of QOS) for (const dir of await this.#dirs(this.parentOf(uid, qos))) await endAll(dir)
    for (const qos of QOS) for (const dir of await this.#dirs(this.parentOf(uid, qos))) await removeTree(dir)
  }

  /** Processes in a pod's cgroup; 0 where the kernel does not count them. */
  async processes(pod: Readonly<Pod>): Promise<number> {
    const dirs = await this.#dirs(this.parentOf(uidOf(pod), qosOf(pod.spec)))
    const counts = await Promise.all(dirs.map((d) => readFile(join(d, 'pids.current'), 'utf8').then(Number, () => 0)))
    return Math.max(0, ...counts)
  }

  /** Any process of a pod: it shows the pod's namespaces. */
  async anyProcess(pod: Readonly<Pod>): Promise<number | undefined> {
    for (const dir of await this.#dirs(this.parentOf(uidOf(pod), qosOf(pod.spec)))) {
      const pid = await firstOf(dir)
      if (pid !== undefined) return pid
    }
    return undefined
  }

  /** Reads files of a cgroup: on v1 as `controller/file`, on v2 as `file`; an absent one is empty. */
  async files(path: string): Promise<CgroupFiles> {
    const { unified } = await this.#mounted()
    return {
      unified,
      read: (file) => {
        const at = unified ? -1 : file.indexOf('/')
        return readFile(join(this.#mount, file.slice(0, Math.max(0, at)), path, file.slice(at + 1)), 'utf8').catch(() => '')
      },
    }
  }

  /** Uids that have a cgroup here. */
  async uids(): Promise<readonly string[]> {
    const found = new Set<string>()
    for (const sub of ['', 'burstable', 'besteffort']) {
      for (const dir of await this.#dirs(join(this.#root, 'kubepods', sub))) {
        for (const name of await readdir(dir).catch(() => [])) if (name.startsWith('pod')) found.add(name.slice(3))
      }
    }
    return [...found]
  }

  /** What is mounted where; it stays as it is while the machine runs. */
  #mounted(): Promise<Layout> {
    return (this.#layout ??= (async () => {
      if (await exists(join(this.#mount, 'cgroup.controllers'))) return { unified: true, trees: [this.#mount] }
      const trees = V1.map((c) => join(this.#mount, c))
      const there = await Promise.all(trees.map(exists))
      return { unified: false, trees: trees.filter((_, i) => there[i]) }
    })())
  }

  /** Where `path` lies: one directory on v2, one a controller on v1. */
  async #dirs(path: string): Promise<readonly string[]> {
    return (await this.#mounted()).trees.map((tree) => join(tree, path))
  }

  /** One directory in every tree, all at once. @throws ENOENT when its parent is missing */
  async #make(path: string): Promise<void> {
    const { unified } = await this.#mounted()
    await Promise.all(
      (await this.#dirs(path)).map(async (dir) => {
        await mkdir(dir).catch((error: NodeJS.ErrnoException) => {
          if (error.code !== 'EEXIST') throw error
        })
        if (unified) await this.#delegate(dir)
        else if (dir.startsWith(join(this.#mount, 'cpuset'))) await inheritCpuset(dir)
      }),
    )
  }

  /** v2: children may use the controllers that this level has. */
  async #delegate(dir: string): Promise<void> {
    const have = (await readFile(join(dir, 'cgroup.controllers'), 'utf8').catch(() => '')).split(/\s+/)
    const wanted = V2_CONTROLLERS.filter((c) => have.includes(c)).map((c) => `+${c}`)
    // Refused where processes live at this level; the runtime then goes without those controllers.
    if (wanted.length > 0) await writeFile(join(dir, 'cgroup.subtree_control'), wanted.join(' ')).catch(() => undefined)
  }

  /** Writes those values whose file exists; `a/b` names a v1 controller's file, a plain name a v2 file. */
  async #set(path: string, values: Readonly<Record<string, string>>, insist = false): Promise<void> {
    const { unified } = await this.#mounted()
    const mine = Object.entries(values).filter(([key]) => key.includes('/') !== unified)
    await Promise.all(
      mine.map(async ([key, value]) => {
        const [controller, file] = unified ? ['', key] : (key.split('/') as [string, string])
        // Opened, never made: a kernel without this knob runs pods without it.
        await writeFile(join(this.#mount, controller, path, file), value, { flag: 'r+' }).catch((error: NodeJS.ErrnoException) => {
          if (insist && error.code !== 'ENOENT') throw new AppError('internal', `set ${file} of the pod's cgroup to ${value}: the kernel refuses it (${error.code})`, { cause: error })
        })
      }),
    )
  }
}

/** The first process in a tree. */
async function firstOf(dir: string): Promise<number | undefined> {
  const pid = Number((await readFile(join(dir, 'cgroup.procs'), 'utf8').catch(() => '')).split('\n')[0])
  if (pid > 0) return pid
  for (const e of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
    const found = e.isDirectory() ? await firstOf(join(dir, e.name)) : undefined
    if (found !== undefined) return found
  }
  return undefined
}

/** v1: a cpuset without cpus and mems takes no process. */
async function inheritCpuset(dir: string): Promise<void> {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    const own = (await readFile(join(dir, file), 'utf8').catch(() => 'x')).trim()
    if (own !== '') continue
    const parent = (await readFile(join(dir, '..', file), 'utf8').catch(() => '')).trim()
    if (parent !== '') await writeFile(join(dir, file), parent)
  }
}

async function removeTree(dir: string): Promise<void> {
  if (!(await exists(dir))) return
  for (const e of await readdir(dir, { withFileTypes: true })) if (e.isDirectory()) await removeTree(join(dir, e.name))
  await rmdir(dir)
}

/** Kills every process of a tree; one that is frozen is thawed, or it would not hear. */
async function endAll(dir: string): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true }).catch(() => [])
  const there = new Set(entries.map((e) => e.name))
  if (there.has('freezer.state')) await writeFile(join(dir, 'freezer.state'), 'THAWED').catch(() => undefined)
  if (there.has('cgroup.freeze')) await writeFile(join(dir, 'cgroup.freeze'), '0').catch(() => undefined)
  for (const line of (await readFile(join(dir, 'cgroup.procs'), 'utf8').catch(() => '')).split('\n')) {
    if (/^[1-9]\d*$/.test(line)) kill(Number(line))
  }
  for (const e of entries) if (e.isDirectory()) await endAll(join(dir, e.name))
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has just ended
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined
}

/** v2 weight of v1 shares: 2..262144 onto 1..10000. */
function weight(shares: number): number {
  return Math.floor(1 + ((shares - 2) * 9999) / 262_142)
}
