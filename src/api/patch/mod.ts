/** The patches of the API by their content type's short name; server-side apply stands apart because it also changes owners. */
export { applyJsonPatch, equal } from './json-patch.ts'
export { applyMergePatch, diffMergePatch } from './merge-patch.ts'
export { applyStrategicPatch } from './strategic.ts'
