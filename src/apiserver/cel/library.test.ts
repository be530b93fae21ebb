import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compile } from './engine.ts'
import { CostError } from './evaluate.ts'
import { INT, listOf, mapOf, STRING, type Type } from './type.ts'

const holds = (text: string, variables: Record<string, unknown> = {}, types: Record<string, Type> = {}): unknown => compile(text, types, 'bool').program.run(variables, 1_000_000).value

test('the Kubernetes libraries say what their documentation says', () => {
  const cases: readonly (readonly [string, boolean])[] = [
    ['[1, 3].sum() == 4 && [1.0, 2.5].sum() == 3.5', true],
    ['[3, 1].max() == 3 && ["b", "a"].min() == "a"', true],
    ['[1, 3, 2].isSorted()', false],
    ['[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(7) == -1', true],
    ['sets.contains([1, 2, 3], [3, 1]) && sets.equivalent([1, 1, 2], [2, 1]) && !sets.intersects([1], [2])', true],
    ['"abc 123 45".find("[0-9]+") == "123" && "1 2 3".findAll("[0-9]", 2) == ["1", "2"]', true],
    ['"a-b-c".replace("-", "_", 1) == "a_b-c" && "abc".charAt(1) == "b" && "abc".reverse() == "cba" && "tacocat".substring(4) == "cat" && "a,b,c".split(",", 2) == ["a", "b,c"] && ["x", "y"].join("-") == "x-y"', true],
    ['"  a ".trim() == "a" && "AbC".lowerAscii() == "abc" && "hello".indexOf("l") == 2 && "hello".lastIndexOf("l") == 3 && strings.quote("a\\"b") == "\\"a\\\\\\"b\\""', true],
    ['math.greatest(1, 3, 2) == 3 && math.least([2.5, 1.5]) == 1.5 && math.ceil(1.2) == 2.0 && math.abs(-3) == 3 && math.bitShiftLeft(1, 4) == 16', true],
    ['[1, 2, 3].all(i, v, v == i + 1) && {"a": 1}.exists(k, v, k == "a" && v == 1) && [5, 5].existsOne(i, v, i == 1)', true],
    ['[1, 2].transformList(i, v, i + v) == [1, 3] && {"a": 1, "b": 2}.transformMap(k, v, v > 1, v * 2) == {"b": 4} && ["x"].transformMapEntry(i, v, {v: i}) == {"x": 0}', true],
    ['cel.bind(x, 1 + 1, x * x) == 4 && optional.of(2).optMap(v, v + 1).value() == 3 && {"a": 1}[?"b"].orValue(7) == 7 && [1][?0].hasValue() && {?"a": optional.none(), "b": 1}.size() == 1', true],
    ['timestamp("2024-02-29T12:30:00.5Z").getFullYear() == 2024 && timestamp("2024-01-01T00:00:00Z") + duration("36h") == timestamp("2024-01-02T12:00:00Z") && timestamp("2024-01-01T23:00:00Z").getDate("+02:00") == 2 && duration("90m").getHours() == 1', true],
    ['type(1) == int && type("a") != int && int("42") == 42 && string(1.5) == "1.5" && double("2") == 2.0 && uint(3) == 3u && bytes("a") == b"a"', true],
    ['true || [1][5] == 1', true], ['[1][5] == 1 || true', true], ['[0, 1].exists(x, 1 / x == 1)', true], ['dyn(1) == 1.0 && 1 < 2.5 && 7 % 3 == 1 && -7 / 2 == -3', true],
    ['"%s %d %.2f %x %%".format(["a", 3, 1.5, 255]) == "a 3 1.50 ff %"', true],
    ['quantity("1Gi").isGreaterThan(quantity("1G")) && quantity("1500m").add(quantity("500m")).asInteger() == 2', true],
    ['quantity("200M").compareTo(quantity("0.2G")) == 0 && !isQuantity("1 G")', true],
    ['isURL("https://a:80/x") && url("https://example.com:8080/p?q=1").getPort() == "8080" && url("/p").getHost() == ""', true],
    ['ip("127.0.0.1").family() == 4 && ip("::1").isLoopback() && ip("8.8.8.8").isGlobalUnicast()', true],
    ['ip.isCanonical("2001:db8::1") && !ip.isCanonical("2001:DB8:0::1") && string(ip("::ffff:1.2.3.4")) == "::ffff:102:304"', true],
    ['cidr("10.0.0.0/8").containsIP("10.1.2.3") && !cidr("10.0.0.0/8").containsCIDR("0.0.0.0/0") && cidr("10.1.2.3/8").masked() == cidr("10.0.0.0/8")', true],
    ['semver("1.2.3-rc.1").isLessThan(semver("1.2.3")) && semver("v1.2", true).minor() == 2 && !isSemver("1.2")', true],
    ['!format.dns1123Label().validate("My_Name").value().all(m, m == "") && format.named("nothing") == optional.none()', true],
    ['format.dns1123Label().validate("my-name") == optional.none()', true],
  ]
  for (const [text, wanted] of cases) assert.equal(holds(text), wanted, text)
})

test('what fails at run time says so in one line', () => {
  assert.throws(() => holds('quantity("x") == quantity("1")'), /quantities must match/)
  assert.throws(() => holds('[1, 2][5] == 1'), /index out of bounds: 5/)
  assert.throws(() => holds('"a".matches("(")'), /^CelError|error parsing regexp: missing closing \): `\(`/)
})

test('a loop is cut off when the budget is gone, also inside quantifiers', () => {
  const { program } = compile('[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].exists(b, b > a || b == 10))', {}, 'bool')
  assert.equal(program.run({}, 1_000).value, true)
  assert.throws(() => program.run({}, 100), CostError)
})

test('faults are drawn where they are, as cel-go draws them', () => {
  const self: Type = { kind: 'object', name: 'selfType', fields: new Map([['a', INT], ['l', listOf(STRING)]]) }
  const cases: readonly (readonly [string, string])[] = [
    ['self.b > 1', "ERROR: <input>:1:5: undefined field 'b'\n | self.b > 1\n | ....^"],
    ['self.a + "x" == 1', "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, string)'\n | self.a + \"x\" == 1\n | .......^"],
    ['other == 1', "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')\n | other == 1\n | ^"],
    ['self.l.size(1) > 0', "found no matching overload for 'size' applied to 'list(string).(int)'"],
    ['self.a.all(x, x)', "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"],
    ['self.a.b == 1', "type 'int' does not support field selection"],
    ['[1, "a"].size() > 0', "expected type 'int' but found 'string'"],
    ['self.a >', "Syntax error: mismatched input '<EOF>' expecting"],
    ['has(self)', 'invalid argument to has() macro'],
    ['self.a == 1 &&\n self.zz == 2', "ERROR: <input>:2:6: undefined field 'zz'\n |  self.zz == 2\n | .....^"],
  ]
  for (const [text, wanted] of cases) assert.throws(() => compile(text, { self }, 'bool'), (e: Error) => e.message.includes(wanted), text)
  assert.throws(() => compile('"a" + "b"', {}, 'bool'), { message: '' })
})

test('costs are estimated by the sizes that types allow', () => {
  const strings = (max: number, each: number): Type => ({ ...listOf({ ...STRING, max: each }), max })
  const cost = (text: string, self: Type): number => compile(text, { self }, 'bool').maxCost
  // Each turn: the loop's own 5, the variable, and reading the text.
  assert.equal(cost('self.all(x, x.startsWith("abc"))', strings(10, 100)), 1 + 10 * (1 + 1 + 1 + 1 + 1) + 1)
  assert.ok(cost('self.all(x, self.all(y, x == y))', strings(1_000, 100)) > 1_000 * 1_000)
  assert.equal(cost('self.all(x, x.matches("a"))', listOf(STRING)), Number.POSITIVE_INFINITY)
  assert.ok(cost('self.exists(k, k == "a")', { ...mapOf({ ...STRING, max: 10 }, INT), max: 3 }) < 40)
})

test('no text makes the parser throw anything but its own error, nor run on', () => {
  const piece = fc.constantFrom('self', '.', 'a', '(', ')', '[', ']', '{', '}', '?', ':', '&&', '||', '!', '-', '1', '2u', '1.5', '"s"', "b'x'", ',', ' in ', 'has', 'all', 'map', 'x', '+', '==', '<', 'true', 'null', '\n', '\\', '"', '//', '.?', '[?')
  const attempt = (text: string): void => {
    try {
      compile(text, { self: listOf(INT) }, 'bool').program.run({ self: [1n, 2n] }, 10_000)
    } catch (error) {
      assert.match((error as Error).constructor.name, /^(CompileError|CelError|CostError)$/, `${text.slice(0, 200)}: ${(error as Error).stack?.slice(0, 600)}`)
    }
  }
  fc.assert(fc.property(fc.array(piece, { maxLength: 25 }), (parts) => attempt(parts.join(''))), { seed: 11, numRuns: 1_500 })
  fc.assert(fc.property(fc.string({ maxLength: 40 }), attempt), { seed: 12, numRuns: 500 })
  attempt('('.repeat(50_000))
  attempt('!'.repeat(50_000) + 'true')
  attempt(`true${' && true'.repeat(5_000)}`)
  attempt(`${'[['.repeat(5_000)}`)
})
