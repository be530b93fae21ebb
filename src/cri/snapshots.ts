/**
 * The files of an image as a read-only mount, through containerd's snapshots: what CRI of containerd 1.6 has no word for. A view is
 * kept by a label of its own and so outlives restarts and the image's removal, until it is released.
 */
import { AppError, hasCode } from '../base/errors.ts'
import type { GrpcChannel } from './grpc.ts'
import type { ImageViews, MountSpec } from './runtime.ts'

/** What our containerd unpacks images with; CRI uses the same. */
const SNAPSHOTTER = 'overlayfs'

/** @see ImageViews */
export function imageViews(channel: GrpcChannel): ImageViews {
  interface Mounts { readonly mounts: readonly { readonly type: string; readonly source: string; readonly options: readonly string[] }[] }
  const single = ({ mounts }: Mounts): MountSpec => {
    const [mount] = mounts
    if (!mount || mounts.length > 1) throw new AppError('internal', `view image: ${mounts.length} mounts where one was expected`)
    return { type: mount.type, source: mount.source, options: mount.options }
  }
  return {
    async view(key, image) {
      const { info } = await channel.unary<{ info: Record<string, string> }>('image', 'ImageStatus', { image: { image }, verbose: true })
      const { chainID } = JSON.parse(info['info'] ?? '{}') as { chainID?: unknown }
      if (typeof chainID !== 'string') throw new AppError('internal', `view image "${image}": the runtime does not say which layers it has`)
      try {
        const labels = { 'containerd.io/gc.root': new Date().toISOString() }
        return single(await channel.unary<Mounts>('snapshots', 'View', { snapshotter: SNAPSHOTTER, key, parent: chainID, labels }))
      } catch (error) {
        // An image is listed as soon as it is fetched; a moment later it is unpacked as well.
        if (hasCode(error, 'not-found')) throw new AppError('unavailable', `view image "${image}": its layers are not unpacked yet`, { cause: error })
        if (!hasCode(error, 'exists')) throw error
        return single(await channel.unary<Mounts>('snapshots', 'Mounts', { snapshotter: SNAPSHOTTER, key }))
      }
    },
    async release(key) {
      await channel.unary('snapshots', 'Remove', { snapshotter: SNAPSHOTTER, key }).catch((error: unknown) => {
        if (!hasCode(error, 'not-found')) throw error
      })
    },
  }
}
