/** Finalizers: names on an object that hold its deletion until whoever put them there has cleaned up. */

export const FINALIZER_ORPHAN = 'orphan'
export const FINALIZER_FOREGROUND = 'foregroundDeletion'
