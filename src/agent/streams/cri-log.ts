/** One line of a CRI log file: `<RFC3339 time> <stdout|stderr> <P|F> <content>`; P is a part of a line, F its end. */

export interface CriLine {
  readonly time: string
  readonly stream: 'stdout' | 'stderr'
  /** With the newline unless it is a partial line. */
  readonly content: Buffer
  /** A part: the next line goes on where this ends. */
  readonly partial: boolean
}

/** Parses a line without its newline; undefined when it is not one. */
export function parseLine(line: Buffer): CriLine | undefined {
  const a = line.indexOf(0x20)
  const b = a < 0 ? -1 : line.indexOf(0x20, a + 1)
  const c = b < 0 ? -1 : line.indexOf(0x20, b + 1)
  if (b < 0) return undefined
  const stream = line.toString('latin1', a + 1, b)
  if (stream !== 'stdout' && stream !== 'stderr') return undefined
  const tag = line.toString('latin1', b + 1, c < 0 ? line.length : c)
  const partial = tag.split(':')[0] === 'P'
  const content = c < 0 ? Buffer.alloc(0) : line.subarray(c + 1)
  return { time: line.toString('latin1', 0, a), stream, content: partial ? content : Buffer.concat([content, NEWLINE]), partial }
}

const NEWLINE = Buffer.from('\n')
