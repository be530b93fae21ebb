/** Validation of conditions of the common form (`metav1.Condition`). */
import type { Condition } from '../gen/types.ts'
import { labelKeyErrors } from '../names.ts'
import type { Findings } from './field.ts'

const LONGEST = { reason: 1024, message: 32 * 1024 } as const
const REASON = /^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/
const REASON_TEXT =
  "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"

/** Each condition of a list, and no type twice. */
export function conditions(e: Findings, path: string, list: readonly Condition[] | undefined): void {
  const types = new Set<string>()
  for (const [i, c] of (list ?? []).entries()) {
    const at = `${path}[${i}]`
    e.text(`${at}.type`, c.type ?? '', labelKeyErrors)
    if (!['True', 'False', 'Unknown'].includes(c.status ?? '')) e.unsupported(`${at}.status`, c.status ?? '', ['False', 'True', 'Unknown'])
    if ((c.observedGeneration ?? 0) < 0) e.invalid(`${at}.observedGeneration`, c.observedGeneration, 'must be greater than or equal to zero')
    if (!c.lastTransitionTime) e.required(`${at}.lastTransitionTime`, 'must be set')
    if (!c.reason) e.required(`${at}.reason`, 'must be set')
    else {
      if (!REASON.test(c.reason)) e.invalid(`${at}.reason`, c.reason, REASON_TEXT)
      if (c.reason.length > LONGEST.reason) e.tooLong(`${at}.reason`, LONGEST.reason)
    }
    if ((c.message?.length ?? 0) > LONGEST.message) e.tooLong(`${at}.message`, LONGEST.message)
    if (types.has(c.type)) e.duplicate(`${at}.type`, c.type)
    types.add(c.type)
  }
}
