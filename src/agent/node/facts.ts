/** What this machine is: capacity, addresses, pressures and names, from /proc, the file system and the network interfaces. */
import { readFileSync } from 'node:fs'
import { readFile, statfs } from 'node:fs/promises'
import { arch, availableParallelism, freemem, networkInterfaces, release, totalmem } from 'node:os'
import type { NodeFacts } from '../ports.ts'
import { amount } from '../pods/quantities.ts'

export interface FactsOptions {
  readonly nodeName: string
  readonly dataDir: string
  readonly maxPods: number
  readonly reserved: { readonly cpu?: string; readonly memory?: string }
  readonly runtimeVersion: () => Promise<string>
}

/** Kubernetes' names of architectures. */
const ARCH: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' }
/** The kubelet's eviction thresholds: 100 MiB of memory, 10 % of the disk, 5 % of its inodes. */
const MEMORY_LOW = 100 << 20
const DISK_LOW = 0.1
const INODES_LOW = 0.05

/** What the node says it speaks. */
export const KUBERNETES_VERSION = 'v1.35.0+skerry'

/** This machine's architecture as Kubernetes writes it, e.g. `amd64`. */
export function machineArch(): string {
  return ARCH[arch()] ?? arch()
}

/** Reads the machine once; takes a few milliseconds. What cannot be read is left empty. */
export async function readFacts(options: FactsOptions): Promise<NodeFacts> {
  const text = (path: string): Promise<string> => readFile(path, 'utf8').then((s) => s.trim(), () => '')
  const [machineID, systemUUID, bootID, os, meminfo, disk, pidMax, pids] = await Promise.all([
    text('/etc/machine-id'),
    text('/sys/class/dmi/id/product_uuid'),
    text('/proc/sys/kernel/random/boot_id'),
    text('/etc/os-release'),
    text('/proc/meminfo'),
    statfs(options.dataDir).catch(() => undefined),
    text('/proc/sys/kernel/pid_max'),
    text('/proc/loadavg'),
  ])
  const cpus = availableParallelism()
  const memory = totalmem()
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec(meminfo)?.[1] ?? freemem() / 1024) * 1024
  const diskBytes = disk ? disk.blocks * disk.bsize : 0
  const capacity = { cpu: String(cpus), memory: `${Math.floor(memory / 1024)}Ki`, pods: String(options.maxPods), 'ephemeral-storage': `${Math.floor(diskBytes / 1024)}Ki` }
  const cpuLeft = cpus - amount(options.reserved.cpu)
  const allocatable = {
    ...capacity,
    cpu: Number.isInteger(cpuLeft) ? String(cpuLeft) : `${Math.round(cpuLeft * 1000)}m`,
    memory: `${Math.max(0, Math.floor((memory - amount(options.reserved.memory)) / 1024))}Ki`,
    'ephemeral-storage': String(Math.floor(diskBytes * (1 - DISK_LOW))),
  }
  const threads = Number(/\/(\d+)/.exec(pids)?.[1] ?? 0)
  return {
    capacity,
    allocatable,
    nodeInfo: {
      machineID,
      systemUUID: systemUUID || machineID,
      bootID,
      kernelVersion: release(),
      osImage: /^PRETTY_NAME="?([^"\n]*)/m.exec(os)?.[1] ?? 'Linux',
      containerRuntimeVersion: await options.runtimeVersion(),
      kubeletVersion: KUBERNETES_VERSION,
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: machineArch(),
    },
    addresses: [...(await addresses()).map((address) => ({ type: 'InternalIP', address })), { type: 'Hostname', address: options.nodeName }],
    pressure: {
      memory: available < MEMORY_LOW,
      disk: disk !== undefined && (disk.bavail < disk.blocks * DISK_LOW || (disk.files > 0 && disk.ffree < disk.files * INODES_LOW)),
      pid: Number(pidMax) > 0 && threads > Number(pidMax) * 0.95,
    },
  }
}

/** What the kernel offers to pods; it does not change while the machine runs. */
export function readAbilities(): { readonly appArmor: boolean } {
  try {
    return { appArmor: readFileSync('/sys/module/apparmor/parameters/enabled', 'utf8').startsWith('Y') }
  } catch {
    return { appArmor: false } // A kernel without it has no such file.
  }
}

/** The address on the interface of the default route; without one, the first that is not loopback or of the pod network. */
async function addresses(): Promise<readonly string[]> {
  const all = networkInterfaces()
  const of = (name: string): readonly string[] => (all[name] ?? []).filter((a) => a.family === 'IPv4' && !a.internal).map((a) => a.address)
  const routes = (await readFile('/proc/net/route', 'utf8').catch(() => '')).split('\n').slice(1)
  const byDefault = routes.map((r) => r.split('\t')).find((r) => r[1] === '00000000')?.[0]
  if (byDefault && of(byDefault).length > 0) return of(byDefault).slice(0, 1)
  return Object.keys(all).filter((n) => !/^(lo|sk-|cni|veth|docker|br-)/.test(n)).flatMap(of).slice(0, 1)
}
