/** What stands in configMap, secret, downwardAPI and projected volumes: sources in, files out. Reads, writes nothing. */
import type { DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeProjection } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import type { ConfigKind, ConfigReader } from '../objects.ts'
import { needObject } from '../pods/env.ts'
import { fieldValue, resourceValue, type FieldContext } from '../pods/fields.ts'
import type { VolumeFile } from './atomic-dir.ts'

const DEFAULT_MODE = 0o644
const TOKEN_SECONDS = 3600

export interface TokenRequest {
  readonly namespace: string
  readonly serviceAccount: string
  readonly podName: string
  readonly podUid: string
  readonly audiences: readonly string[]
  readonly expirationSeconds: number
}

export interface SourceContext extends FieldContext {
  readonly config: ConfigReader
  readonly token: (request: TokenRequest) => Promise<string>
}

/** In every namespace, made by the server. */
const ROOT_CA = 'kube-root-ca.crt'

/** Whether a volume comes from the pod itself and what every namespace has, as the one does that each pod is given for the API. */
export function isOwn({ emptyDir, downwardAPI, projected: joined }: Volume): boolean {
  if (emptyDir || downwardAPI) return true
  return joined !== undefined && (joined.sources ?? []).every((s) => s.downwardAPI || s.serviceAccountToken || s.configMap?.name === ROOT_CA)
}

/** The files of a volume that is written by the agent, or undefined for the other kinds of volume. @throws AppError */
export async function volumeFiles(volume: Volume, context: SourceContext): Promise<readonly VolumeFile[] | undefined> {
  if (volume.configMap) {
    const { name, items, optional, defaultMode } = volume.configMap
    return await objectFiles(context, 'ConfigMap', name, items, optional, defaultMode ?? DEFAULT_MODE)
  }
  if (volume.secret) {
    const { secretName, items, optional, defaultMode } = volume.secret
    return await objectFiles(context, 'Secret', secretName, items, optional, defaultMode ?? DEFAULT_MODE)
  }
  if (volume.downwardAPI) return fieldFiles(context, volume.downwardAPI.items, volume.downwardAPI.defaultMode ?? DEFAULT_MODE)
  if (!volume.projected) return undefined
  const mode = volume.projected.defaultMode ?? DEFAULT_MODE
  const files = new Map<string, VolumeFile>()
  for (const source of volume.projected.sources ?? []) for (const f of await projected(source, context, mode)) files.set(f.path, f)
  return [...files.values()]
}

async function projected(source: VolumeProjection, context: SourceContext, mode: number): Promise<readonly VolumeFile[]> {
  const { configMap, secret, downwardAPI, serviceAccountToken, clusterTrustBundle, podCertificate } = source
  if (configMap) return await objectFiles(context, 'ConfigMap', configMap.name, configMap.items, configMap.optional, mode)
  if (secret) return await objectFiles(context, 'Secret', secret.name, secret.items, secret.optional, mode)
  if (downwardAPI) return fieldFiles(context, downwardAPI.items, mode)
  if (serviceAccountToken) return [await tokenFile(context, serviceAccountToken, mode)]
  // Betas that a Kubernetes 1.35 has off unless told otherwise; the server has neither kind, so none exists.
  if (clusterTrustBundle?.optional === true) return [{ path: clusterTrustBundle.path, content: Buffer.alloc(0), mode }]
  if (clusterTrustBundle) throw new AppError('unsupported', 'ClusterTrustBundle projection is disabled: the server has no ClusterTrustBundles (certificates.k8s.io/v1beta1); put the certificates into a ConfigMap, or make the source optional')
  if (podCertificate) throw new AppError('unsupported', `PodCertificate projection is disabled: the server has no PodCertificateRequests (certificates.k8s.io/v1beta1), so signer "${podCertificate.signerName}" cannot be asked; have the pod ask by a CertificateSigningRequest, or mount a Secret`)
  throw new AppError('unsupported', `project volume: source "${Object.keys(source).join()}" is not supported yet`)
}

async function objectFiles(
  context: SourceContext,
  kind: ConfigKind,
  name: string | undefined,
  items: readonly KeyToPath[] | undefined,
  optional: boolean | undefined,
  mode: number,
): Promise<readonly VolumeFile[]> {
  const content = await needObject(context.config, kind, name ?? '', optional === true)
  if (!content) return []
  if (!items || items.length === 0) return [...content].map(([path, bytes]) => ({ path, content: bytes, mode }))
  const files: VolumeFile[] = []
  for (const item of items) {
    const bytes = content.get(item.key)
    if (bytes) files.push({ path: item.path, content: bytes, mode: item.mode ?? mode })
    else if (!optional) throw new AppError('invalid', `references non-existent ${kind === 'Secret' ? 'secret' : 'config'} key: ${item.key}`)
  }
  return files
}

function fieldFiles(context: SourceContext, items: readonly DownwardAPIVolumeFile[] | undefined, mode: number): readonly VolumeFile[] {
  return (items ?? []).map((item) => {
    const text = item.fieldRef
      ? fieldValue(context, item.fieldRef)
      : item.resourceFieldRef
        ? resourceValue(context, item.resourceFieldRef, { name: item.resourceFieldRef.containerName ?? '' })
        : ''
    return { path: item.path, content: Buffer.from(text), mode: item.mode ?? mode }
  })
}

async function tokenFile(
  context: SourceContext,
  source: NonNullable<VolumeProjection['serviceAccountToken']>,
  mode: number,
): Promise<VolumeFile> {
  const { pod } = context
  const token = await context.token({
    namespace: pod.metadata?.namespace ?? '',
    serviceAccount: pod.spec?.serviceAccountName ?? 'default',
    podName: pod.metadata?.name ?? '',
    podUid: pod.metadata?.uid ?? '',
    audiences: source.audience ? [source.audience] : [],
    expirationSeconds: source.expirationSeconds ?? TOKEN_SECONDS,
  })
  const owner = tokenOwner(pod)
  // A token is for its reader alone: the pod's one user, or its fsGroup, or (with several users) anyone in the pod.
  const own = owner === undefined && pod.spec?.securityContext?.fsGroup === undefined ? mode : 0o600
  return { path: source.path, content: Buffer.from(token), mode: own, ...(owner === undefined ? {} : { uid: owner }) }
}

/** The one user all containers run as, or undefined. */
function tokenOwner(pod: Readonly<Pod>): number | undefined {
  const users = new Set((pod.spec?.containers ?? []).map((c) => c.securityContext?.runAsUser ?? pod.spec?.securityContext?.runAsUser))
  return users.size === 1 ? [...users][0] : undefined
}
