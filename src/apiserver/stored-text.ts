/**
 * The text an object is stored as, and how an answer is spliced out of it without parsing.
 * Invariant: a stored text is `{"metadata":{` + at least one field, without apiVersion, kind and metadata.resourceVersion:
 * the first two belong to the version asked for, the last is the store's own revision. A list is a join of such texts and a
 * watch event one concatenation. Used by the verbs and the watch cache; nobody else reads the store's values.
 */
import type { KubeObject, ObjectMeta } from '../api/meta.ts'

const HEAD = '{"metadata":{'

/** An object as the pipeline handles it: metadata is there, the other fields are unknown until a kind's rules look. */
export type Obj = KubeObject & { metadata: ObjectMeta; [field: string]: unknown }

/** The stored form of `object`. The object must have a uid or a name (so metadata is never empty). */
export function toStored(object: Obj): string {
  const { apiVersion: _a, kind: _k, metadata, ...rest } = object
  const { resourceVersion: _r, selfLink: _s, ...meta } = metadata
  return JSON.stringify({ metadata: meta, ...rest })
}

/** The wire text of a stored object: one concatenation. */
export function wireText(stored: string, revision: number, kind: string, apiVersion: string): string {
  return `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":{"resourceVersion":"${revision}",${stored.slice(HEAD.length)}`
}

/** The text of an object inside a list of a built-in kind, where Kubernetes leaves kind and apiVersion out. */
export function itemText(stored: string, revision: number): string {
  return `{"metadata":{"resourceVersion":"${revision}",${stored.slice(HEAD.length)}`
}

/** Parses a stored text into a fresh object the caller may change. */
export function fromStored(stored: string, revision: number, kind: string, apiVersion: string): Obj {
  const object = JSON.parse(stored) as Obj
  object.metadata.resourceVersion = String(revision)
  return Object.assign({ kind, apiVersion }, object)
}
