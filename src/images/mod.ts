/** Images on both ends of the link: archives, blob store, registry, mirror, and a builder without a daemon. */
export { buildImage, type ImageFile, type ImageSpec } from './build.ts'
export { BlobStore, openBlobStore, type Descriptor, type TaggedImage } from './blob-store.ts'
export { importArchive } from './import.ts'
export { startMirror, type Mirror, type MirrorOptions, type Upstream } from './mirror.ts'
export { formatReference, isDigest, parseReference, type Reference } from './reference.ts'
export { Rewriter, type ProxyEnv, type RewriteTarget } from './rewriter.ts'
export { registryHandler } from './registry.ts'
