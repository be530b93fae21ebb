/** Validation of a pod's volumes. */
import type { DownwardAPIVolumeFile, KeyToPath, Volume, VolumeProjection } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors } from '../names.ts'
import { tryParseQuantity } from '../quantity.ts'
import { claimTemplate } from './claim.ts'
import { FILE_FIELDS, containerResource, podField } from './env.ts'
import type { Findings } from './field.ts'
import { fileMode, volumeFile } from './paths.ts'
import { selector } from './placement.ts'
import { iscsiLength, oneSource, sourceRows } from './volume-sources.ts'

/** Ten minutes, the least a bound token may live, and the most a number of seconds can be. */
const MIN_TOKEN_SECONDS = 600
const MAX_TOKEN_SECONDS = 2 ** 32
const KEY_TYPES = ['RSA3072', 'RSA4096', 'ECDSAP256', 'ECDSAP384', 'ECDSAP521', 'ED25519']
/** An hour, the least a pod's certificate may live, and the most: 91 days, for Kubernetes' own signers one day. */
const MIN_CERTIFICATE_SECONDS = 3600
const MAX_CERTIFICATE_SECONDS = 91 * 86_400
const MAX_KUBERNETES_CERTIFICATE_SECONDS = 86_400
const DUPLICATE = 'conflicting duplicate paths'

const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never']

const KEYS =
  'emptyDir hostPath gitRepo gcePersistentDisk awsElasticBlockStore secret nfs iscsi glusterfs flocker persistentVolumeClaim rbd cinder cephfs quobyte ' +
  'downwardAPI fc flexVolume configMap azureFile vsphereVolume photonPersistentDisk portworxVolume azureDisk storageos projected scaleIO csi ephemeral image'
const ROWS = sourceRows(KEYS, {
  emptyDir: (e, path, s) => {
    const limit = s.sizeLimit === undefined ? undefined : tryParseQuantity(s.sizeLimit as string)
    if (limit && limit.nano < 0n) e.forbidden(`${path}.sizeLimit`, 'SizeLimit field must be a valid resource quantity')
  },
  gitRepo: (e, path, s) => {
    e.named(`${path}.repository`, s.repository as string | undefined)
    volumeFile(e, `${path}.directory`, (s.directory as string | undefined) ?? '')
  },
  secret: (e, path, s) => keyed(e, path, s, 'secretName'),
  configMap: (e, path, s) => keyed(e, path, s, 'name'),
  persistentVolumeClaim: (e, path, s) => void e.named(`${path}.claimName`, s.claimName as string | undefined),
  downwardAPI: (e, path, s) => {
    fileMode(e, `${path}.defaultMode`, s.defaultMode as number | undefined)
    // Kubernetes tells of these by the volume, not by the item.
    for (const file of (s.items as DownwardAPIVolumeFile[] | undefined) ?? []) downwardFile(e, path, file)
  },
  projected: (e, path, s) => {
    fileMode(e, `${path}.defaultMode`, s.defaultMode as number | undefined)
    projections(e, path, (s.sources as VolumeProjection[] | undefined) ?? [])
  },
  ephemeral: (e, path, s) => claimTemplate(e, `${path}.volumeClaimTemplate`, s.volumeClaimTemplate),
  image: (e, path, s) => e.choice(`${path}.pullPolicy`, s.pullPolicy as string | undefined, PULL_POLICIES),
})

export interface VolumeOptions {
  /** Name of the pod itself; a template has none yet. */
  readonly podName: string | undefined
  readonly isPod: boolean
}

/** The volumes of a pod spec; returns those that are valid, by name. */
export function volumes(e: Findings, path: string, list: readonly Volume[], options: VolumeOptions): ReadonlyMap<string, Volume> {
  const { podName } = options
  const valid = new Map<string, Volume>()
  const created = new Set(list.flatMap((v) => (v.ephemeral && podName ? `${podName}-${v.name}` : [])))
  for (const [i, v] of list.entries()) {
    const at = `${path}[${i}]`
    const before = e.list.length
    oneSource(e, at, v, ROWS, false)
    if (options.isPod && v.image && !v.image.reference) e.required(`${at}.image.reference`)
    iscsiLength(e, `${at}.name`, v.name, v.iscsi, v.name)
    if (v.ephemeral && podName && v.name) {
      const claim = `${podName}-${v.name}`
      for (const detail of dnsSubdomainErrors(claim)) e.invalid(`${at}.name`, v.name, `PVC name "${claim}": ${detail}`)
    }
    e.named(`${at}.name`, v.name, dnsLabelErrors)
    if (valid.has(v.name)) e.duplicate(`${at}.name`, v.name)
    if (e.list.length === before) valid.set(v.name, v)
    const claim = v.persistentVolumeClaim?.claimName
    if (claim !== undefined && created.has(claim)) {
      e.invalid(`${at}.persistentVolumeClaim.claimName`, claim, 'must not reference a PVC that gets created for an ephemeral volume')
    }
  }
  return valid
}

/** A Secret or ConfigMap as files. */
function keyed(e: Findings, path: string, s: Readonly<Record<string, unknown>>, name: string): void {
  e.named(`${path}.${name}`, s[name] as string | undefined)
  fileMode(e, `${path}.defaultMode`, s.defaultMode as number | undefined)
  for (const [i, item] of ((s.items as KeyToPath[] | undefined) ?? []).entries()) keyToPath(e, `${path}.items[${i}]`, item)
}

function keyToPath(e: Findings, at: string, item: KeyToPath): void {
  e.named(`${at}.key`, item.key)
  e.named(`${at}.path`, item.path)
  volumeFile(e, `${at}.path`, item.path ?? '')
  fileMode(e, `${at}.mode`, item.mode)
}

function downwardFile(e: Findings, path: string, file: DownwardAPIVolumeFile): void {
  e.named(`${path}.path`, file.path)
  volumeFile(e, `${path}.path`, file.path ?? '')
  if (file.fieldRef) {
    podField(e, `${path}.fieldRef`, file.fieldRef, FILE_FIELDS)
    if (file.resourceFieldRef) e.invalid(path, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously')
  } else if (file.resourceFieldRef) containerResource(e, `${path}.resourceFieldRef`, file.resourceFieldRef, true)
  else e.required(path, 'one of fieldRef and resourceFieldRef is required')
  fileMode(e, `${path}.mode`, file.mode)
}

function projections(e: Findings, path: string, sources: readonly VolumeProjection[]): void {
  const taken = new Set<string>()
  const take = (file: string | undefined, told: string | undefined): void => {
    if (!file) return
    if (taken.has(file)) e.invalid(path, told, DUPLICATE)
    taken.add(file)
  }
  for (const [i, s] of sources.entries()) {
    const at = `${path}.sources[${i}]`
    for (const key of ['secret', 'configMap'] as const) {
      const source = s[key]
      if (!source) continue
      e.named(`${at}.${key}.name`, source.name)
      for (const [j, item] of (source.items ?? []).entries()) {
        keyToPath(e, `${at}.${key}.items[${j}]`, item)
        take(item.path, source.name)
      }
    }
    for (const file of s.downwardAPI?.items ?? []) {
      downwardFile(e, `${at}.downwardAPI`, file)
      take(file.path, file.path)
    }
    tokenProjection(e, path, at, s.serviceAccountToken)
    bundleProjection(e, `${at}.clusterTrustBundle`, s.clusterTrustBundle, take)
    certificateProjection(e, `${at}.podCertificate`, s.podCertificate, take)
    if (Object.values(s).filter((x) => x !== undefined).length > 1) e.forbidden(at, 'may not specify more than 1 volume type per source')
  }
}

function tokenProjection(e: Findings, path: string, at: string, token: VolumeProjection['serviceAccountToken']): void {
  if (!token) return
  const seconds = token.expirationSeconds ?? 0
  const field = `${at}.serviceAccountToken.expirationSeconds`
  if (seconds < MIN_TOKEN_SECONDS) e.invalid(field, seconds, 'may not specify a duration less than 10 minutes')
  if (seconds > MAX_TOKEN_SECONDS) e.invalid(field, seconds, 'may not specify a duration larger than 2^32 seconds')
  if (e.named(`${path}.path`, token.path)) volumeFile(e, `${path}.path`, token.path)
}

type Take = (file: string | undefined, told: string | undefined) => void

function bundleProjection(e: Findings, path: string, bundle: VolumeProjection['clusterTrustBundle'], take: Take): void {
  if (!bundle) return
  const { name, signerName } = bundle
  if (name !== undefined && signerName !== undefined) e.invalid(path, bundle, 'only one of name and signerName may be used')
  else if (name !== undefined) {
    if (name === '') e.required(`${path}.name`, 'must be a valid object name')
    if (bundle.labelSelector) e.invalid(`${path}.labelSelector`, bundle.labelSelector, 'labelSelector must be unset if name is specified')
  } else if (signerName !== undefined) {
    if (signerName === '') e.required(`${path}.signerName`, 'must be a valid signer name')
    selector(e, `${path}.labelSelector`, bundle.labelSelector)
  } else e.required(path, 'either name or signerName must be specified')
  e.named(`${path}.path`, bundle.path)
  volumeFile(e, `${path}.path`, bundle.path ?? '')
  take(bundle.path, bundle.path)
}

function certificateProjection(e: Findings, path: string, c: VolumeProjection['podCertificate'], take: Take): void {
  if (!c) return
  e.named(`${path}.signerName`, c.signerName)
  e.chosen(`${path}.keyType`, c.keyType ?? '', KEY_TYPES)
  const own = /^kubernetes\.io\//.test(c.signerName ?? '')
  const most = own ? MAX_KUBERNETES_CERTIFICATE_SECONDS : MAX_CERTIFICATE_SECONDS
  const { maxExpirationSeconds: seconds } = c
  const field = `${path}.maxExpirationSeconds`
  if (seconds !== undefined && seconds < MIN_CERTIFICATE_SECONDS) e.invalid(field, seconds, `if provided, maxExpirationSeconds must be >= ${MIN_CERTIFICATE_SECONDS}`)
  if (seconds !== undefined && seconds > most) e.invalid(field, seconds, `if provided, maxExpirationSeconds must be <= ${most}`)
  let paths = 0
  for (const key of ['credentialBundlePath', 'keyPath', 'certificateChainPath'] as const) {
    const file = c[key]
    if (!file) continue
    paths++
    volumeFile(e, `${path}.${key}`, file)
    take(file, file)
  }
  if (paths === 0) e.required(path, 'specify at least one of credentialBundlePath, keyPath, and certificateChainPath')
}
