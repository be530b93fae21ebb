/**
 * Real containers for tests and benchmarks: what this machine lacks for them, busybox images, an instance of our own
 * containerd with its pod network that can lose its power, and that leaves nothing behind.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { messageOf } from '../../src/base/errors.ts'
import { findBinaries } from '../../src/agent/containerd/binaries.ts'
import { command, findProgram } from '../../src/agent/containerd/command.ts'
import type { InstancePaths } from '../../src/agent/containerd/paths.ts'
import { instancePids } from '../../src/agent/containerd/process.ts'
import { startContainerd, type OwnContainerd } from '../../src/agent/containerd/supervisor.ts'
import { BridgeNetwork } from '../../src/agent/network/network.ts'
import { Scope } from '../../src/base/scope.ts'
import type { ContainerConfig } from '../../src/cri/mod.ts'
import { buildImage, type ImageFile } from '../../src/images/mod.ts'
import { containerConfig, sandboxConfig } from '../suites/runtime.ts'

/** Why real containers cannot run here, or false; node:test's `skip`. */
export function cannotRunContainers(): string | false {
  if (process.getuid?.() !== 0) return 'needs root'
  if (!findProgram('busybox')) return 'needs busybox-static: apt-get install -y busybox-static'
  try {
    findBinaries([])
    return false
  } catch (error) {
    return messageOf(error)
  }
}

/** Writes an archive with busybox and a command to run to `path`. */
export async function busyboxImage(name: string, script: string, path: string): Promise<void> {
  const files: ImageFile[] = [
    { path: 'tmp', from: 'directory', mode: 0o1777 },
    { path: 'bin/busybox', from: { copy: findProgram('busybox') as string }, mode: 0o755 },
    ...['sh', 'cat', 'nc', 'sleep'].map((tool) => ({ path: `bin/${tool}`, from: { link: 'busybox' } })),
  ]
  await buildImage({ name, layers: [files], entrypoint: ['/bin/sh', '-c', script], env: ['PATH=/bin'] }, path)
}

/** What a power cut leaves: nothing runs, nothing is mounted, /run is empty; only the data directory stays. */
export async function powerLoss(paths: InstancePaths): Promise<void> {
  for (let pids = instancePids(paths, true); pids.length > 0; pids = instancePids(paths, true)) {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // ended by the kill of its parent
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n').map((l) => l.split(' ')[1] ?? '').filter((m) => m.startsWith(`${paths.run}/`))
  for (const mount of mounts.reverse()) await command('umount', ['-l', mount])
  // A killed shim leaves its socket, whose place outside our directories is fixed in containerd.
  const tasks = join(paths.state, 'io.containerd.runtime.v2.task', 'k8s.io')
  for (const task of existsSync(tasks) ? readdirSync(tasks) : []) {
    const address = join(tasks, task, 'address')
    if (existsSync(address)) await rm(readFileSync(address, 'utf8').replace('unix://', ''), { force: true })
  }
  await rm(paths.run, { recursive: true, force: true })
  await removeCgroups(paths.cgroupRoot)
}

/** Removes the (empty) cgroups of an instance from every hierarchy. */
export async function removeCgroups(root: string): Promise<void> {
  for (const hierarchy of ['', ...readdirSync('/sys/fs/cgroup')]) {
    // `rmdir` of a cgroup is the removal; its files are not to be unlinked. Deepest first.
    await command('sh', ['-c', 'find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true', 'sh', `/sys/fs/cgroup/${hierarchy}${root}`])
  }
}

/** One instance on this machine; `boot` may be called again after a power loss or a clean close. */
export class Instance {
  readonly name: string
  readonly cidr: string
  readonly dir: string
  readonly runDir: string
  #scope: Scope | undefined
  network!: BridgeNetwork
  own!: OwnContainerd

  constructor(name: string, cidr: string, dir: string) {
    this.name = `${name}-${process.pid}`
    this.cidr = cidr
    this.dir = dir
    this.runDir = `/run/skerry-test/${this.name}`
  }

  static async make(name: string, cidr: string): Promise<Instance> {
    return new Instance(name, cidr, await mkdtemp(join(tmpdir(), 'skerry-containerd-')))
  }

  async boot(mirror?: string): Promise<OwnContainerd> {
    this.#scope = new Scope(this.name)
    this.own = await startContainerd({ instance: this.name, dataDir: join(this.dir, 'data'), runDir: this.runDir, ...(mirror && { mirror }) }, this.#scope)
    this.network = new BridgeNetwork(this.own.paths)
    await this.network.configure(this.cidr)
    return this.own
  }

  /** As an agent's stop: containerd stays. */
  async leave(): Promise<void> {
    await this.#scope?.close()
    this.#scope = undefined
  }

  async image(name: string, script: string): Promise<readonly string[]> {
    const path = join(this.dir, 'image.tar')
    await busyboxImage(name, script, path)
    return this.own.importImage(path)
  }

  place(): { logDirectory: string; cgroupParent: string } {
    return { logDirectory: join(this.dir, 'logs'), cgroupParent: this.own.paths.cgroupRoot }
  }

  async pod(image: string, change: Partial<ContainerConfig> = {}): Promise<{ sandbox: string; id: string }> {
    const config = sandboxConfig(this.place())
    await mkdir(join(config.logDirectory, 'main'), { recursive: true })
    const sandbox = await this.own.runtime.sandboxes.run(config)
    const id = await this.own.runtime.containers.create(sandbox, containerConfig(image, change), config)
    await this.own.runtime.containers.start(id)
    return { sandbox, id }
  }

  async remove(): Promise<void> {
    for (const s of await this.own.runtime.sandboxes.list().catch(() => [])) await this.own.runtime.sandboxes.remove(s.id).catch(() => {})
    await this.own.stop()
    await this.network.cleanup()
    await this.leave()
    await powerLoss(this.own.paths)
    await removeCgroups(this.own.paths.cgroupRoot)
    await rm(this.dir, { recursive: true, force: true })
  }
}
