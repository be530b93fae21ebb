/**
 * Image volumes: the files of an image, read-only, beside a container. The image is pulled like a container's own; its view is mounted
 * under the run directory, and noted under the data directory, so that it is released with the pod whatever happened between.
 */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AppError } from '../../base/errors.ts'
import type { ImageViews } from '../../cri/mod.ts'
import type { Mounter } from '../ports.ts'

/** Mounts the view of `image` at `path`; `notes` is where the pod's views are noted. @throws AppError `unsupported` for a runtime that has none */
export async function mountImage(views: ImageViews | undefined, mounter: Mounter, where: { readonly path: string; readonly notes: string; readonly uid: string; readonly volume: string }, image: string): Promise<void> {
  if (!views) throw new AppError('unsupported', 'image volumes are not supported by this container runtime: copy the files with an init container')
  const key = keyOf(where.uid, where.volume)
  await mkdir(where.notes, { recursive: true, mode: 0o750 })
  await writeFile(join(where.notes, where.volume), '')
  await mounter.readOnly(where.path, await views.view(key, image))
}

/** Releases all views noted for a pod, whose mounts are gone. */
export async function releaseImages(views: ImageViews | undefined, notes: string, uid: string): Promise<void> {
  for (const volume of await readdir(notes).catch(() => [])) {
    await views?.release(keyOf(uid, volume))
    await rm(join(notes, volume), { force: true })
  }
}

const keyOf = (uid: string, volume: string): string => `skerry-volume-${uid}-${volume}`
