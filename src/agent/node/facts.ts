/** What this machine is: capacity, addresses, pressures and names, from /proc, the file system and the network interfaces. */
import { readFileSync } from 'node:fs'
import { open, readdir, readFile, statfs } from 'node:fs/promises'
import { arch, availableParallelism, freemem, networkInterfaces, release, totalmem } from 'node:os'
import { join } from 'node:path'
import type { NodeFacts } from '../ports.ts'
import { amount, HUGE_PAGES } from '../pods/quantities.ts'
import { SEAL_NOTE } from '../seal/sealing.ts'
import { valueOf, type Signal, type Signals, type Threshold } from './eviction.ts'

export interface FactsOptions {
  readonly nodeName: string
  readonly dataDir: string
  readonly maxPods: number
  readonly reserved: { readonly cpu?: string; readonly memory?: string }
  readonly runtimeVersion: () => Promise<string>
  /** A directory on the disk that holds the images. @default that of the data */
  readonly imageDir?: string | undefined
  /** What the node does not give to pods, so that it can end them in time. @default none */
  readonly thresholds?: readonly Threshold[]
}

/** Kubernetes' names of architectures. */
const ARCH: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' }

/** What the node says it speaks. */
export const KUBERNETES_VERSION = 'v1.35.0+skerry'

/** This machine's architecture as Kubernetes writes it, e.g. `amd64`. */
export function machineArch(): string {
  return ARCH[arch()] ?? arch()
}

/** Reads the machine once; takes a few milliseconds. What cannot be read is left empty. */
export async function readFacts(options: FactsOptions): Promise<NodeFacts> {
  const text = (path: string): Promise<string> => readFile(path, 'utf8').then((s) => s.trim(), () => '')
  const [machineID, systemUUID, bootID, os, disk, diskReadOnly, signals, huge] = await Promise.all([
    text('/etc/machine-id'),
    text('/sys/class/dmi/id/product_uuid'),
    text('/proc/sys/kernel/random/boot_id'),
    text('/etc/os-release'),
    statfs(options.dataDir).catch(() => undefined),
    isReadOnly(join(options.dataDir, SEAL_NOTE)),
    readSignals(options.dataDir, options.imageDir ?? options.dataDir),
    readHugePages(),
  ])
  const cpus = availableParallelism()
  const memory = totalmem()
  const diskBytes = disk ? disk.blocks * disk.bsize : 0
  const capacity = { cpu: String(cpus), memory: `${Math.floor(memory / 1024)}Ki`, pods: String(options.maxPods), 'ephemeral-storage': `${Math.floor(diskBytes / 1024)}Ki`, ...huge }
  const kept = (signal: Signal, capacity: number): number => {
    const hard = options.thresholds?.find((t) => t.signal === signal && t.graceMs === undefined)
    return hard ? valueOf(hard.limit, capacity) : 0
  }
  const hugeBytes = Object.values(huge).reduce((sum, bytes) => sum + amount(bytes), 0)
  const cpuLeft = cpus - amount(options.reserved.cpu)
  const allocatable = {
    ...capacity,
    cpu: Number.isInteger(cpuLeft) ? String(cpuLeft) : `${Math.round(cpuLeft * 1000)}m`,
    memory: `${Math.max(0, Math.floor((memory - hugeBytes - amount(options.reserved.memory) - kept('memory.available', memory)) / 1024))}Ki`,
    'ephemeral-storage': String(Math.max(0, diskBytes - kept('nodefs.available', diskBytes))),
  }
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
    pressure: { memory: false, disk: false, pid: false },
    signals,
    diskReadOnly,
  }
}

/** Memory set aside as pages of each size that the kernel knows, named and written as a kubelet does: `hugepages-2Mi: 0`. */
async function readHugePages(root = '/sys/kernel/mm/hugepages'): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const name of (await readdir(root).catch(() => [])).sort()) {
    const kib = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? NaN)
    const pages = Number(await readFile(join(root, name, 'nr_hugepages'), 'utf8').catch(() => NaN))
    if (Number.isNaN(kib + pages)) continue
    found[HUGE_PAGES + binary(kib)] = pages === 0 ? '0' : binary(pages * kib)
  }
  return found
}

/** KiB with the largest unit that leaves a whole number. */
function binary(kib: number): string {
  const power = kib % 1_048_576 === 0 ? 2 : kib % 1024 === 0 ? 1 : 0
  return `${kib / 1024 ** power}${['Ki', 'Mi', 'Gi'][power]}`
}

/** What is left of memory, disks and process ids; takes a few milliseconds. */
export async function readSignals(dataDir: string, imageDir: string): Promise<Signals> {
  const text = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '')
  const [meminfo, node, images, pidMax, load] = await Promise.all([text('/proc/meminfo'), statfs(dataDir).catch(() => undefined), statfs(imageDir).catch(() => undefined), text('/proc/sys/kernel/pid_max'), text('/proc/loadavg')])
  const available = Number(/^MemAvailable:\s+(\d+)/m.exec(meminfo)?.[1] ?? freemem() / 1024) * 1024
  const ids = Number(pidMax)
  const threads = Number(/\/(\d+)/.exec(load)?.[1] ?? 0)
  return {
    'memory.available': { available, capacity: totalmem() },
    ...(node && { 'nodefs.available': { available: node.bavail * node.bsize, capacity: node.blocks * node.bsize } }),
    // Some file systems make inodes as they need them, and say 0.
    ...(node && node.files > 0 && { 'nodefs.inodesFree': { available: node.ffree, capacity: node.files } }),
    ...(images && { 'imagefs.available': { available: images.bavail * images.bsize, capacity: images.blocks * images.bsize } }),
    ...(images && images.files > 0 && { 'imagefs.inodesFree': { available: images.ffree, capacity: images.files } }),
    ...(ids > 0 && { 'pid.available': { available: Math.max(0, ids - threads), capacity: ids } }),
  }
}

/**
 * Whether the file system of this file takes no writes. Opened for writing and nothing written: permission and mount options do
 * not show that a file system has stopped itself after an error.
 */
async function isReadOnly(file: string): Promise<boolean> {
  try {
    await (await open(file, 'r+')).close()
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS'
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
