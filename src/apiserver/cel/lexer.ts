/** CEL text to tokens. Bounded by the length of the text; never throws anything but {@link CelSyntaxError}. */
import { Uint } from './values.ts'

export interface Token {
  readonly kind: 'id' | 'op' | 'value' | 'end'
  /** The operator or identifier as written. */
  readonly text: string
  readonly value?: unknown
  /** Offset in the text, UTF-16 units. */
  readonly at: number
}

/** A text that is no CEL; `at` is the offset of the place. */
export class CelSyntaxError extends Error {
  readonly at: number
  constructor(message: string, at: number) {
    super(message)
    this.at = at
  }
}

const SPACE = /(?:\s|\/\/[^\n]*)+/y
const NUMBER = /0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)|\d+[uU]?/y
const STRING = /([rR]?[bB]?|[bB][rR])("""|'''|"|')/y
const IDENTIFIER = /[A-Za-z_]\w*/y
const QUOTED = /`([\w.\-/ ]+)`/y
const OPERATOR = /&&|\|\||==|!=|<=|>=|\[\?|\.\?|\{\?|[-+*/%!<>?:.,()[\]{}]/y
const MAX_INT = 2n ** 63n
const ESCAPES: Readonly<Record<string, string>> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v', '\\': '\\', '?': '?', '"': '"', "'": "'", '`': '`' }

/** All tokens, the last of kind `end`. @throws CelSyntaxError */
export function tokens(text: string): Token[] {
  const out: Token[] = []
  let at = 0
  const match = (re: RegExp): RegExpExecArray | undefined => {
    re.lastIndex = at
    return re.exec(text) ?? undefined
  }
  for (;;) {
    at += match(SPACE)?.[0].length ?? 0
    if (at >= text.length) break
    const start = at
    const string = match(STRING)
    if (string) {
      const [whole, prefix = '', quote = ''] = string
      const end = endOf(text, at + whole.length, quote, /r/i.test(prefix))
      const raw = text.slice(at + whole.length, end)
      at = end + quote.length
      const bytes = /b/i.test(prefix)
      out.push({ kind: 'value', text: text.slice(start, at), value: bytes ? bytesOf(raw, /r/i.test(prefix), start) : /r/i.test(prefix) ? raw : unescape(raw, start), at: start })
      continue
    }
    const number = match(NUMBER)
    if (number) {
      at += number[0].length
      out.push({ kind: 'value', text: number[0], value: numberOf(number[0], start), at: start })
      continue
    }
    const id = match(IDENTIFIER) ?? match(QUOTED)
    if (id) {
      at += id[0].length
      out.push({ kind: 'id', text: id[0], at: start, ...(id[1] === undefined ? {} : { value: id[1] }) })
      continue
    }
    const op = match(OPERATOR)
    if (!op) throw new CelSyntaxError(`Syntax error: token recognition error at: '${text.slice(at, at + 1)}'`, at)
    at += op[0].length
    out.push({ kind: 'op', text: op[0], at: start })
  }
  out.push({ kind: 'end', text: '<EOF>', at: text.length })
  return out
}

function endOf(text: string, from: number, quote: string, raw: boolean): number {
  for (let i = from; i < text.length; i++) {
    if (text.startsWith(quote, i)) return i
    if (text[i] === '\\' && !raw) i++
    else if ((text[i] === '\n' || text[i] === '\r') && quote.length === 1) break
  }
  throw new CelSyntaxError(`Syntax error: token recognition error at: '${text.slice(from - quote.length)}'`, from - quote.length)
}

function numberOf(text: string, at: number): unknown {
  const unsigned = /[uU]$/.test(text)
  if (!unsigned && !/^0x/i.test(text) && /[.eE]/.test(text)) return Number(text)
  const value = BigInt(unsigned ? text.slice(0, -1) : text)
  if (unsigned) {
    if (value >= 2n ** 64n) throw new CelSyntaxError('invalid uint literal', at)
    return new Uint(value)
  }
  // One more than the largest: the parser takes it only behind a minus.
  if (value > MAX_INT) throw new CelSyntaxError('invalid int literal', at)
  return value
}

const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([\s\S]))/g

function unescape(raw: string, at: number): string {
  if (!raw.includes('\\')) return raw
  return raw.replace(ESCAPE, (_all, x?: string, X?: string, u?: string, U?: string, octal?: string, one?: string) => {
    if (one !== undefined) {
      const known = ESCAPES[one]
      if (known === undefined) throw new CelSyntaxError(`Syntax error: token recognition error at: '\\${one}'`, at)
      return known
    }
    const code = octal === undefined ? Number.parseInt((x ?? X ?? u ?? U) as string, 16) : Number.parseInt(octal, 8)
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw new CelSyntaxError('invalid unicode code point', at)
    return String.fromCodePoint(code)
  })
}

function bytesOf(raw: string, plain: boolean, at: number): Uint8Array {
  if (plain) return new TextEncoder().encode(raw)
  const parts: number[] = []
  let last = 0
  for (const m of raw.matchAll(ESCAPE)) {
    parts.push(...new TextEncoder().encode(raw.slice(last, m.index)))
    last = m.index + m[0].length
    const byte = m[1] ?? m[2]
    if (byte !== undefined) parts.push(Number.parseInt(byte, 16))
    else if (m[5] !== undefined) parts.push(Number.parseInt(m[5], 8))
    else parts.push(...new TextEncoder().encode(unescape(m[0], at)))
  }
  parts.push(...new TextEncoder().encode(raw.slice(last)))
  return Uint8Array.from(parts)
}
