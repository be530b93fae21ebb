/**
 * Logs: a constant message plus fields, from loggers that are named constants. Text lines on stderr by default, JSON on wish.
 * The sink is set once by the composition root; tests set a silent or recording one.
 */
import { messageOf } from './errors.ts'

export type Level = 'debug' | 'info' | 'warn' | 'error'
export type Fields = Readonly<Record<string, unknown>>
export interface LogRecord {
  readonly time: number
  readonly level: Level
  readonly logger: string
  readonly message: string
  readonly fields: Fields
}
export type LogSink = (record: LogRecord) => void

const ORDER: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 }
let sink: LogSink = textSink('info')

export interface Logger {
  debug(message: string, fields?: Fields): void
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
}

/** Replaces where log records go; returns the former sink so that a test can put it back. */
export function setLogSink(next: LogSink): LogSink {
  const former = sink
  sink = next
  return former
}

/** One logger per area or component, e.g. `const log = logger('agent.pods')`. */
export function logger(name: string): Logger {
  const emit = (level: Level) => (message: string, fields: Fields = {}) =>
    sink({ time: Date.now(), level, logger: name, message, fields })
  return { debug: emit('debug'), info: emit('info'), warn: emit('warn'), error: emit('error') }
}

/** Human lines: `12:00:01.123 INFO agent.pods started pod=default/web`. */
export function textSink(least: Level, write: (line: string) => void = (s) => void process.stderr.write(s)): LogSink {
  return (r) => {
    if (ORDER[r.level] < ORDER[least]) return
    let line = `${new Date(r.time).toISOString()} ${r.level.toUpperCase().padEnd(5)} ${r.logger}: ${r.message}`
    for (const [k, v] of Object.entries(r.fields)) if (v !== undefined) line += ` ${k}=${show(v)}`
    write(line + '\n')
  }
}

/** One JSON object a line, for log collectors. */
export function jsonSink(least: Level, write: (line: string) => void = (s) => void process.stderr.write(s)): LogSink {
  return (r) => {
    if (ORDER[r.level] < ORDER[least]) return
    const fields = Object.fromEntries(Object.entries(r.fields).map(([k, v]) => [k, v instanceof Error ? messageOf(v) : v]))
    write(JSON.stringify({ time: new Date(r.time).toISOString(), level: r.level, logger: r.logger, message: r.message, ...fields }) + '\n')
  }
}

function show(value: unknown): string {
  const text = value instanceof Error ? messageOf(value) : typeof value === 'object' ? JSON.stringify(value) : String(value)
  return /[\s"=]/.test(text) ? JSON.stringify(text) : text
}
