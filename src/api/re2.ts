/**
 * Regular expressions as Go and CEL have them (RE2): the syntax without back references and look-around, leftmost-first
 * matches, and a run time that grows with text times pattern and no faster. Used by CEL rules and by `pattern` of CRD schemas.
 */
import { AppError } from '../base/errors.ts'
import { parseRe2, type Part } from './re2-parse.ts'

/** Instructions a pattern may become; Go's limit is about as many runes. */
const MAX_PROGRAM = 20_000

type Instruction =
  | { readonly op: 'char'; readonly test: (code: number) => boolean }
  | { readonly op: 'split'; first: number; second: number }
  | { readonly op: 'jump'; to: number }
  | { readonly op: 'assert'; readonly kind: string }
  | { readonly op: 'match' }

/** A compiled pattern. */
export class Re2 {
  readonly #program: Instruction[] = []

  /** @throws AppError `invalid` in Go's words */
  constructor(pattern: string) {
    this.#emit(parseRe2(pattern))
    this.#program.push({ op: 'match' })
  }

  /** True when it matches anywhere. */
  test(text: string): boolean {
    return this.#run(codesOf(text), 0, true) !== undefined
  }

  /** The leftmost match at or after code point `from`; undefined when there is none. Positions are code points. */
  exec(codes: readonly number[], from = 0): { readonly start: number; readonly end: number } | undefined {
    return this.#run(codes, from, false)
  }

  #push(instruction: Instruction): number {
    if (this.#program.length >= MAX_PROGRAM) throw new AppError('invalid', 'error parsing regexp: expression too large')
    return this.#program.push(instruction) - 1
  }

  #emit(part: Part): void {
    switch (part.k) {
      case 'char':
        this.#push({ op: 'char', test: part.test })
        return
      case 'assert':
        this.#push({ op: 'assert', kind: part.kind })
        return
      case 'cat':
        for (const p of part.parts) this.#emit(p)
        return
      case 'alt': {
        const ends: { op: 'jump'; to: number }[] = []
        for (const [i, p] of part.parts.entries()) {
          if (i === part.parts.length - 1) {
            this.#emit(p)
            break
          }
          const split = { op: 'split' as const, first: 0, second: 0 }
          split.first = this.#push(split) + 1
          this.#emit(p)
          const jump = { op: 'jump' as const, to: 0 }
          this.#push(jump)
          ends.push(jump)
          split.second = this.#program.length
        }
        for (const jump of ends) jump.to = this.#program.length
        return
      }
      case 'repeat':
        this.#repeat(part)
    }
  }

  #repeat({ part, min, max, lazy }: Extract<Part, { k: 'repeat' }>): void {
    for (let i = 0; i < min; i++) this.#emit(part)
    if (max === undefined) {
      const split = { op: 'split' as const, first: 0, second: 0 }
      const at = this.#push(split)
      this.#emit(part)
      this.#push({ op: 'jump', to: at })
      aim(split, at + 1, this.#program.length, lazy)
      return
    }
    const open: { split: { first: number; second: number }; at: number }[] = []
    for (let i = min; i < max; i++) {
      const split = { op: 'split' as const, first: 0, second: 0 }
      open.push({ split, at: this.#push(split) })
      this.#emit(part)
    }
    for (const { split, at } of open) aim(split, at + 1, this.#program.length, lazy)
  }

  /** All threads side by side, in order of preference. */
  #run(codes: readonly number[], from: number, any: boolean): { start: number; end: number } | undefined {
    const program = this.#program
    let found: { start: number; end: number } | undefined
    let threads: { pc: number; start: number }[] = []
    const seen = new Int32Array(program.length).fill(-1)
    for (let at = from; at <= codes.length; at++) {
      const list: { pc: number; start: number }[] = []
      const add = (first: number, start: number): void => {
        const stack = [first]
        for (let pc = stack.pop(); pc !== undefined; pc = stack.pop()) {
          if (seen[pc] === at) continue
          seen[pc] = at
          const i = program[pc] as Instruction
          if (i.op === 'jump') stack.push(i.to)
          else if (i.op === 'split') stack.push(i.second, i.first)
          else if (i.op === 'assert') {
            if (holds(i.kind, codes, at)) stack.push(pc + 1)
          } else list.push({ pc, start })
        }
      }
      for (const { pc, start } of threads) add(pc, start)
      if (!found) add(0, at)
      threads = []
      const code = codes[at]
      for (const { pc, start } of list) {
        const i = program[pc] as Instruction
        if (i.op === 'match') {
          found = { start, end: at }
          // Threads behind this one are less preferred.
          break
        }
        if (i.op === 'char' && code !== undefined && i.test(code)) threads.push({ pc: pc + 1, start })
      }
      if (found && (any || threads.length === 0)) return found
    }
    return found
  }
}

function aim(split: { first: number; second: number }, body: number, behind: number, lazy: boolean): void {
  split.first = lazy ? behind : body
  split.second = lazy ? body : behind
}

/** The code points of a text. */
export function codesOf(text: string): number[] {
  return Array.from(text, (c) => c.codePointAt(0) as number)
}

const isWord = (code: number | undefined): boolean => code !== undefined && ((code >= 48 && code <= 57) || (code >= 65 && code <= 90) || code === 95 || (code >= 97 && code <= 122))

function holds(kind: string, codes: readonly number[], at: number): boolean {
  switch (kind) {
    case 'begin':
      return at === 0
    case 'end':
      return at === codes.length
    case 'line-begin':
      return at === 0 || codes[at - 1] === 10
    case 'line-end':
      return at === codes.length || codes[at] === 10
    default:
      return (isWord(codes[at - 1]) !== isWord(codes[at])) === (kind === 'word')
  }
}
