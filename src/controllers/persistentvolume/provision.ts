/**
 * Volumes made on demand as directories of nodes, as K3s' local-path provisioner makes them. Here only the object is made: the node
 * makes the directory when the first pod mounts it, and removes it before the object goes (`agent/volumes/local-path.ts`).
 */
import type { Node, PersistentVolume, StorageClass } from '../../api/gen/types.ts'
import { LABEL_HOSTNAME } from '../../api/meta.ts'
import { KINDS } from '../../api/kinds.ts'
import { ANN_LOCAL_NODE, ANN_LOCAL_PATH, ANN_PROVISIONED_BY, ANN_SELECTED_NODE, FINALIZER_LOCAL_PATH, LABEL_NODE, LOCAL_PATH, nodeLabel } from '../../api/volumes.ts'
import { hasCode } from '../../base/errors.ts'
import type { Client } from '../../client/mod.ts'
import type { Claim, PV, Storage } from './storage.ts'

/** Where a node that does not say otherwise keeps its volumes. */
const DEFAULT_DIRECTORY = '/var/lib/skerry/agent/storage'
/** A directory is one node's. */
const MODES: readonly string[] = ['ReadWriteOnce', 'ReadWriteOncePod']

/** The class every cluster begins with; whoever wants another default changes its annotation. */
export const LOCAL_PATH_CLASS: StorageClass = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: { name: 'local-path', annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' } },
  provisioner: LOCAL_PATH,
  reclaimPolicy: 'Delete',
  volumeBindingMode: 'WaitForFirstConsumer',
}

/** Makes the class unless there is one of its name. */
export async function ensureClass(client: Client): Promise<void> {
  await client
    .resource<StorageClass>(KINDS.StorageClass)
    .create(LOCAL_PATH_CLASS)
    .catch((error: unknown) => {
      if (!hasCode(error, 'exists')) throw error
    })
}

/** Why a directory cannot serve the claim; undefined when it can. */
export function unfit(claim: Claim, node: Readonly<Node> | undefined): string | undefined {
  const { selector, volumeMode, accessModes = [] } = claim.spec ?? {}
  const chosen = claim.metadata?.annotations?.[ANN_SELECTED_NODE]
  if (selector) return 'claim.Spec.Selector is not supported'
  if (volumeMode === 'Block') return 'only volumes of mode Filesystem are made, a Block volume needs a PersistentVolume of your own'
  if (accessModes.some((m) => !MODES.includes(m))) return `NodePath only supports ${MODES.join(' and ')} (1.22+) access modes`
  if (chosen === undefined) return 'configuration error, no node was specified: use a class with volumeBindingMode WaitForFirstConsumer'
  return node ? undefined : `node "${chosen}" not found`
}

/** The volume for a claim on a node. Pure. */
export function localVolume(claim: Claim, storageClass: Readonly<StorageClass>, node: Readonly<Node>): PersistentVolume {
  const { name = '', namespace = '', uid = '', resourceVersion } = claim.metadata ?? {}
  const volume = `pvc-${uid}`
  const path = `${node.metadata?.annotations?.[ANN_LOCAL_PATH] ?? DEFAULT_DIRECTORY}/${volume}_${namespace}_${name}`
  const nodeName = node.metadata?.name ?? ''
  const type = claim.metadata?.annotations?.['volumeType'] ?? storageClass.metadata?.annotations?.['defaultVolumeType'] ?? 'local'
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: volume, labels: { [LABEL_NODE]: nodeLabel(nodeName) }, annotations: { [ANN_PROVISIONED_BY]: LOCAL_PATH, [ANN_LOCAL_NODE]: nodeName } },
    spec: {
      accessModes: claim.spec?.accessModes ?? [],
      capacity: { storage: claim.spec?.resources?.requests?.['storage'] ?? '0' },
      claimRef: { kind: 'PersistentVolumeClaim', apiVersion: 'v1', namespace, name, uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) },
      ...(type.toLowerCase() === 'hostpath' ? { hostPath: { path, type: 'DirectoryOrCreate' } } : { local: { path } }),
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: LABEL_HOSTNAME, operator: 'In', values: [node.metadata?.labels?.[LABEL_HOSTNAME] ?? nodeName] }] }] } },
      persistentVolumeReclaimPolicy: storageClass.reclaimPolicy ?? 'Delete',
      storageClassName: storageClass.metadata?.name ?? '',
      volumeMode: 'Filesystem',
    },
  }
}

/** Makes the claim's volume, or says why not. The volume names the claim, so the next turn binds them. */
export async function provision(storage: Storage, claim: Claim, storageClass: Readonly<StorageClass>): Promise<void> {
  const { name, namespace } = claim.metadata ?? {}
  const node = storage.nodes.get(claim.metadata?.annotations?.[ANN_SELECTED_NODE] ?? '')
  const why = unfit(claim, node)
  if (why !== undefined || !node) return storage.tell(claim, 'Warning', 'ProvisioningFailed', `failed to provision volume with StorageClass "${storageClass.metadata?.name}": ${why}`)
  storage.tell(claim, 'Normal', 'Provisioning', `External provisioner is provisioning volume for claim "${namespace}/${name}"`)
  try {
    const made = await storage.volumeApi.create(localVolume(claim, storageClass, node))
    storage.tell(claim, 'Normal', 'ProvisioningSucceeded', `Successfully provisioned volume ${made.metadata?.name}`)
  } catch (error) {
    if (!hasCode(error, 'exists')) throw error
  }
}

/** A directory of a node that is no more holds no volume back. */
export function isOrphan(volume: PV, nodes: ReadonlySet<string>): boolean {
  const node = volume.metadata?.annotations?.[ANN_LOCAL_NODE]
  const held = volume.metadata?.deletionTimestamp !== undefined && volume.metadata.finalizers?.includes(FINALIZER_LOCAL_PATH) === true
  return held && (node === undefined || !nodes.has(node))
}
