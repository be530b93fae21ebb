/**
 * Reads a container's CRI log files for `kubectl logs`: rotated files first, then the current one, then (follow) what is
 * appended, across rotations. Memory is bounded by one chunk and one line; a slow reader slows the reading.
 */
import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { readFile } from 'node:fs/promises'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { parseLine, type CriLine } from './cri-log.ts'

export interface LogQuery {
  readonly follow: boolean
  /** Last lines only; undefined: all. */
  readonly tailLines: number | undefined
  /** Nothing before this, ms. */
  readonly sinceMs: number | undefined
  readonly timestamps: boolean
  readonly limitBytes: number | undefined
  /** @default both */
  readonly stream?: 'stdout' | 'stderr'
}

const CHUNK = 64 << 10
/** A line longer than this is passed on in parts. */
const LINE_MAX = 1 << 20
/** How often a followed file is looked at, ms. */
const POLL_MS = 250

/** @throws AppError `invalid` for a value that is no number */
export function parseLogQuery(query: URLSearchParams, now: number): LogQuery {
  const number = (name: string): number | undefined => {
    const text = query.get(name)
    if (text === null || text === '') return undefined
    const n = Number(text)
    if (!Number.isInteger(n) || n < 0) throw new AppError('invalid', `read logs: ${name} "${text}" must be a whole number, at least 0`)
    return n
  }
  const sinceTime = query.get('sinceTime')
  const seconds = number('sinceSeconds')
  const sinceMs = sinceTime ? Date.parse(sinceTime) : seconds === undefined ? undefined : now - seconds * 1000
  if (sinceMs !== undefined && Number.isNaN(sinceMs)) throw new AppError('invalid', `read logs: sinceTime "${sinceTime}" is not a time`)
  const flag = (name: string): boolean => query.get(name) === 'true'
  const stream = query.get('stream')?.toLowerCase()
  return {
    follow: flag('follow'),
    tailLines: number('tailLines'),
    sinceMs,
    timestamps: flag('timestamps'),
    limitBytes: number('limitBytes'),
    ...(stream === 'stdout' || stream === 'stderr' ? { stream } : {}),
  }
}

export interface LogSource {
  /** The current file, `<attempt>.log`. */
  readonly path: string
  readonly clock: Clock
  /** Whether the container still writes; a follower ends when it does not. */
  readonly running: () => boolean
}

/** The text of the log as asked for. Ends on abort, at the end of the container, or at the limit. */
export async function* readLog(source: LogSource, query: LogQuery, signal: AbortSignal): AsyncGenerator<Buffer> {
  const out = formatter(query)
  const files = await rotated(source.path)
  const total = query.tailLines === undefined ? Infinity : await countLines(files)
  const skip = query.tailLines === undefined ? 0 : Math.max(0, total - query.tailLines)
  if (!query.follow && skip === total) return
  let seen = 0
  const wanted = (line: RawLine): boolean => (line.starts ? seen++ : seen - 1) >= skip
  for (const file of files) {
    if (file === source.path) break
    for (const line of split(await whole(file)).lines) if (wanted(line)) yield* out.line(line)
    if (out.full) return
  }
  for await (const line of follow(source, query.follow, signal)) {
    if (wanted(line)) yield* out.line(line)
    // The last lines are those that were there when it was asked, not what is written while it is read.
    if (out.full || (!query.follow && seen >= total && !line.partial)) return
  }
}

interface RawLine extends CriLine {
  /** False for the continuation of a partial line. */
  readonly starts: boolean
}

function formatter(query: LogQuery): { line(line: RawLine): Iterable<Buffer>; full: boolean } {
  let left = query.limitBytes ?? Infinity
  return {
    full: false,
    *line(line) {
      if (query.sinceMs !== undefined && Date.parse(line.time) < query.sinceMs) return
      if (query.stream !== undefined && line.stream !== query.stream) return
      let bytes = query.timestamps && line.starts ? Buffer.concat([Buffer.from(`${line.time} `), line.content]) : line.content
      if (bytes.length >= left) {
        bytes = bytes.subarray(0, left)
        this.full = true
      }
      left -= bytes.length
      if (bytes.length > 0) yield bytes
    },
  }
}

/** The files of a log, oldest first, the current one last if it exists. */
async function rotated(path: string): Promise<string[]> {
  const name = basename(path)
  const all: string[] = await readdir(dirname(path)).catch(() => [])
  const old = all.filter((f: string) => f.startsWith(`${name}.`) && !f.endsWith('.tmp')).sort()
  return [...old, ...(all.includes(name) ? [name] : [])].map((f) => join(dirname(path), f))
}

async function whole(path: string): Promise<Buffer> {
  const bytes = await readFile(path).catch(() => Buffer.alloc(0))
  return path.endsWith('.gz') ? gunzipSync(bytes) : bytes
}

async function countLines(files: readonly string[]): Promise<number> {
  let n = 0
  for (const f of files) n += split(await whole(f)).lines.filter((l) => l.starts).length
  return n
}

function split(bytes: Buffer, startsAtLine = true): { lines: RawLine[]; rest: Buffer; continues: boolean } {
  const lines: RawLine[] = []
  let at = 0
  let starts = startsAtLine
  for (let end = bytes.indexOf(0x0a, at); end >= 0; end = bytes.indexOf(0x0a, at)) {
    const line = parseLine(bytes.subarray(at, end))
    if (line) {
      lines.push({ ...line, starts })
      starts = !line.partial
    }
    at = end + 1
  }
  return { lines, rest: bytes.subarray(at), continues: !starts }
}

/** Lines of the current file; when following, goes on with what is appended and with the file after a rotation. */
async function* follow(source: LogSource, on: boolean, signal: AbortSignal): AsyncGenerator<RawLine> {
  let file: FileHandle | undefined
  let inode = 0
  let at = 0
  let rest: Buffer = Buffer.alloc(0)
  let starts = true
  let renamed = false
  try {
    while (!signal.aborted) {
      // Asked before reading: what a container wrote before it ended is then certainly read.
      const last = !on || !source.running()
      file ??= await open(source.path, 'r').catch(() => undefined)
      if (file) inode = (await file.stat()).ino
      for (;;) {
        const chunk = file ? (await file.read(Buffer.alloc(CHUNK), 0, CHUNK, at)) : undefined
        if (!chunk || chunk.bytesRead === 0) break
        at += chunk.bytesRead
        const parts = split(Buffer.concat([rest, chunk.buffer.subarray(0, chunk.bytesRead)]), starts)
        rest = parts.rest.length > LINE_MAX ? Buffer.alloc(0) : Buffer.from(parts.rest)
        starts = !parts.continues
        yield* parts.lines
        if (signal.aborted) return
      }
      const now = await stat(source.path).catch(() => undefined)
      if (file && now && (now.ino !== inode || now.size < at)) {
        // A file of this name is there, so nothing more is written to the former: its end is read once more, then the new one.
        if (now.ino !== inode && !renamed) {
          renamed = true
          continue
        }
        renamed = false
        await file.close()
        file = undefined
        at = 0
        rest = Buffer.alloc(0)
        continue
      }
      if (last) return
      await source.clock.sleep(POLL_MS, signal).catch(() => undefined)
    }
  } finally {
    await file?.close()
  }
}
