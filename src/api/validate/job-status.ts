/** Validation of a Job's status: what a controller may say of one that runs, ended or failed. */
import type { Job, JobStatus } from '../gen/types.ts'
import type { FieldError } from '../status.ts'
import { IMMUTABLE, findings } from './field.ts'
import type { Findings } from './field.ts'
import { overlap, parseIndexes } from './job-indexes.ts'

const COUNTS = ['active', 'succeeded', 'failed', 'ready', 'terminating'] as const

/** An update through `status`. Each rule asks only of what changed, so that a status of an older server can still be written. */
export function jobStatusErrors(next: Job, old: Job): FieldError[] {
  return findings((e) => {
    const [n, o] = [next.status ?? {}, old.status ?? {}]
    e.notNegatives('status', n, COUNTS)
    uncounted(e, n)
    conditions(e, n, o)
    finished(e, n)
    times(e, n, o, next.spec?.suspend === true)
    indexes(e, next, n)
    if ((n.ready ?? 0) > (n.active ?? 0)) e.invalid('status.ready', n.ready, 'cannot set more ready pods than active')
    for (const key of ['failed', 'succeeded'] as const) {
      if ((n[key] ?? 0) < (o[key] ?? 0)) e.invalid(`status.${key}`, n[key] ?? 0, `cannot decrease the ${key} counter`)
    }
  })
}

const is = (s: JobStatus, type: string): boolean => s.conditions?.some((c) => c.type === type && c.status === 'True') ?? false

function uncounted(e: Findings, n: JobStatus): void {
  const seen = new Set<string>()
  for (const key of ['succeeded', 'failed'] as const) {
    for (const [i, uid] of (n.uncountedTerminatedPods?.[key] ?? []).entries()) {
      const at = `status.uncountedTerminatedPods.${key}[${i}]`
      if (uid === '') e.invalid(at, uid, 'must not be empty')
      else if (seen.has(uid)) e.duplicate(at, uid)
      seen.add(uid)
    }
  }
}

/** Pairs that exclude each other, in Kubernetes' words. */
const EXCLUSIVE = [
  ['Complete', 'Failed', 'cannot set Complete=True and Failed=true conditions'],
  ['Complete', 'FailureTarget', 'cannot set Complete=True and FailureTarget=true conditions'],
  ['SuccessCriteriaMet', 'Failed', 'cannot set SuccessCriteriaMet=True and Failed=true conditions'],
  ['SuccessCriteriaMet', 'FailureTarget', 'cannot set SuccessCriteriaMet=True and FailureTarget=true conditions'],
] as const
/** What one condition needs beside it. */
const NEEDS = [
  ['Failed', 'FailureTarget', 'cannot set Failed=True condition without the FailureTarget=true condition'],
  ['Complete', 'SuccessCriteriaMet', 'cannot set Complete=True condition without the SuccessCriteriaMet=true condition'],
] as const

function conditions(e: Findings, n: JobStatus, o: JobStatus): void {
  const at = 'status.conditions'
  for (const [a, b, text] of EXCLUSIVE) if (is(n, a) && is(n, b)) e.wrong(at, text)
  for (const [a, b, text] of NEEDS) if (is(n, a) && !is(o, a) && !is(n, b)) e.wrong(at, text)
  for (const type of ['Failed', 'Complete', 'FailureTarget']) {
    if (is(o, type) && !is(n, type)) e.wrong(at, `cannot disable the terminal ${type}=True condition`)
  }
  const met = 'SuccessCriteriaMet'
  if (is(o, met) && !is(n, met)) e.wrong(at, 'cannot disable the SuccessCriteriaMet=True condition')
  if (is(o, 'Complete') && !is(o, met) && is(n, met)) e.wrong(at, 'cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions')
}

function finished(e: Findings, n: JobStatus): void {
  if (!is(n, 'Complete') && !is(n, 'Failed')) return
  if ((n.active ?? 0) > 0) e.invalid('status.active', n.active, 'active>0 is invalid for finished job')
  if (n.startTime === undefined) e.required('status.startTime', 'startTime is required for finished job')
  const left = n.uncountedTerminatedPods
  if ((left?.failed?.length ?? 0) + (left?.succeeded?.length ?? 0) > 0) e.invalid('status.uncountedTerminatedPods', left, 'must be empty for finished job')
  if ((n.terminating ?? 0) > 0) e.invalid('status.terminating', n.terminating, 'terminating>0 is invalid for finished job')
}

function times(e: Findings, n: JobStatus, o: JobStatus, suspended: boolean): void {
  const at = 'status.completionTime'
  const complete = is(n, 'Complete')
  if (n.completionTime !== undefined && !complete) e.invalid(at, n.completionTime, 'cannot set completionTime when there is no Complete=True condition')
  if (n.completionTime === undefined && complete) e.required(at, 'completionTime is required for Complete jobs')
  if (n.startTime && n.completionTime && Date.parse(n.completionTime) < Date.parse(n.startTime)) {
    e.invalid(at, n.completionTime, 'must be equal to or after `startTime`')
  }
  if (n.completionTime && o.completionTime && n.completionTime !== o.completionTime) e.invalid(at, n.completionTime, IMMUTABLE)
  if (o.startTime && o.startTime !== n.startTime && !suspended) {
    e.invalid('status.startTime', n.startTime ?? null, 'field is immutable for unsuspended job once set')
  }
}

function indexes(e: Findings, job: Job, n: JobStatus): void {
  const { completions, completionMode, backoffLimitPerIndex } = job.spec ?? {}
  const { completedIndexes = '', failedIndexes } = n
  if (completedIndexes !== '' && completionMode !== 'Indexed') {
    e.invalid('status.completedIndexes', completedIndexes, 'cannot set non-empty completedIndexes when non-indexed completion mode')
  }
  if (failedIndexes !== undefined && backoffLimitPerIndex === undefined) {
    e.invalid('status.failedIndexes', failedIndexes, 'cannot set non-null failedIndexes when backoffLimitPerIndex is null')
  }
  if (completions === undefined) return
  const done = parseIndexes(completedIndexes, completions)
  if (done.wrong !== undefined) e.invalid('status.completedIndexes', completedIndexes, `error parsing completedIndexes: ${done.wrong}`)
  if (failedIndexes === undefined || backoffLimitPerIndex === undefined) return
  const failed = parseIndexes(failedIndexes, completions)
  if (failed.wrong !== undefined) return e.invalid('status.failedIndexes', failedIndexes, `error parsing failedIndexes: ${failed.wrong}`)
  const both = overlap(done, failed)
  if (both !== undefined) e.invalid('status.failedIndexes', failedIndexes, `failedIndexes and completedIndexes overlap at index: ${both}`)
}
