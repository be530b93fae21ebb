/** Finalizers: names on an object that hold its deletion until whoever put them there has cleaned up. */
import type { KubeObject } from '../api/meta.ts'

export const FINALIZER_ORPHAN = 'orphan'
export const FINALIZER_FOREGROUND = 'foregroundDeletion'

/** True when the object's deletion waits for this finalizer. */
export function hasFinalizer(object: Readonly<KubeObject>, name: string): boolean {
  return object.metadata?.finalizers?.includes(name) === true
}

/** A merge patch that takes one finalizer off, refused as a conflict when the object has changed meanwhile. */
export function removeFinalizerPatch(object: Readonly<KubeObject>, name: string): object {
  const finalizers = (object.metadata?.finalizers ?? []).filter((f) => f !== name)
  return { metadata: { resourceVersion: object.metadata?.resourceVersion, finalizers } }
}

/** A merge patch that puts a finalizer on; undefined when it is there. */
export function addFinalizerPatch(object: Readonly<KubeObject>, name: string): object | undefined {
  if (hasFinalizer(object, name)) return undefined
  return { metadata: { resourceVersion: object.metadata?.resourceVersion, finalizers: [...(object.metadata?.finalizers ?? []), name] } }
}
