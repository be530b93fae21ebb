import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BudgetError, compile, environment } from './engine.ts'

const holds = (text: string): unknown => compile(environment(), text, 'bool')({}, { left: 10_000 })

test('the Kubernetes libraries say what their documentation says', () => {
  const cases: readonly (readonly [string, boolean])[] = [
    ['[1, 3].sum() == 4 && [1.0, 2.5].sum() == 3.5', true],
    ['[3, 1].max() == 3 && ["b", "a"].min() == "a"', true],
    ['[1, 3, 2].isSorted()', false],
    ['[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(7) == -1', true],
    ['sets.contains([1, 2, 3], [3, 1]) && sets.equivalent([1, 1, 2], [2, 1]) && !sets.intersects([1], [2])', true],
    ['"abc 123 45".find("[0-9]+") == "123" && "1 2 3".findAll("[0-9]", 2) == ["1", "2"]', true],
    ['"a-b-c".replace("-", "_", 1) == "a_b-c" && "abc".charAt(1) == "b" && "abc".reverse() == "cba"', true],
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
  assert.throws(() => holds('[1, 2][5] == 1'), /index out of bounds/)
  assert.throws(() => holds('"a".matches("(")'), { message: /^Invalid regular expression: \($/ })
})

test('a loop is cut off when the budget is gone, also inside quantifiers', () => {
  const expression = compile(environment(), '[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].exists(b, b > a || b == 10))', 'bool')
  assert.equal(expression({}, { left: 1_000 }), true)
  assert.throws(() => expression({}, { left: 20 }), BudgetError)
})
