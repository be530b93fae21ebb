/** What this build is. The Kubernetes part is what clients compare with. */
import { VERSION } from './version-data.ts'

export const SKERRY_VERSION = VERSION

/** `skerry version`. */
export function versionText(): string {
  return `skerry ${VERSION} (Kubernetes API v1.35, Node ${process.version}, ${process.platform}/${process.arch})`
}
