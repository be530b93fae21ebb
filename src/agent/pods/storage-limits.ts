/**
 * Limits on what a pod writes to the node's disk: `sizeLimit` of its emptyDirs, `ephemeral-storage` of its containers (their files
 * and logs). A pod over one is evicted. Asked every ten seconds of the few pods that have such limits.
 */
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod, Volume } from '../../api/gen/types.ts'
import { amount, limitOf } from './quantities.ts'
import type { Verdict } from './status.ts'

/** How often a pod with limits is looked at, ms; the kubelet's figure. */
export const STORAGE_LOOK_MS = 10_000

const EPHEMERAL = 'ephemeral-storage'

/** Where a pod's files are, and what the runtime says its containers have written. */
export interface Written {
  readonly volumeDir: (volume: Volume) => string
  readonly logDir: string
  /** Bytes written into a container's own layer, by the container's name. */
  readonly layers: () => Promise<ReadonlyMap<string, number>>
}

const onDisk = (v: Volume): boolean => v.emptyDir !== undefined && !v.emptyDir.medium

/** Whether a pod has any limit of this kind. */
export function hasStorageLimits(pod: Readonly<Pod>): boolean {
  const { volumes = [], containers = [] } = pod.spec ?? {}
  return volumes.some((v) => onDisk(v) && v.emptyDir?.sizeLimit !== undefined) || containers.some((c) => c.resources?.limits?.[EPHEMERAL] !== undefined)
}

/** Why the pod is evicted, or undefined. In the kubelet's words. */
export async function overStorage(pod: Readonly<Pod>, written: Written): Promise<Verdict | undefined> {
  const evict = (message: string): Verdict => ({ reason: 'Evicted', message, graceSeconds: 0, disrupts: true })
  let volumes = 0
  for (const volume of (pod.spec?.volumes ?? []).filter(onDisk)) {
    const bytes = await usage(written.volumeDir(volume))
    const limit = volume.emptyDir?.sizeLimit
    if (limit !== undefined && bytes > amount(limit)) return evict(`Usage of EmptyDir volume "${volume.name}" exceeds the limit "${limit}". `)
    volumes += bytes
  }
  const containers = pod.spec?.containers ?? []
  if (!containers.some((c) => limitOf(c, EPHEMERAL) > 0)) return undefined
  const layers = await written.layers()
  let total = volumes
  for (const c of containers) {
    const bytes = (layers.get(c.name) ?? 0) + (await usage(join(written.logDir, c.name)))
    const limit = limitOf(c, EPHEMERAL)
    if (limit > 0 && bytes > limit) return evict(`Container ${c.name} exceeded its local ephemeral storage limit "${c.resources?.limits?.[EPHEMERAL]}". `)
    total += bytes
  }
  const limits = containers.map((c) => limitOf(c, EPHEMERAL))
  const sum = limits.reduce((a, b) => a + b, 0)
  if (limits.every((l) => l > 0) && total > sum) return evict(`Pod ephemeral local storage usage exceeds the total limit of containers ${sum}. `)
  return undefined
}

/** Bytes on disk under a path; what vanishes meanwhile counts nothing. */
export async function usage(path: string): Promise<number> {
  const seen = await lstat(path).catch(() => undefined)
  if (!seen) return 0
  let bytes = seen.isDirectory() ? 0 : seen.blocks * 512
  if (seen.isDirectory()) for (const name of await readdir(path).catch(() => [])) bytes += await usage(join(path, name))
  return bytes
}

/** Files and directories under a path, itself included; what vanishes meanwhile counts nothing. */
export async function entries(path: string): Promise<number> {
  const seen = await lstat(path).catch(() => undefined)
  if (!seen) return 0
  let count = 1
  if (seen.isDirectory()) for (const name of await readdir(path).catch(() => [])) count += await entries(join(path, name))
  return count
}
