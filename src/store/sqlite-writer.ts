/**
 * The store's writer thread: takes groups of writes, makes one transaction and one fsync of each, and answers. Between
 * groups it forgets compacted rows in slices and moves the write-ahead log into the file, so neither delays an answer.
 * Started by `sqlite-thread.ts` as worker `store-writer`; a failing disk is an answer, never the end of the thread.
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { AppError, messageOf, type ErrorCode } from '../base/errors.ts'
import { sqliteError } from '../base/sqlite.ts'
import { SqliteLog, STORE_WAY_OUT, type Op, type OpResult } from './sqlite-log.ts'
import type { Moved } from './sqlite-expiry.ts'
import type { Revision } from './store.ts'

export interface WriterData {
  readonly path: string
  readonly maxBytes: number
  /** What earlier threads of this store have counted. */
  readonly counts: Counts
  /** An earlier thread of this store has had the file open. */
  readonly opened: boolean
}

/** Since the store was opened. */
export interface Counts {
  readonly syncs: number
  readonly commits: number
  readonly writes: number
}

export const NO_COUNTS: Counts = { syncs: 0, commits: 0, writes: 0 }

/** To the thread. `call`s are answered in order of arrival, except that `compact` answers when its last slice is done. */
export type WriterRequest =
  | { readonly type: 'write'; readonly ops: readonly Op[] }
  | { readonly type: 'expire'; readonly wall: number; readonly moved: Moved | undefined }
  | { readonly type: 'compact'; readonly id: number; readonly revision: Revision }
  | { readonly type: 'stats'; readonly id: number }
  | { readonly type: 'vacuum'; readonly id: number }
  | { readonly type: 'close' }

export interface Failure {
  readonly code: ErrorCode
  readonly message: string
}

/** From the thread. `written` and `expired` come in order of commit. */
export type WriterReply =
  | { readonly type: 'ready'; readonly revision: Revision; readonly compacted: Revision }
  | { readonly type: 'failed'; readonly failure: Failure }
  | { readonly type: 'written'; readonly results: readonly OpResult[] | Failure }
  | { readonly type: 'expired'; readonly results: readonly OpResult[] | Failure }
  | { readonly type: 'done'; readonly id: number; readonly value: unknown; readonly failure: Failure | undefined }
  | { readonly type: 'ended'; readonly counts: Counts }

/** Keys deleted by one expiry run; the rest waits for the next. */
const EXPIRE_LIMIT = 500

function serve(port: MessagePort, data: WriterData): void {
  const send = (reply: WriterReply): void => port.postMessage(reply)
  let log: SqliteLog
  try {
    log = new SqliteLog(data.path, data.maxBytes, { locked: true, checked: data.opened })
  } catch (error) {
    send({ type: 'failed', failure: failureOf(error) })
    return port.close()
  }
  const stats = (): ReturnType<SqliteLog['stats']> => {
    const now = log.stats()
    const { counts } = data
    return { ...now, syncs: now.syncs + counts.syncs, commits: now.commits + counts.commits, writes: now.writes + counts.writes }
  }
  const compactions: { id: number }[] = []
  let sliceDue: NodeJS.Immediate | undefined

  const slice = (): void => {
    sliceDue = undefined
    let done = false
    let failure: Failure | undefined
    try {
      done = log.compactSlice()
    } catch (error) {
      failure = failureOf(error)
    }
    if (!done && !failure) {
      sliceDue = setImmediate(slice)
      return
    }
    for (const { id } of compactions.splice(0)) send({ type: 'done', id, value: undefined, failure })
  }
  const answer = (id: number, fn: () => unknown): void => {
    try {
      send({ type: 'done', id, value: fn(), failure: undefined })
    } catch (error) {
      send({ type: 'done', id, value: undefined, failure: failureOf(error) })
    }
  }
  const attempt = (fn: () => readonly OpResult[]): readonly OpResult[] | Failure => {
    try {
      return fn()
    } catch (error) {
      return failureOf(error)
    }
  }

  port.on('message', (request: WriterRequest) => {
    switch (request.type) {
      case 'write':
        send({ type: 'written', results: attempt(() => log.apply(request.ops)) })
        break
      case 'expire':
        send({ type: 'expired', results: attempt(() => log.expire(request.wall, EXPIRE_LIMIT, request.moved)) })
        break
      case 'compact':
        try {
          log.compact(request.revision)
          compactions.push({ id: request.id })
          sliceDue ??= setImmediate(slice)
        } catch (error) {
          send({ type: 'done', id: request.id, value: undefined, failure: failureOf(error) })
        }
        break
      case 'stats':
        answer(request.id, stats)
        break
      case 'vacuum':
        answer(request.id, () => log.vacuum())
        break
      case 'close':
        clearImmediate(sliceDue)
        send({ type: 'ended', counts: stats() })
        log.close()
        return port.close()
      default:
        request satisfies never
    }
    try {
      log.checkpoint()
    } catch {
      // A failed checkpoint leaves everything in the write-ahead log, where it is safe; the next one repeats it.
    }
  })
  if (log.sliceDue) sliceDue = setImmediate(slice)
  send({ type: 'ready', revision: log.revision, compacted: log.compacted })
}

function failureOf(error: unknown): Failure {
  const e = error instanceof AppError ? error : sqliteError(error, 'use store', STORE_WAY_OUT)
  return { code: e.code, message: messageOf(e) }
}

if (parentPort) serve(parentPort, workerData as WriterData)
