/** Validation of core Events. Those of `events.k8s.io` are held to more. */
import type { Event } from '../gen/types.ts'
import { labelKeyErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'

const MAX_TEXT = 128
const MAX_NOTE = 1024

/** An event stands in the name space of what it is about; one of the new kind says who tells it and what was done. */
export function eventErrors(event: Event): FieldError[] {
  return findings((e) => {
    const about = event.involvedObject?.namespace ?? ''
    const own = event.metadata?.namespace ?? ''
    const wrong = (): void => e.invalid('involvedObject.namespace', about, 'does not match event.namespace')
    if (!event.eventTime) {
      // What belongs to no name space is told of in the one that always exists.
      if (about ? about !== own : own !== 'default' && own !== 'kube-system') wrong()
      return
    }
    if (!about && own !== 'default' && own !== 'kube-system') wrong()
    e.named('reportingController', event.reportingComponent)
    e.text('reportingController', event.reportingComponent ?? '', labelKeyErrors)
    bounded(e, 'reportingInstance', event.reportingInstance)
    bounded(e, 'action', event.action)
    bounded(e, 'reason', event.reason)
    if ((event.message ?? '').length > MAX_NOTE) e.invalid('message', '', `can have at most ${MAX_NOTE} characters`)
  })
}

function bounded(e: Findings, path: string, text: string | undefined): void {
  e.named(path, text)
  if ((text ?? '').length > MAX_TEXT) e.invalid(path, '', `can have at most ${MAX_TEXT} characters`)
}
