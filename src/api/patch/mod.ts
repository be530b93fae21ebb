/** The patches of the API, and server-side apply, which also keeps the owners of fields. */
export { applyJsonPatch, equal } from './json-patch.ts'
export { applyMergePatch, diffMergePatch } from './merge-patch.ts'
export { applyStrategicPatch } from './strategic.ts'
export { managedAfterUpdate, serverSideApply } from './apply.ts'
export type { VersionShape, Versions } from './apply.ts'
export type { Writer } from './managers.ts'
export { typeProblems } from './typed.ts'
