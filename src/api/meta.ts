/** What every Kubernetes object has. Types of whole kinds are generated into `gen/types.ts`. */

export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
  blockOwnerDeletion?: boolean
}

export interface ManagedFieldsEntry {
  manager?: string
  operation?: string
  apiVersion?: string
  time?: string
  fieldsType?: string
  fieldsV1?: object
  subresource?: string
}

export interface ObjectMeta {
  name?: string
  generateName?: string
  namespace?: string
  uid?: string
  resourceVersion?: string
  generation?: number
  creationTimestamp?: string
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: OwnerReference[]
  finalizers?: string[]
  managedFields?: ManagedFieldsEntry[]
  selfLink?: string
}

/** The least an API object is. */
export interface KubeObject {
  apiVersion?: string
  kind?: string
  metadata?: ObjectMeta
}

export interface ListMeta {
  resourceVersion?: string
  continue?: string
  remainingItemCount?: number
  selfLink?: string
}

export interface KubeList<T extends KubeObject = KubeObject> {
  apiVersion: string
  kind: string
  metadata: ListMeta
  items: T[]
}

/** `metav1.Condition`; Pods and Nodes use the same core fields. */
export interface Condition {
  type: string
  status: 'True' | 'False' | 'Unknown' | (string & {})
  reason?: string
  message?: string
  lastTransitionTime?: string
  observedGeneration?: number
}

/** Labels that Skerry and Kubernetes fix. */
export const LABEL_HOSTNAME = 'kubernetes.io/hostname'
export const LABEL_ARCH = 'kubernetes.io/arch'
export const LABEL_OS = 'kubernetes.io/os'
