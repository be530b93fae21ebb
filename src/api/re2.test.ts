import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { codesOf, Re2 } from './re2.ts'

const found = (pattern: string, text: string): string | undefined => {
  const codes = codesOf(text)
  const m = new Re2(pattern).exec(codes)
  return m && String.fromCodePoint(...codes.slice(m.start, m.end))
}

test('leftmost-first matches, classes, anchors, flags', () => {
  const cases: [string, string, string | undefined][] = [
    ['a|ab', 'ab', 'a'], ['(ab|a)c?', 'abc', 'abc'], ['a+?', 'aaa', 'a'], ['a{2,3}', 'aaaa', 'aaa'], ['a{2,3}?', 'aaaa', 'aa'], ['[^a-c]+', 'abxyc', 'xy'],
    ['^b', 'ab', undefined], ['(?m)^b$', 'a\nb\nc', 'b'], ['(?i)HeLLo', 'say hello', 'hello'], ['(?s)a.b', 'a\nb', 'a\nb'], ['a.b', 'a\nb', undefined], ['\\bfoo\\b', 'a foo b', 'foo'],
    ['[[:digit:]]+', 'ab12', '12'], ['\\pL+', '12äö', 'äö'], ['\\p{Greek}', 'aβ', 'β'], ['\\x{1F600}', 'x😀', '😀'], ['[\\]\\-]+', 'a]-', ']-'], ['\\Qa.b\\E+', 'a.bb', 'a.bb'], ['a{,2}', 'a{,2}', 'a{,2}'],
    ['(?P<n>x)(?<m>y)', 'xy', 'xy'], ['', 'abc', ''], ['x*', 'aaa', ''], ['[]a]+', ']a', ']a'], ['\\A\\d{3}\\z', '123', '123'], ['(?i:a)B', 'AB', 'AB'], ['(?U)a+', 'aaa', 'a'],
  ]
  for (const [pattern, text, want] of cases) assert.equal(found(pattern, text), want, pattern)
})

test('what RE2 does not have is refused in Go\'s words', () => {
  for (const [pattern, text] of [['(?=a)', 'invalid or unsupported Perl syntax: `(?=`'], ['(a', 'missing closing ): `(a`'], ['a)', 'unexpected ): `a)`'], ['[a', 'missing closing ]: `[a`'], ['*a', 'missing argument to repetition operator: `*`'], ['a**', 'invalid nested repetition operator: `**`'], ['\\1', 'invalid escape sequence: `\\1`'], ['a{1001}', 'invalid repeat count: `{1001}`'], ['[z-a]', 'invalid character class range: `z-a`'], ['\\', 'trailing backslash at end of expression: ``'], ['((a{1000}){1000})', 'expression too large']] as const) {
    assert.throws(() => new Re2(pattern), (e: Error) => e.message.includes(text), pattern)
  }
})

test('no pattern takes more than text times pattern', () => {
  const text = 'a'.repeat(3_000)
  const start = performance.now()
  assert.equal(new Re2('^(a+)+$').test(`${text}b`), false)
  assert.equal(new Re2('(a*)*(a|aa)*c').test(text), false)
  assert.ok(performance.now() - start < 2_000)
})

test('it agrees with the engine of the language where both have the same meaning', () => {
  const atom = fc.constantFrom('a', 'b', 'c', '.', '[ab]', '[^a]', '\\w', '(a|b)', '(?:ab)', '^', '$')
  const pattern = fc.array(fc.tuple(atom, fc.constantFrom('', '', '*', '+', '?', '{1,2}')).map(([a, q]) => (a === '^' || a === '$' ? a : a + q)), { maxLength: 5 }).map((p) => p.join(''))
  fc.assert(fc.property(pattern, fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'd'), maxLength: 8 }), (p, t) => {
    assert.equal(found(p, t), new RegExp(p, 'u').exec(t)?.[0], `${p} on ${t}`)
  }), { seed: 3, numRuns: 400 })
  fc.assert(fc.property(fc.string({ maxLength: 20 }), fc.string(), (p, t) => {
    try {
      new Re2(p).test(t)
    } catch (error) {
      assert.match((error as Error).message, /^error parsing regexp: /)
    }
  }), { seed: 4, numRuns: 400 })
})
