/**
 * The volumes of pods on this machine. What lives with the pod (emptyDir) lies under the data directory and survives a
 * reboot; what is written from API objects (configMap, secret, downwardAPI, projected) lies under the run directory, a
 * tmpfs, and is written again at boot. All steps may be repeated; a pod's directories go when the pod is gone.
 */
import { chmod, chown, mkdir, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import type { Pod, Volume, VolumeDevice, VolumeMount } from '../../api/gen/types.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { ContainerConfig, ImageViews, Mount } from '../../cri/mod.ts'
import type { Mounter } from '../ports.ts'
import { expand, unset, type Environment } from '../pods/env.ts'
import { uidOf } from '../pods/names.ts'
import { writeAtomicDir, type Remembered } from './atomic-dir.ts'
import { claimNameOf } from '../../api/volumes.ts'
import { claimPlace, type Fetch, type Place } from './claims.ts'
import { checkHostPath } from './host-path.ts'
import { readInside } from './inside.ts'
import type { LocalPath } from './local-path.ts'
import { mountImage, releaseImages } from './image-volumes.ts'
import { setOwnership } from './ownership.ts'
import { memorySize, pageSize } from './empty-dir.ts'
import { volumeFiles, type SourceContext } from './sources.ts'

export interface VolumesOptions {
  readonly dataDir: string
  readonly runDir: string
  readonly mounter: Mounter
  readonly clock: Clock
  /** Asks the API for what a claim is. @default claims are refused as not found */
  readonly fetch?: Fetch
  /** Images as mounts. @default image volumes are refused */
  readonly views?: ImageViews | undefined
  /** Directories that volumes are made in on demand. @default none are made */
  readonly localPath?: LocalPath
}

type Device = ContainerConfig['devices'][number]

/** Directories and mounts of one node's pods, by uid; see the header. */
export class Volumes {
  readonly #options: VolumesOptions
  /** Where volumes lie whose place had to be found, by pod and name. Goes with the pod. */
  readonly #places = new Map<string, Map<string, Place>>()
  /** What stands in written volumes, by pod and path. Goes with the pod. */
  readonly #written = new Map<string, Map<string, Remembered>>()

  constructor(options: VolumesOptions) {
    this.#options = options
  }

  /** Directory of a pod that survives reboots. */
  podDir(uid: string): string {
    return join(this.#options.dataDir, 'pods', uid)
  }

  #runDir(uid: string): string {
    return join(this.#options.runDir, 'pods', uid)
  }

  /** Makes every volume, or brings the written ones up to date. @throws AppError naming the volume */
  async prepare(pod: Readonly<Pod>, context: SourceContext): Promise<void> {
    for (const volume of pod.spec?.volumes ?? []) {
      try {
        await this.#prepareOne(pod, volume, context)
      } catch (error) {
        const code = error instanceof AppError ? error.code : 'internal'
        throw new AppError(code, `MountVolume.SetUp failed for volume "${volume.name}"`, { cause: error })
      }
    }
  }

  /** Writes again only what comes from API objects; for changes while the pod runs. */
  async refresh(pod: Readonly<Pod>, context: SourceContext): Promise<void> {
    for (const volume of pod.spec?.volumes ?? []) await this.#write(pod, volume, context)
  }

  async #prepareOne(pod: Readonly<Pod>, volume: Volume, context: SourceContext): Promise<void> {
    if (volume.hostPath) return await checkHostPath(volume.hostPath.path, volume.hostPath.type)
    if (volume.emptyDir) return await this.#emptyDir(pod, volume, context)
    // Pulled and mounted with the first container that wants it, so that a missing image is told like a container's own.
    if (volume.image) return
    if (claimNameOf(pod, volume) !== undefined) return await this.#claim(pod, volume)
    if (await this.#write(pod, volume, context)) return
    const source = Object.keys(volume).find((k) => k !== 'name') ?? 'none'
    throw new AppError('unsupported', `volumes of kind "${source}" are not supported, use a persistentVolumeClaim, emptyDir or hostPath`)
  }

  /** True when this kind of volume is written by the agent. */
  async #write(pod: Readonly<Pod>, volume: Volume, context: SourceContext): Promise<boolean> {
    const files = await volumeFiles(volume, context)
    if (!files) return false
    const gid = pod.spec?.securityContext?.fsGroup
    // Closed to other users of the machine; containers have the volume itself mounted.
    await mkdir(this.#runDir(uidOf(pod)), { recursive: true, mode: 0o750 })
    await writeAtomicDir(this.#placeOf(pod, volume).path, files, { gid, stamp: stampOf(this.#options.clock.now()), memory: this.#memory(uidOf(pod)) })
    return true
  }

  #memory(uid: string): Map<string, Remembered> {
    let memory = this.#written.get(uid)
    if (!memory) this.#written.set(uid, (memory = new Map()))
    return memory
  }

  /** Made once: owner and mode are the pod's to change afterwards. What was in memory is made anew after a reboot. */
  async #emptyDir(pod: Readonly<Pod>, volume: Volume, { allocatable }: SourceContext): Promise<void> {
    const path = this.#placeOf(pod, volume).path
    const mark = this.#mark(pod, volume)
    const former = (await stat(mark).catch(() => undefined)) && (await stat(path).catch(() => undefined))
    await mkdir(path, { recursive: true, mode: 0o777 })
    const { medium = '', sizeLimit } = volume.emptyDir ?? {}
    if (medium === 'Memory') await this.#options.mounter.tmpfs(path, memorySize(pod, sizeLimit, allocatable))
    else if (medium !== '') await this.#options.mounter.hugePages(path, pageSize(pod, medium))
    if (former && former.dev === (await stat(path)).dev) return
    const { fsGroup: gid } = pod.spec?.securityContext ?? {}
    if (gid !== undefined) await chown(path, 0, gid)
    await chmod(path, gid === undefined ? 0o777 : 0o2777)
    await mkdir(dirname(mark), { recursive: true, mode: 0o750 })
    await writeFile(mark, '')
  }

  async #claim(pod: Readonly<Pod>, volume: Volume): Promise<void> {
    const uid = uidOf(pod)
    const { localPath, fetch = async () => undefined } = this.#options
    const place = await claimPlace(pod, volume, { localPath, fetch, file: join(this.podDir(uid), 'claims', volume.name) })
    const places = this.#places.get(uid) ?? new Map<string, Place>()
    this.#places.set(uid, places.set(volume.name, place))
    const { fsGroup, fsGroupChangePolicy } = pod.spec?.securityContext ?? {}
    if (fsGroup !== undefined && place.grouped && !place.readOnly) await setOwnership(place.path, fsGroup, fsGroupChangePolicy, this.#mark(pod, volume))
  }

  /** Mounts the files of an image that is present as a volume of the pod. */
  async image(pod: Readonly<Pod>, volume: Volume, imageId: string): Promise<void> {
    const uid = uidOf(pod)
    const path = this.pathOf(pod, volume)
    await mkdir(this.#runDir(uid), { recursive: true, mode: 0o750 })
    await mountImage(this.#options.views, this.#options.mounter, { path, notes: this.#notes(uid), uid, volume: volume.name }, imageId)
  }

  #notes(uid: string): string {
    return join(this.podDir(uid), 'images')
  }

  /** File that says the volume has the owner and mode that the pod asks for. */
  #mark(pod: Readonly<Pod>, volume: Volume): string {
    return join(this.podDir(uidOf(pod)), 'owned', volume.name)
  }

  /** Where a volume of the pod lies, once it is prepared. */
  pathOf(pod: Readonly<Pod>, volume: Volume): string {
    return this.#placeOf(pod, volume).path
  }

  /** The text of a file that the pod has in a volume; undefined when it is not there. @throws AppError `invalid` for one that may not be read */
  async read(pod: Readonly<Pod>, name: string, path: string): Promise<string | undefined> {
    return await readInside(this.#placeOf(pod, volumeOf(pod, name, path)).path, path)
  }

  #placeOf(pod: Readonly<Pod>, volume: Volume): Place {
    if (volume.hostPath) return { path: volume.hostPath.path, readOnly: false }
    if (volume.emptyDir) return { path: join(this.podDir(uidOf(pod)), 'volumes', volume.name), readOnly: false }
    const found = this.#places.get(uidOf(pod))?.get(volume.name)
    return found ?? { path: join(this.#runDir(uidOf(pod)), 'volumes', volume.name), readOnly: true }
  }

  /** The mount of one container, subPath made and checked. @throws AppError `invalid` */
  async mount(pod: Readonly<Pod>, wanted: VolumeMount, env: Environment, canRecurse = false): Promise<Mount> {
    const volume = volumeOf(pod, wanted.name, wanted.mountPath)
    const deep = wanted.recursiveReadOnly === 'Enabled' || (wanted.recursiveReadOnly === 'IfPossible' && canRecurse)
    if (deep && !canRecurse) throw new AppError('unsupported', `mount "${wanted.mountPath}": recursive read-only mounts are not supported by the container runtime, use IfPossible`)
    const missing = wanted.subPathExpr ? unset(wanted.subPathExpr, env) : []
    if (missing.length > 0) throw new AppError('invalid', `mount "${wanted.mountPath}": missing value for ${missing.join(', ')}: set it in the container's env`)
    const sub = wanted.subPathExpr ? expand(wanted.subPathExpr, env) : wanted.subPath
    const place = this.#placeOf(pod, volume)
    if (place.block) throw new AppError('invalid', `mount "${wanted.mountPath}": volume "${volume.name}" has volumeMode Block, but is specified in volumeMounts`)
    return {
      hostPath: sub ? await subPath(place.path, sub, !place.readOnly) : place.path,
      containerPath: wanted.mountPath.startsWith('/') ? wanted.mountPath : `/${wanted.mountPath}`,
      readOnly: wanted.readOnly === true || place.readOnly,
      ...(deep ? { recursiveReadOnly: true } : {}),
      propagation: PROPAGATION[wanted.mountPropagation ?? 'None'] ?? 'private',
    }
  }

  /** The device of one container. @throws AppError `invalid` */
  device(pod: Readonly<Pod>, wanted: VolumeDevice): Device {
    const volume = volumeOf(pod, wanted.name, wanted.devicePath)
    const place = this.#placeOf(pod, volume)
    if (!place.block) throw new AppError('invalid', `give device "${wanted.devicePath}": volume "${volume.name}" has volumeMode Filesystem, but is specified in volumeDevices`)
    return { hostPath: place.path, containerPath: wanted.devicePath, permissions: place.readOnly ? 'r' : 'mrw' }
  }

  /** Uids that have directories here. */
  async uids(): Promise<readonly string[]> {
    const lists = await Promise.all([this.podDir(''), this.#runDir('')].map((dir) => readdir(dir).catch(() => [])))
    return [...new Set(lists.flat())]
  }

  /** Unmounts and removes all of a pod's directories. */
  async remove(uid: string): Promise<void> {
    if (uid === '' || uid.includes('/') || uid.startsWith('.')) throw new AppError('invalid', `remove pod directories: "${uid}" is no uid`)
    this.#places.delete(uid)
    this.#written.delete(uid)
    for (const dir of [this.#runDir(uid), this.podDir(uid)]) {
      await this.#options.mounter.unmountUnder(dir)
      if (dir === this.#runDir(uid)) await releaseImages(this.#options.views, this.#notes(uid), uid)
      await rm(dir, { recursive: true, force: true })
    }
  }
}

const PROPAGATION: Readonly<Record<string, Mount['propagation']>> = {
  None: 'private',
  HostToContainer: 'hostToContainer',
  Bidirectional: 'bidirectional',
}

function volumeOf(pod: Readonly<Pod>, name: string, path: string): Volume {
  const volume = pod.spec?.volumes?.find((v) => v.name === name)
  if (!volume) throw new AppError('invalid', `mount "${path}": the pod has no volume "${name}"`)
  return volume
}

/** A path inside a volume. Links may not lead out of it. */
async function subPath(root: string, sub: string, create: boolean): Promise<string> {
  if (sub.startsWith('/') || normalize(sub).split('/').includes('..')) {
    throw new AppError('invalid', `mount subPath "${sub}": it must be relative and stay inside the volume`)
  }
  const path = join(root, sub)
  if (create && !(await stat(path).catch(() => undefined))) await makeLike(root, path)
  const [real, base] = await Promise.all([realpath(path), realpath(root)]).catch((cause: unknown) => {
    throw new AppError('invalid', `mount subPath "${sub}": it is not in the volume`, { cause })
  })
  if (real !== base && !real.startsWith(`${base}/`)) throw new AppError('invalid', `mount subPath "${sub}": a link leads out of the volume`)
  return real
}

/** Directories of a subPath have the mode of their volume: who may write there may write here. */
async function makeLike(root: string, path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  const { mode } = await stat(root)
  for (let at = path; at.length >= first.length; at = dirname(at)) await chmod(at, mode & 0o7777)
}

function stampOf(now: number): string {
  return `${new Date(now).toISOString().replace(/[-:]/g, '_').replace('T', '_').replace('Z', '')}${Math.floor(Math.random() * 1e9)}`
}
