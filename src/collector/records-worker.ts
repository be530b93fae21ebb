/**
 * The collector's storage thread: runs {@link RecordStore} and answers calls one after the other, so that neither an fsync nor a
 * long query holds up the server. Started by `records-client.ts` as worker `collector-records`.
 */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { AppError, messageOf, type ErrorCode } from '../base/errors.ts'
import { sqliteError } from '../base/sqlite.ts'
import { RecordStore } from './records.ts'

export interface RecordsData {
  readonly directory: string
  readonly maxBytes: number
}

/** What may be called over the thread's border: arguments and results are plain data. */
export type RecordCalls = Pick<RecordStore, 'ingest' | 'create' | 'review' | 'get' | 'list' | 'changes' | 'streams' | 'usage'>

export type RecordRequest =
  | { readonly type: 'call'; readonly id: number; readonly method: keyof RecordCalls; readonly args: readonly unknown[] }
  | { readonly type: 'close' }

export type RecordReply =
  | { readonly type: 'ready' }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string }
  | { readonly type: 'done'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refused'; readonly id: number; readonly code: ErrorCode; readonly message: string }

function serve(port: MessagePort, data: RecordsData): void {
  const send = (reply: RecordReply): void => port.postMessage(reply)
  let records: RecordStore
  try {
    records = new RecordStore(data.directory, data.maxBytes)
  } catch (error) {
    send({ type: 'failed', ...wordsOf(error) })
    return port.close()
  }
  port.on('message', (request: RecordRequest) => {
    if (request.type === 'close') {
      records.close()
      return port.close()
    }
    try {
      const method = records[request.method] as (...args: readonly unknown[]) => unknown
      send({ type: 'done', id: request.id, value: method.apply(records, [...request.args]) })
    } catch (error) {
      send({ type: 'refused', id: request.id, ...wordsOf(error) })
    }
  })
  send({ type: 'ready' })
}

function wordsOf(error: unknown): { code: ErrorCode; message: string } {
  const e = error instanceof AppError ? error : sqliteError(error, 'use records', 'move the file aside to start with an empty collector')
  return { code: e.code, message: messageOf(e) }
}

if (parentPort) serve(parentPort, workerData as RecordsData)
