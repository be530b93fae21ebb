/** Validation of Events of the group events.k8s.io, which asks for more than the core group does. Messages name the core fields. */
import type { EventsEvent } from '../gen/types.ts'
import { labelKeyErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { findings } from './field.ts'
import { immutable } from './meta.ts'

const MOST = 128
const MOST_NOTE = 1024

/** A new Event. */
export function eventsEventErrors(event: EventsEvent): FieldError[] {
  return findings((e) => {
    const namespace = event.regarding?.namespace ?? ''
    const own = event.metadata?.namespace
    const fits = namespace ? namespace === own : own === 'default' || own === 'kube-system'
    if (!fits) e.invalid('involvedObject.namespace', namespace, 'does not match event.namespace')
    if (!event.eventTime) e.required('eventTime')
    else {
      e.named('reportingController', event.reportingController, labelKeyErrors)
      for (const key of ['reportingInstance', 'action', 'reason'] as const) {
        if (!event[key]) e.required(key)
        else if ((event[key]?.length ?? 0) > MOST) e.invalid(key, '', `can have at most ${MOST} characters`)
      }
      if ((event.note?.length ?? 0) > MOST_NOTE) e.invalid('message', '', `can have at most ${MOST_NOTE} characters`)
    }
    if (event.type !== 'Normal' && event.type !== 'Warning') e.invalid('type', '', `has invalid value: ${event.type ?? ''}`)
    if (event.deprecatedFirstTimestamp) e.invalid('firstTimestamp', '', 'needs to be unset')
    if (event.deprecatedLastTimestamp) e.invalid('lastTimestamp', '', 'needs to be unset')
    if (event.deprecatedCount) e.invalid('count', '', 'needs to be unset')
    if (event.deprecatedSource?.component || event.deprecatedSource?.host) e.invalid('source', '', 'needs to be unset')
    e.add(seriesErrors(event))
  })
}

function seriesErrors(event: EventsEvent): FieldError[] {
  const { series } = event
  if (!series) return []
  return findings((e) => {
    if ((series.count ?? 0) < 2) e.invalid('series.count', '', 'should be at least 2')
    if (!series.lastObservedTime) e.required('series.lastObservedTime')
  })
}

/** What was observed does not change; how often it was does. */
export function eventsEventUpdateErrors(next: EventsEvent, old: EventsEvent): FieldError[] {
  const fixed = [
    ['involvedObject', next.regarding, old.regarding], ['reason', next.reason, old.reason], ['reportingController', next.reportingController, old.reportingController],
    ['reportingInstance', next.reportingInstance, old.reportingInstance], ['action', next.action, old.action], ['message', next.note, old.note],
    ['type', next.type, old.type], ['eventTime', next.eventTime, old.eventTime], ['related', next.related, old.related],
    ['source', next.deprecatedSource, old.deprecatedSource], ['firstTimestamp', next.deprecatedFirstTimestamp, old.deprecatedFirstTimestamp],
    ['lastTimestamp', next.deprecatedLastTimestamp, old.deprecatedLastTimestamp], ['count', next.deprecatedCount, old.deprecatedCount],
  ] as const
  return [...seriesErrors(next), ...fixed.flatMap(([path, now, before]) => immutable(path, now, before))]
}
