/** Validation of core Events. */
import type { Event } from '../gen/types.ts'
import { fieldInvalid } from '../status.ts'
import type { FieldError } from '../status.ts'

/** Event: its namespace is that of what it is about. */
export function eventErrors(e: Event): FieldError[] {
  const namespace = e.involvedObject?.namespace
  const own = e.metadata?.namespace
  // Events about cluster-wide objects live in one of the two namespaces that always exist.
  const fits = namespace ? namespace === own : own === 'default' || own === 'kube-system'
  return fits ? [] : [fieldInvalid('involvedObject.namespace', namespace ?? '', 'does not match event.namespace')]
}
