/**
 * Validation of where a volume comes from, for pods and PersistentVolumes alike: one row a source, in the order in which Kubernetes
 * looks at them. The differences between the two kinds stand in the rows.
 */
import type { PersistentVolumeSpec, Volume } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors } from '../names.ts'
import type { Findings } from './field.ts'
import { noBacksteps } from './paths.ts'

const HOST_PATH_TYPES = ['', 'BlockDevice', 'CharDevice', 'Directory', 'DirectoryOrCreate', 'File', 'FileOrCreate', 'Socket']
const CACHING = ['None', 'ReadOnly', 'ReadWrite']
const DISK_KINDS = ['Dedicated', 'Managed', 'Shared']
const MANAGED_URI = '/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}'
const BLOB_URI = 'https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd'
const ISCSI_NAMES: Readonly<Record<string, RegExp>> = {
  iqn: /iqn\.\d{4}-\d{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$/, eui: /^eui.[A-Za-z0-9]{16}$/, naa: /^naa.[A-Za-z0-9]{32}$/,
}

/** Every source of both kinds, its fields as far as they are alike. */
type Sources = Omit<Volume, 'name'> & Omit<PersistentVolumeSpec, keyof Volume>
type Key = keyof Sources & string
/** Loosely typed: a row reads fields of either kind's source. */
type Source = Readonly<Record<string, unknown>>
type Rule = (e: Findings, path: string, source: Source, persistent: boolean) => void

export interface SourceRow {
  readonly key: Key
  /** Where findings within it are told, when that is not its name. */
  readonly told?: string
  readonly rule?: Rule
}

const text = (v: unknown): string => (typeof v === 'string' ? v : '')

/** Fields that must be there and not empty. */
const need =
  (...keys: string[]): Rule =>
  (e, path, s) => {
    for (const key of keys) if (isEmpty(s[key])) e.required(`${path}.${key}`)
  }
const isEmpty = (v: unknown): boolean => v === undefined || v === '' || (Array.isArray(v) && v.length === 0)
const both =
  (...rules: Rule[]): Rule =>
  (e, path, s, persistent) => {
    for (const rule of rules) rule(e, path, s, persistent)
  }
/** A Secret: by name, and for a PersistentVolume by name space too. */
const secretRef: Rule = (e, path, s, persistent) => {
  const ref = s.secretRef as { name?: string; namespace?: string } | undefined
  if (!ref) return
  e.named(`${path}.secretRef.name`, ref.name)
  if (persistent) e.named(`${path}.secretRef.namespace`, ref.namespace)
}
const partition: Rule = (e, path, s) => e.between(`${path}.partition`, s.partition as number | undefined, 0, 255)

const hostPath: Rule = (e, path, s) => {
  if (!e.named(`${path}.path`, text(s.path))) return
  noBacksteps(e, `${path}.path`, text(s.path))
  e.chosen(`${path}.type`, s.type as string | undefined, HOST_PATH_TYPES)
}

const nfs: Rule = (e, path, s) => {
  need('server', 'path')(e, path, s, false)
  if (!text(s.path).startsWith('/')) e.invalid(`${path}.path`, text(s.path), 'must be an absolute path')
}

const iscsi: Rule = (e, path, s, persistent) => {
  need('targetPortal', 'iqn')(e, path, s, persistent)
  if (s.iqn) iscsiName(e, `${path}.iqn`, text(s.iqn), persistent)
  e.between(`${path}.lun`, s.lun as number | undefined, 0, 255)
  const ref = s.secretRef as { name?: string } | undefined
  if ((s.chapAuthDiscovery || s.chapAuthSession) && !ref) e.required(`${path}.secretRef`)
  if (persistent && ref) e.named(`${path}.secretRef.name`, ref.name)
  if (s.initiatorName !== undefined) iscsiName(e, `${path}.initiatorname`, text(s.initiatorName), persistent)
}

function iscsiName(e: Findings, path: string, name: string, persistent: boolean): void {
  const format = ISCSI_NAMES[name.slice(0, 3)]
  if (!format) e.invalid(path, name, persistent ? 'must be valid format' : 'must be valid format starting with iqn, eui, or naa')
  else if (!format.test(name)) e.invalid(path, name, 'must be valid format')
}

const fc: Rule = (e, path, s) => {
  const [wwns, wwids] = [(s.targetWWNs as string[] | undefined) ?? [], (s.wwids as string[] | undefined) ?? []]
  if (wwns.length === 0 && wwids.length === 0) e.required(`${path}.targetWWNs`, 'must specify either targetWWNs or wwids, but not both')
  if (wwns.length > 0 && wwids.length > 0) e.invalid(`${path}.targetWWNs`, wwns, 'targetWWNs and wwids can not be specified simultaneously')
  if (wwns.length === 0) return
  if (s.lun === undefined) e.required(`${path}.lun`, 'lun is required if targetWWNs is specified')
  else e.between(`${path}.lun`, s.lun as number, 0, 255)
}

const flocker: Rule = (e, path, s) => {
  const [name, uuid] = [text(s.datasetName), text(s.datasetUUID)]
  if (!name && !uuid) e.required(path, 'one of datasetName and datasetUUID is required')
  if (name && uuid) e.invalid(path, 'resource', 'datasetName and datasetUUID can not be specified simultaneously')
  if (name.includes('/')) e.invalid(`${path}.datasetName`, name, "must not contain '/'")
}

const flexVolume: Rule = (e, path, s) => {
  need('driver')(e, path, s, false)
  for (const key of Object.keys((s.options as object | undefined) ?? {})) {
    const space = `.${(key.includes('/') ? (key.split('/')[0] as string) : key).toLowerCase()}`
    if (space.endsWith('.kubernetes.io') || space.endsWith('.k8s.io')) {
      e.invalid(`${path}.options[${key}]`, key, 'kubernetes.io and k8s.io namespaces are reserved')
    }
  }
}

const azureFile: Rule = (e, path, s, persistent) => {
  need('secretName', 'shareName')(e, path, s, persistent)
  if (persistent && s.secretNamespace === '') e.required(`${path}.secretNamespace`)
}

const azureDisk: Rule = (e, path, s) => {
  need('diskName', 'diskURI')(e, path, s, false)
  const [kind, uri] = [s.kind as string | undefined, text(s.diskURI)]
  e.chosen(`${path}.cachingMode`, s.cachingMode as string | undefined, CACHING)
  e.chosen(`${path}.kind`, kind, DISK_KINDS)
  if (kind === 'Managed' && !uri.startsWith('/subscriptions/')) e.unsupported(`${path}.diskURI`, uri, [MANAGED_URI])
  if (kind !== undefined && kind !== 'Managed' && !uri.startsWith('https://')) e.unsupported(`${path}.diskURI`, uri, [BLOB_URI])
}

const QUOBYTE_TEXT = 'must be a host:port pair or multiple pairs separated by commas'
const quobyte: Rule = (e, path, s) => {
  const registry = text(s.registry)
  if (!registry) e.required(`${path}.registry`, QUOBYTE_TEXT)
  else if (text(s.tenant).length >= 65) e.required(`${path}.tenant`, 'must be a UUID and may not exceed a length of 64 characters')
  else for (const pair of registry.split(',')) if (!/^[^:]*:[^:]*$/.test(pair)) e.invalid(`${path}.registry`, registry, QUOBYTE_TEXT)
  need('volume')(e, path, s, false)
}

const glusterfs: Rule = (e, path, s, persistent) => {
  need('endpoints', 'path')(e, path, s, persistent)
  if (!persistent || s.endpointsNamespace === undefined) return
  const at = `${path}.endpointsNamespace`
  if (s.endpointsNamespace === '') e.invalid(at, '', 'if the endpointnamespace is set, it must be a valid namespace name')
  else e.text(at, text(s.endpointsNamespace), dnsLabelErrors)
}

const storageos: Rule = (e, path, s, persistent) => {
  e.named(`${path}.volumeName`, text(s.volumeName), dnsLabelErrors)
  e.optional(`${path}.volumeNamespace`, text(s.volumeNamespace), dnsLabelErrors)
  secretRef(e, path, s, persistent)
}

/** The name of a CSI driver. */
export function driverName(e: Findings, path: string, name: string): void {
  if (!name) e.required(path)
  if (name.length > 63) e.tooLong(path, 63)
  for (const detail of dnsSubdomainErrors(name.toLowerCase())) e.invalid(path, name, detail)
}

const CSI_SECRETS = ['controllerPublishSecretRef', 'controllerExpandSecretRef', 'nodePublishSecretRef', 'nodeExpandSecretRef'] as const
const csi: Rule = (e, path, s, persistent) => {
  driverName(e, `${path}.driver`, text(s.driver))
  if (!persistent) {
    const ref = s.nodePublishSecretRef as { name?: string } | undefined
    if (ref) e.named(`${path}.nodePublishSecretRef.name`, ref.name, dnsSubdomainErrors)
    return
  }
  need('volumeHandle')(e, path, s, true)
  for (const key of CSI_SECRETS) {
    const ref = s[key] as { name?: string; namespace?: string } | undefined
    if (!ref) continue
    e.named(`${path}.${key}.name`, ref.name, dnsSubdomainErrors)
    e.named(`${path}.${key}.namespace`, ref.namespace, dnsLabelErrors)
  }
}

const local: Rule = (e, path, s) => {
  if (e.named(`${path}.path`, text(s.path))) noBacksteps(e, `${path}.path`, text(s.path))
}

/** What can stand in both kinds, by name. */
const SHARED: Readonly<Record<string, SourceRow>> = {
  hostPath: { key: 'hostPath', rule: hostPath },
  gcePersistentDisk: { key: 'gcePersistentDisk', told: 'persistentDisk', rule: both(need('pdName'), partition) },
  awsElasticBlockStore: { key: 'awsElasticBlockStore', rule: both(need('volumeID'), partition) },
  nfs: { key: 'nfs', rule: nfs },
  iscsi: { key: 'iscsi', rule: iscsi },
  glusterfs: { key: 'glusterfs', rule: glusterfs },
  flocker: { key: 'flocker', rule: flocker },
  rbd: { key: 'rbd', rule: need('monitors', 'image') },
  cinder: { key: 'cinder', rule: both(need('volumeID'), secretRef) },
  cephfs: { key: 'cephfs', rule: need('monitors') },
  quobyte: { key: 'quobyte', rule: quobyte },
  fc: { key: 'fc', rule: fc },
  flexVolume: { key: 'flexVolume', rule: flexVolume },
  azureFile: { key: 'azureFile', rule: azureFile },
  vsphereVolume: { key: 'vsphereVolume', rule: need('volumePath') },
  photonPersistentDisk: { key: 'photonPersistentDisk', rule: need('pdID') },
  portworxVolume: { key: 'portworxVolume', rule: need('volumeID') },
  azureDisk: { key: 'azureDisk', rule: azureDisk },
  storageos: { key: 'storageos', rule: storageos },
  scaleIO: { key: 'scaleIO', rule: need('gateway', 'system', 'volumeName') },
  csi: { key: 'csi', rule: csi },
  local: { key: 'local', rule: local },
}

/** Rows for `keys` (space separated), which may bring rules of their own for sources that only one kind has. */
export function sourceRows(keys: string, own: Readonly<Record<string, Rule>> = {}): readonly SourceRow[] {
  return keys.split(' ').map((key) => {
    const rule = own[key]
    return SHARED[key] ?? { key: key as Key, ...(rule && { rule }) }
  })
}

/** Judges the one source that `holder` has. Returns its name; undefined when there is none. */
export function oneSource(e: Findings, path: string, holder: object, rows: readonly SourceRow[], persistent: boolean): string | undefined {
  let first: string | undefined
  for (const { key, told, rule } of rows) {
    const source = (holder as Record<string, unknown>)[key] as Source | undefined
    if (source === undefined) continue
    if (first !== undefined) {
      e.forbidden(`${path}.${key}`, 'may not specify more than 1 volume type')
      continue
    }
    first = key
    rule?.(e, `${path}.${told ?? key}`, source, persistent)
  }
  if (first === undefined) e.required(path, 'must specify a volume type')
  return first
}

/** The name of a volume and its iSCSI portal become one path, which must stay short. */
export function iscsiLength(e: Findings, path: string, name: string, source: { readonly targetPortal?: string; readonly initiatorName?: string } | undefined, value: string): void {
  if (source?.initiatorName === undefined || `${name}:${source.targetPortal}`.length <= 64) return
  e.invalid(path, value, 'Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.')
}
