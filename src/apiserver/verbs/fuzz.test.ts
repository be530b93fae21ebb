/** Garbage at the door of a server on a memory store; and in the hands of what patches, selects and counts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fuzzApi, operation, RUNS, value } from '../../../test/suites/api-fuzz.ts'
import { applyJsonPatch, applyMergePatch, applyStrategicPatch } from '../../api/patch/mod.ts'
import { quantityText, tryParseQuantity } from '../../api/quantity.ts'
import { schemaOf } from '../../api/schema-table.ts'
import { fieldSelectorText, parseFieldSelector, parseLabelSelector, selectorText } from '../../api/selectors.ts'
import { AppError } from '../../base/errors.ts'
import { createMemoryStore } from '../../store/mod.ts'

fuzzApi('the API', async () => [createMemoryStore()])

test('patches of objects leave their arguments alone, whatever they are', () => {
  const schema = schemaOf('Deployment')
  const attempt = (work: () => unknown): void => {
    try {
      work()
    } catch (error) {
      assert.ok(error instanceof AppError, String(error))
    }
  }
  fc.assert(fc.property(value, value, fc.array(operation, { maxLength: 5 }), (document, patch, operations) => {
    const whole = typeof document === 'object' && document !== null && !Array.isArray(document) ? (document as Record<string, unknown>) : { data: document }
    const [before, sent] = [JSON.stringify(whole), JSON.stringify(patch)]
    attempt(() => applyMergePatch(whole, patch))
    attempt(() => applyJsonPatch(whole, operations))
    attempt(() => applyStrategicPatch(whole, patch, schema))
    assert.deepEqual([JSON.stringify(whole), JSON.stringify(patch)], [before, sent])
    assert.equal(({} as { x?: unknown }).x, undefined)
  }), { numRuns: RUNS })
})

test('selectors and quantities that parse print as what they are, and others are refused', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '.', '/', '=', '!', ',', ' ', '(', ')', 'in', 'notin', '>', '<', '1', '\\', '-') })
  const twice = (parse: (t: string) => unknown, print: (p: never) => string, t: string): void => {
    let parsed: unknown
    try {
      parsed = parse(t)
    } catch (error) {
      assert.ok(error instanceof AppError, String(error))
      return
    }
    assert.deepEqual(parse(print(parsed as never)), parsed, t)
  }
  fc.assert(fc.property(text, (t) => {
    twice(parseLabelSelector, selectorText as (p: never) => string, t)
    twice(parseFieldSelector, fieldSelectorText as (p: never) => string, t)
  }), { numRuns: RUNS * 5 })
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom('0', '1', '9', '.', '-', '+', 'e', 'E', 'm', 'k', 'K', 'i', 'M', 'G', 'u', 'n', ' ') }), (t) => {
    const q = tryParseQuantity(t)
    if (q === undefined) return
    const again = tryParseQuantity(quantityText(q))
    assert.ok(again !== undefined && quantityText(again) === quantityText(q), t)
  }), { numRuns: RUNS * 5 })
})
