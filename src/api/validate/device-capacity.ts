/** Validation of what may be asked of the capacity of a device that several claims share, and of the conditions that a binding waits for. */
import type { CapacityRequestPolicy, CapacityRequestPolicyRange } from '../gen/types.ts'
import { labelKeyErrors } from '../names.ts'
import { addQuantities, compareQuantities, parseQuantity, quantityText, type Quantity } from '../quantity.ts'
import { each, type Findings } from './field.ts'

const MOST_VALUES = 10
const MOST_CONDITIONS = 4

/** A policy of at most one form, whose default is one of what it allows. `capacity`: all there is. */
export function requestPolicy(e: Findings, at: string, policy: CapacityRequestPolicy, capacity: string): void {
  const { default: preset, validRange } = policy
  const validValues = policy.validValues ?? []
  if (validValues.length > 0 && validRange) return e.forbidden(at, 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time')
  if (validValues.length > 0) {
    if (preset === undefined) e.required(`${at}.default`, 'required when validValues is defined')
    else values(e, `${at}.validValues`, validValues, preset, capacity)
  } else if (validRange) {
    if (preset === undefined) e.required(`${at}.default`, 'required when validRange is defined')
    else range(e, `${at}.validRange`, validRange, preset, capacity)
  }
}

const compare = (a: string, b: string): number => compareQuantities(parseQuantity(a), parseQuantity(b))
/** Whole units, rounded up, as Kubernetes counts steps. */
const units = (text: string): bigint => {
  const { nano } = parseQuantity(text)
  return nano / 1_000_000_000n + (nano % 1_000_000_000n > 0n ? 1n : 0n)
}

function values(e: Findings, at: string, list: readonly string[], preset: string, capacity: string): void {
  for (const [i, value] of list.entries()) if (i > 0 && compare(list[i - 1] as string, value) > 0) e.invalid(`${at}[${i}]`, value, 'values must be sorted in ascending order')
  each(e, at, list, MOST_VALUES, (value, where) => {
    if (compare(value, capacity) > 0) e.invalid(where, value, `option is larger than capacity value: ${capacity}`)
  }, (value) => String(units(value)))
  if (list.length > MOST_VALUES || !list.some((value) => compare(value, preset) === 0)) e.invalid(at, preset, 'default value is not valid according to the requestPolicy')
}

function range(e: Findings, at: string, { min, max, step }: CapacityRequestPolicyRange, preset: string, capacity: string): void {
  if (min === undefined) return e.required(`${at}.min`, 'required when validRange is defined')
  if (compare(min, capacity) > 0) e.invalid(`${at}.min`, min, `min is larger than capacity value: ${capacity}`)
  if (compare(preset, min) < 0) e.invalid(`${at}.min`, preset, `default is less than min: ${min}`)
  if (max !== undefined) {
    if (compare(min, max) > 0) e.invalid(`${at}.max`, min, `min is larger than max: ${max}`)
    if (compare(max, capacity) > 0) e.invalid(`${at}.max`, max, `max is larger than capacity value: ${capacity}`)
    if (compare(preset, max) > 0) e.invalid(`${at}.max`, preset, `default is more than max: ${max}`)
  }
  if (step === undefined) return
  const once: Quantity = addQuantities(parseQuantity(min), parseQuantity(step))
  if (compareQuantities(once, parseQuantity(capacity)) > 0) e.invalid(`${at}.step`, step, `one step ${quantityText(once)} is larger than capacity value: ${capacity}`)
  for (const value of max === undefined ? [preset] : [preset, max]) {
    const by = units(step)
    if (by === 0n || (units(value) - units(min)) % by !== 0n) e.invalid(`${at}.step`, value, `value is not a multiple of a given step (${step}) from (${min})`)
  }
}

/** What a binding waits for, and what makes it give up: both or none, and nothing is both. */
export function bindingConditions(e: Findings, at: string, given: { readonly bindingConditions?: readonly string[]; readonly bindingFailureConditions?: readonly string[] }): void {
  const { bindingConditions: wanted = [], bindingFailureConditions: failing = [] } = given
  const fields = { bindingConditions: wanted, bindingFailureConditions: failing }
  for (const [name, list] of Object.entries(fields)) each(e, `${at}.${name}`, list, MOST_CONDITIONS, (type, where) => e.text(where, type, labelKeyErrors), (type) => type)
  for (const [i, type] of failing.entries()) if (wanted.includes(type)) e.invalid(`${at}.bindingFailureConditions[${i}]`, type, 'bindingFailureConditions must not overlap with bindingConditions')
  if (wanted.length === 0 && failing.length > 0) e.invalid(`${at}.bindingConditions`, given.bindingConditions ?? null, 'bindingConditions are required to use bindingFailureConditions')
  if (failing.length === 0 && wanted.length > 0) e.invalid(`${at}.bindingFailureConditions`, given.bindingFailureConditions ?? null, 'bindingFailureConditions are required to use bindingConditions')
}
