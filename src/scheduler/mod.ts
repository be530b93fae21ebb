/** The door of `scheduler`. */
export { createScheduler, SCHEDULER_NAME } from './scheduler.ts'
export type { SchedulerOptions } from './scheduler.ts'
