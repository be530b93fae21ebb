/** Comparing and naming pod templates: equal templates mean the same ReplicaSet, whatever the order of their fields. */
import { createHash } from 'node:crypto'
import type { PodTemplateSpec } from '../../api/gen/types.ts'

export const HASH_LABEL = 'pod-template-hash'
/** Kubernetes' alphabet for generated names: no vowels, so no words. */
const SAFE = 'bcdfghjklmnpqrstvwxz2456789'

/** JSON with sorted keys and without nulls: equal texts mean equal values. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const entries = Object.entries(value).filter(([, v]) => v !== undefined && v !== null)
  return `{${entries.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`).join()}}`
}

/** True when the templates say the same, the hash label aside. */
export function sameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  return canonical(withoutHash(a)) === canonical(withoutHash(b))
}

/** Ten characters that name a template; `collisions` gives another name to the same one. */
export function templateHash(template: PodTemplateSpec | undefined, collisions: number): string {
  const digest = createHash('sha256').update(`${canonical(withoutHash(template))}#${collisions}`).digest()
  return Array.from(digest.subarray(0, 10), (byte) => SAFE[byte % SAFE.length]).join('')
}

function withoutHash(template: PodTemplateSpec | undefined): PodTemplateSpec {
  const { [HASH_LABEL]: _hash, ...labels } = template?.metadata?.labels ?? {}
  const { labels: _labels, ...rest } = template?.metadata ?? {}
  const metadata = Object.keys(labels).length === 0 ? rest : { ...rest, labels }
  return { ...template, ...(Object.keys(metadata).length === 0 ? {} : { metadata }) }
}
