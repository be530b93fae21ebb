/** The grammar of RE2, as Go's regexp takes it, to a small tree. Used by `re2.ts`. */
import { AppError } from '../base/errors.ts'

export type Part =
  | { readonly k: 'char'; readonly test: (code: number) => boolean }
  | { readonly k: 'assert'; readonly kind: 'begin' | 'end' | 'line-begin' | 'line-end' | 'word' | 'no-word' }
  | { readonly k: 'cat' | 'alt'; readonly parts: readonly Part[] }
  | { readonly k: 'repeat'; readonly part: Part; readonly min: number; readonly max: number | undefined; readonly lazy: boolean }

type Test = (code: number) => boolean

const MAX_REPEAT = 1000
const MAX_DEPTH = 500
const range = (from: number, to: number): Test => (c) => c >= from && c <= to
const oneOf = (...tests: Test[]): Test => (c) => tests.some((t) => t(c))
const not = (t: Test): Test => (c) => !t(c)
const DIGIT = range(48, 57)
const WORD = oneOf(DIGIT, range(65, 90), range(97, 122), (c) => c === 95)
const SPACE: Test = (c) => c === 9 || c === 10 || c === 12 || c === 13 || c === 32
const PERL: Readonly<Record<string, Test>> = { d: DIGIT, D: not(DIGIT), w: WORD, W: not(WORD), s: SPACE, S: not(SPACE) }
const POSIX: Readonly<Record<string, Test>> = {
  alnum: oneOf(DIGIT, range(65, 90), range(97, 122)), alpha: oneOf(range(65, 90), range(97, 122)), ascii: range(0, 127), blank: (c) => c === 9 || c === 32, cntrl: oneOf(range(0, 31), (c) => c === 127),
  digit: DIGIT, graph: range(33, 126), lower: range(97, 122), print: range(32, 126), punct: oneOf(range(33, 47), range(58, 64), range(91, 96), range(123, 126)), space: oneOf(range(9, 13), (c) => c === 32),
  upper: range(65, 90), word: WORD, xdigit: oneOf(DIGIT, range(65, 70), range(97, 102)),
}
const CONTROL: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 }

interface Flags {
  fold: boolean
  multi: boolean
  dotAll: boolean
  lazy: boolean
}

/** @throws AppError `invalid` in Go's words */
export function parseRe2(pattern: string): Part {
  return new Parser(pattern).whole()
}

class Parser {
  readonly #codes: string[]
  #i = 0
  #depth = 0
  #flags: Flags = { fold: false, multi: false, dotAll: false, lazy: false }

  constructor(pattern: string) {
    this.#codes = Array.from(pattern)
  }

  whole(): Part {
    const part = this.#alternation()
    if (this.#i < this.#codes.length) this.#fail('unexpected )', this.#codes.join(''))
    return part
  }

  #fail(why: string, text: string): never {
    throw new AppError('invalid', `error parsing regexp: ${why}: \`${text}\``)
  }

  #peek(offset = 0): string | undefined {
    return this.#codes[this.#i + offset]
  }

  #rest(length: number): string {
    return this.#codes.slice(this.#i, this.#i + length).join('')
  }

  #alternation(): Part {
    if (++this.#depth > MAX_DEPTH) this.#fail('expression nests too deeply', this.#codes.join('').slice(0, 100))
    const parts = [this.#sequence()]
    while (this.#peek() === '|') {
      this.#i++
      parts.push(this.#sequence())
    }
    this.#depth--
    return parts.length === 1 ? (parts[0] as Part) : { k: 'alt', parts }
  }

  #sequence(): Part {
    const parts: Part[] = []
    for (let c = this.#peek(); c !== undefined && c !== '|' && c !== ')'; c = this.#peek()) {
      const one = this.#atom()
      if (one === undefined) continue
      parts.push(this.#repeated(one))
    }
    return { k: 'cat', parts }
  }

  #repeated(atom: Part): Part {
    let part = atom
    for (let times = 0; ; times++) {
      const start = this.#i
      const bounds = this.#quantifier()
      if (!bounds) return part
      if (times > 0) this.#fail('invalid nested repetition operator', this.#codes.slice(start - 1, this.#i).join(''))
      let { lazy } = this.#flags
      if (this.#peek() === '?') {
        this.#i++
        lazy = !lazy
      }
      if (bounds.min > MAX_REPEAT || (bounds.max ?? 0) > MAX_REPEAT || (bounds.max !== undefined && bounds.max < bounds.min)) this.#fail('invalid repeat count', this.#codes.slice(start, this.#i).join(''))
      part = { k: 'repeat', part, min: bounds.min, max: bounds.max, lazy }
    }
  }

  #quantifier(): { min: number; max: number | undefined } | undefined {
    const c = this.#peek()
    if (c === '*' || c === '+' || c === '?') {
      this.#i++
      return { min: c === '+' ? 1 : 0, max: c === '?' ? 1 : undefined }
    }
    // Braces that are no bounds are plain characters.
    const m = c === '{' ? /^\{(\d+)(?:(,)(\d*))?\}/.exec(this.#rest(24)) : undefined
    if (!m) return undefined
    this.#i += m[0].length
    return { min: Number(m[1]), max: m[2] === undefined ? Number(m[1]) : m[3] === '' ? undefined : Number(m[3]) }
  }

  #atom(): Part | undefined {
    const c = this.#codes[this.#i++] as string
    switch (c) {
      case '(':
        return this.#group()
      case '[':
        return this.#char(this.#class())
      case '.':
        return this.#char(this.#flags.dotAll ? () => true : (code) => code !== 10)
      case '^':
        return { k: 'assert', kind: this.#flags.multi ? 'line-begin' : 'begin' }
      case '$':
        return { k: 'assert', kind: this.#flags.multi ? 'line-end' : 'end' }
      case '*':
      case '+':
      case '?':
        return this.#fail('missing argument to repetition operator', c)
      case '\\':
        return this.#escape()
      default:
        return this.#char(this.#literal(c.codePointAt(0) as number))
    }
  }

  #char(test: Test): Part {
    return { k: 'char', test }
  }

  #literal(code: number): Test {
    if (!this.#flags.fold) return (c) => c === code
    const forms = new Set(folds(code))
    return (c) => forms.has(c)
  }

  #group(): Part | undefined {
    const before = { ...this.#flags }
    if (this.#peek() === '?') {
      const text = this.#rest(200)
      const named = /^\?P?<([A-Za-z_]\w*)>/.exec(text)
      const flags = /^\?([imsU]*)(?:-([imsU]+))?([:)])/.exec(text)
      if (named) this.#i += named[0].length
      else if (flags && (flags[1] !== '' || flags[2] !== undefined || flags[3] === ':')) {
        this.#i += flags[0].length
        this.#set(flags[1] as string, true)
        this.#set(flags[2] ?? '', false)
        if (flags[3] === ')') return undefined
      } else this.#fail('invalid or unsupported Perl syntax', `(${/^\?<?[=!P]?/.exec(text)?.[0] ?? '?'}`)
    }
    const inner = this.#alternation()
    if (this.#peek() !== ')') this.#fail('missing closing )', this.#codes.join(''))
    this.#i++
    this.#flags = before
    return inner
  }

  #set(letters: string, on: boolean): void {
    for (const l of letters) {
      if (l === 'i') this.#flags.fold = on
      else if (l === 'm') this.#flags.multi = on
      else if (l === 's') this.#flags.dotAll = on
      else this.#flags.lazy = on
    }
  }

  #escape(): Part | undefined {
    const c = this.#peek()
    if (c === undefined) return this.#fail('trailing backslash at end of expression', '')
    if (c === 'A' || c === 'z' || c === 'b' || c === 'B') {
      this.#i++
      return { k: 'assert', kind: c === 'A' ? 'begin' : c === 'z' ? 'end' : c === 'b' ? 'word' : 'no-word' }
    }
    if (c === 'Q') {
      this.#i++
      const text = this.#codes.slice(this.#i).join('')
      const end = text.indexOf('\\E')
      const quoted = Array.from(end < 0 ? text : text.slice(0, end))
      // Read again as what it stands for, so that a repetition behind it is of the last character.
      const plain = quoted.flatMap((q) => (/[\w\u0080-\u{10ffff}]/u.test(q) ? [q] : ['\\', q]))
      this.#codes.splice(this.#i, quoted.length + (end < 0 ? 0 : 2), ...plain)
      return undefined
    }
    return this.#char(this.#set1() ?? this.#literal(this.#code()))
  }

  /** A class behind a backslash: `\d`, `\pL`, `\p{Greek}`. */
  #set1(): Test | undefined {
    const c = this.#peek() as string
    const perl = PERL[c]
    if (perl) {
      this.#i++
      return perl
    }
    const m = /^([pP])(?:\{(\^?)(\w+)\}|(\w))/.exec(this.#rest(60))
    if (!m) return undefined
    this.#i += m[0].length
    const name = (m[3] ?? m[4]) as string
    let test: RegExp
    try {
      test = new RegExp(/^(Any)$/.test(name) ? '[\\s\\S]' : name.length <= 2 ? `\\p{${name}}` : `\\p{Script=${name}}`, 'u')
    } catch {
      return this.#fail('invalid character class range', `\\${m[0]}`)
    }
    const inside: Test = (code) => test.test(String.fromCodePoint(code))
    return (m[1] === 'P') !== (m[2] === '^') ? not(inside) : inside
  }

  /** One character behind a backslash. */
  #code(): number {
    const text = this.#rest(12)
    const m = /^x([0-9A-Fa-f]{2})|^x\{([0-9A-Fa-f]{1,8})\}|^([0-7]{3}|0[0-7]{0,2})/.exec(text)
    if (m) {
      this.#i += m[0].length
      const code = m[3] === undefined ? Number.parseInt((m[1] ?? m[2]) as string, 16) : Number.parseInt(m[3], 8)
      if (code <= 0x10ffff) return code
    }
    const c = this.#codes[this.#i] as string
    if (Object.hasOwn(CONTROL, c)) {
      this.#i++
      return CONTROL[c] as number
    }
    if (m || /[A-Za-z0-9]/.test(c)) this.#fail('invalid escape sequence', `\\${c}`)
    this.#i++
    return c.codePointAt(0) as number
  }

  #class(): Test {
    const start = this.#i - 1
    const tests: Test[] = []
    let negated = false
    if (this.#peek() === '^') {
      negated = true
      this.#i++
    }
    for (let first = true; this.#peek() !== ']' || first; first = false) {
      const c = this.#peek()
      if (c === undefined) return this.#fail('missing closing ]', this.#codes.slice(start).join(''))
      const posix = /^\[:(\^?)(\w+):\]/.exec(this.#rest(14))
      if (posix) {
        const known = POSIX[posix[2] as string]
        if (!known) return this.#fail('invalid character class range', posix[0])
        this.#i += posix[0].length
        tests.push(posix[1] === '^' ? not(known) : known)
        continue
      }
      if (c === '\\') {
        this.#i++
        if (this.#peek() === undefined) return this.#fail('trailing backslash at end of expression', '')
        const set = this.#set1()
        if (set) {
          tests.push(set)
          continue
        }
        this.#i--
      }
      const from = this.#member()
      if (this.#peek() !== '-' || this.#peek(1) === ']' || this.#peek(1) === undefined) {
        tests.push(this.#literal(from))
        continue
      }
      this.#i++
      const to = this.#member()
      if (to < from) this.#fail('invalid character class range', `${String.fromCodePoint(from)}-${String.fromCodePoint(to)}`)
      tests.push(this.#flags.fold ? (code) => folds(code).some((f) => f >= from && f <= to) : range(from, to))
    }
    this.#i++
    const inside = oneOf(...tests)
    return negated ? not(inside) : inside
  }

  #member(): number {
    const c = this.#codes[this.#i++]
    if (c === undefined) return this.#fail('missing closing ]', this.#codes.join(''))
    return c === '\\' ? this.#code() : (c.codePointAt(0) as number)
  }
}

/** A character and its other cases. */
function folds(code: number): number[] {
  const c = String.fromCodePoint(code)
  const out = [code]
  for (const other of [c.toLowerCase(), c.toUpperCase()]) if (Array.from(other).length === 1) out.push(other.codePointAt(0) as number)
  // Two signs that fold to ordinary letters.
  if (/[kK]/.test(c)) out.push(0x212a)
  if (/[sS]/.test(c)) out.push(0x17f)
  return out
}
