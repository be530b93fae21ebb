/** Conditions in a status: at most one of a type; the transition time moves only when the status does. */

/** The least a condition is; Deployments' and Pods' have more. */
export interface ConditionLike {
  type: string
  status: string
  reason?: string
  message?: string
  lastTransitionTime?: string
}

/** The condition of this type, if there is one. */
export function findCondition<T extends ConditionLike>(conditions: readonly T[] | undefined, type: string): T | undefined {
  return conditions?.find((c) => c.type === type)
}

/** A new list with the condition put in; keeps the old transition time when the status is the same. Order is kept. */
export function setCondition<T extends ConditionLike>(conditions: readonly T[] | undefined, condition: T, now: string): T[] {
  const old = findCondition(conditions, condition.type)
  const lastTransitionTime = old?.status === condition.status ? (old.lastTransitionTime ?? now) : now
  const next = { ...condition, lastTransitionTime }
  if (!old) return [...(conditions ?? []), next]
  return (conditions ?? []).map((c) => (c.type === condition.type ? next : c))
}

/** A new list without the conditions of this type. */
export function dropCondition<T extends ConditionLike>(conditions: readonly T[] | undefined, type: string): T[] {
  return (conditions ?? []).filter((c) => c.type !== type)
}

/** `metav1.Time` of a wall-clock time in ms: whole seconds. */
export function kubeTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}
