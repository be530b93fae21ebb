/** Selectors of devices (DRA): CEL over `device`, which is a device of a ResourceSlice. Loaded when the first claim is looked at. */
import type { Device } from '../../api/gen/types.ts'
import { CALL_LIMIT, compile, CompileError, type Compiled } from './engine.ts'
import { quantityValue, versionValue } from './lib-numbers.ts'
import { BOOL, DYN, mapOf, opaque, STRING, type Type } from './type.ts'
import { Struct } from './values.ts'

const DEVICE: Type = {
  kind: 'object',
  name: 'kubernetes.DRADevice',
  fields: new Map<string, Type>([
    ['driver', STRING],
    ['attributes', mapOf(STRING, mapOf(STRING, DYN))],
    ['capacity', mapOf(STRING, mapOf(STRING, opaque('kubernetes.Quantity')))],
    ['allowMultipleAllocations', BOOL],
  ]),
}
/** Expressions kept compiled; over this many the oldest is compiled anew when it comes again. */
const KEPT = 64

/** Compiles one. @throws CompileError with Kubernetes' words */
export function compileDeviceSelector(expression: string): Compiled {
  try {
    return compile(expression, { device: DEVICE }, 'bool')
  } catch (error) {
    throw error instanceof CompileError ? new CompileError(error.message === '' ? 'must evaluate to bool' : `compilation failed: ${error.message}`) : error
  }
}

const kept = new Map<string, Compiled>()

/** Whether a device of that driver is meant. @throws Error for an expression that does not compile or cannot be evaluated on it */
export function matchesDevice(expression: string, driver: string, device: Readonly<Device>): boolean {
  let compiled = kept.get(expression)
  if (!compiled) {
    compiled = compileDeviceSelector(expression)
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value as string)
    kept.set(expression, compiled)
  }
  return compiled.program.run({ device: new DeviceValue(driver, device) }, CALL_LIMIT).value === true
}

class DeviceValue extends Struct {
  readonly typeName = 'kubernetes.DRADevice'
  readonly #values: Readonly<Record<string, unknown>>

  constructor(driver: string, device: Readonly<Device>) {
    super()
    this.#values = {
      driver,
      attributes: byDomain(driver, device.attributes, (a) => a.string ?? a.bool ?? (a.int === undefined ? versionValue(a.version ?? '') : BigInt(a.int))),
      capacity: byDomain(driver, device.capacity, (c) => quantityValue(c.value)),
      allowMultipleAllocations: device.allowMultipleAllocations === true,
    }
  }

  has(field: string): boolean {
    return field in this.#values
  }

  get(field: string): unknown {
    return this.#values[field]
  }

  fields(): readonly string[] {
    return Object.keys(this.#values)
  }
}

/** By domain, then by name. A domain that the device says nothing of is empty, not an error. */
class Domains extends Map<string, ReadonlyMap<string, unknown>> {
  override has(domain: string): boolean {
    return typeof domain === 'string'
  }

  override get(domain: string): ReadonlyMap<string, unknown> {
    return super.get(domain) ?? NONE
  }
}

const NONE: ReadonlyMap<string, unknown> = new Map()

/** A name without a domain is in the driver's. */
function byDomain<T>(driver: string, table: Readonly<Record<string, T>> | undefined, valueOf: (item: T) => unknown): Domains {
  const found = new Map<string, Map<string, unknown>>()
  for (const [full, item] of Object.entries(table ?? {})) {
    const slash = full.indexOf('/')
    const [domain, name] = slash < 0 ? [driver, full] : [full.slice(0, slash), full.slice(slash + 1)]
    found.set(domain, (found.get(domain) ?? new Map<string, unknown>()).set(name, valueOf(item)))
  }
  return new Domains(found)
}
