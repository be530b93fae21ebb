/** Validation of CronJobs: schedule, time zone, and the Jobs that it makes. */
import { cronError } from '../cron.ts'
import type { CronJob, CronJobSpec } from '../gen/types.ts'
import type { FieldError } from '../status.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'
import { jobSpec } from './job.ts'

/** The controller adds eleven characters to make the name of a Job, of which at most 63 are allowed. */
const MAX_NAME = 52
const ZONE_PART = /^[A-Za-z.\-_0-9+]{1,14}$/
const CONCURRENCY = ['Allow', 'Forbid', 'Replace']

/** A new CronJob. */
export function cronJobCreateErrors(c: CronJob): FieldError[] {
  return findings((e) => {
    cronJobSpec(e, c.spec ?? {}, undefined)
    const { name = '' } = c.metadata ?? {}
    if (name.length > MAX_NAME) e.invalid('metadata.name', name, `must be no more than ${MAX_NAME} characters`)
  })
}

export const cronJobUpdateErrors = (next: CronJob, old: CronJob): FieldError[] => findings((e) => cronJobSpec(e, next.spec ?? {}, old.spec))

function cronJobSpec(e: Findings, spec: Partial<CronJobSpec>, old: CronJobSpec | undefined): void {
  const { schedule = '', timeZone } = spec
  if (schedule === '') e.required('spec.schedule')
  else {
    const wrong = cronError(schedule)
    if (wrong !== undefined) e.invalid('spec.schedule', schedule, wrong)
    // What stands so already may stay.
    const zoned = old?.schedule?.includes('TZ') ?? false
    if (!zoned && schedule.includes('TZ')) e.invalid('spec.schedule', schedule, 'cannot use TZ or CRON_TZ in schedule, use timeZone field instead')
    else if (schedule.includes('TZ') && timeZone !== undefined) e.invalid('spec.schedule', schedule, 'cannot use both timeZone field and TZ or CRON_TZ in schedule')
  }
  e.notNegative('spec.startingDeadlineSeconds', spec.startingDeadlineSeconds)
  if (timeZone !== undefined && timeZone !== old?.timeZone) zone(e, 'spec.timeZone', timeZone)
  e.choice('spec.concurrencyPolicy', spec.concurrencyPolicy, CONCURRENCY)
  const at = 'spec.jobTemplate.spec'
  const template = spec.jobTemplate?.spec
  jobSpec(e, at, template ?? {})
  if (template?.selector) e.invalid(`${at}.selector`, template.selector, '`selector` will be auto-generated')
  if (template?.manualSelector) e.unsupported(`${at}.manualSelector`, true, ['nil', 'false'])
  e.notNegatives('spec', spec, ['successfulJobsHistoryLimit', 'failedJobsHistoryLimit'])
}

function zone(e: Findings, path: string, name: string): void {
  if (name === '') return e.invalid(path, name, 'timeZone must be nil or non-empty string')
  const strange = (part: string): boolean => part === '.' || part === '..' || part.startsWith('-') || !ZONE_PART.test(part)
  if (name.split('/').some(strange)) return e.invalid(path, name, `unknown time zone ${name}`)
  if (name.toLowerCase() === 'local') return e.invalid(path, name, 'timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones')
  if (!isZone(name)) e.invalid(path, name, `unknown time zone ${name}`)
}

function isZone(name: string): boolean {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: name }))
  } catch {
    // The one thing it can say is that there is no such zone.
    return false
  }
}
