/** Owner references: who made an object, and who is its one controller. */
import type { KubeObject, OwnerReference } from '../api/meta.ts'
import { apiVersionOf } from '../api/resource.ts'
import type { ResourceRef } from '../client/mod.ts'

/** The reference that makes `owner` the controller of an object; objects out of lists carry no kind, so it is given. */
export function controllerRef(owner: Readonly<KubeObject>, ref: ResourceRef): OwnerReference {
  const { name = '', uid = '' } = owner.metadata ?? {}
  return { apiVersion: apiVersionOf(ref), kind: ref.kind, name, uid, controller: true, blockOwnerDeletion: true }
}

/** The reference to the one owner that controls an object. */
export function controllerOf(object: Readonly<KubeObject>): OwnerReference | undefined {
  return object.metadata?.ownerReferences?.find((r) => r.controller === true)
}

/** True when `owner` (by uid, not by name) controls the object. */
export function isControlledBy(object: Readonly<KubeObject>, owner: Readonly<KubeObject>): boolean {
  const uid = controllerOf(object)?.uid
  return uid !== undefined && uid === owner.metadata?.uid
}

/** What to do with objects a controller's selector may concern. */
export interface Claim<T> {
  /** Its own, which still match (or are going away). */
  readonly owned: readonly T[]
  /** Nobody's, matching: to be adopted. */
  readonly adopt: readonly T[]
  /** Its own, matching no longer: to be released. */
  readonly release: readonly T[]
}

/** Sorts candidates as Kubernetes' controller reference manager does. An owner that is going away adopts nothing. */
export function claim<T extends KubeObject>(owner: Readonly<KubeObject>, candidates: readonly T[], matches: (object: T) => boolean): Claim<T> {
  const owned: T[] = []
  const adopt: T[] = []
  const release: T[] = []
  const leaving = owner.metadata?.deletionTimestamp !== undefined
  for (const object of candidates) {
    const controller = controllerOf(object)
    if (controller) {
      if (controller.uid !== owner.metadata?.uid) continue
      if (matches(object)) owned.push(object)
      else if (!leaving) release.push(object)
    } else if (!leaving && object.metadata?.deletionTimestamp === undefined && matches(object)) adopt.push(object)
  }
  return { owned, adopt, release }
}
