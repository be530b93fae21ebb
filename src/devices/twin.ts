/**
 * The twin of one device: what is wanted, what the device has taken, what it says. Pure functions over plain data; the mapper
 * feeds them and acts on `toDeliver`.
 *
 * Rules (property tests in `twin.test.ts`): a desired value is versioned by the Device's generation and never replaced by an
 * older one; it is delivered in order until the device takes it, also after any number of failures, outages and restarts of
 * the device; a reported value is never replaced by one that was seen earlier.
 */
import { sameJson } from './convert.ts'

export interface TwinProperty {
  readonly desired?: { readonly value: unknown; readonly version: number }
  /** Version that the device has taken; 0 when none, or when the device started anew. */
  readonly delivered: number
  /** Version the device refused for good, and why; it is not tried again until it changes. */
  readonly refused?: { readonly version: number; readonly message: string }
  readonly reported?: { readonly value: unknown; readonly timeMs: number; readonly order: number }
}

export interface Twin {
  /** Newest generation of the Device taken in. */
  readonly generation: number
  readonly properties: Readonly<Record<string, TwinProperty>>
}

export interface Delivery {
  readonly property: string
  readonly value: unknown
  readonly version: number
}

export const EMPTY_TWIN: Twin = { generation: 0, properties: {} }
const BLANK: TwinProperty = { delivered: 0 }

/** Takes in the desired values of a Device. An older generation changes nothing; a value that is the same keeps its version. */
export function withDesired(twin: Twin, desired: ReadonlyMap<string, unknown>, generation: number): Twin {
  if (generation < twin.generation) return twin
  const properties: Record<string, TwinProperty> = {}
  let changed = generation !== twin.generation
  for (const name of new Set([...Object.keys(twin.properties), ...desired.keys()])) {
    const { desired: was, ...rest } = twin.properties[name] ?? BLANK
    const value = desired.get(name)
    if (!desired.has(name)) {
      properties[name] = rest
      changed ||= was !== undefined
    } else {
      changed ||= !was || !sameJson(was.value, value)
      properties[name] = { ...rest, desired: was && sameJson(was.value, value) ? was : { value, version: Math.max(generation, (was?.version ?? 0) + 1, rest.delivered + 1) } }
    }
  }
  return changed ? { generation, properties } : twin
}

/** What has to be written to the device now, oldest version first. */
export function toDeliver(twin: Twin): readonly Delivery[] {
  const due: Delivery[] = []
  for (const [property, p] of Object.entries(twin.properties)) {
    if (p.desired && p.desired.version > p.delivered && p.refused?.version !== p.desired.version) due.push({ property, ...p.desired })
  }
  return due.sort((a, b) => a.version - b.version)
}

/** The device has taken a version. A late answer for an older one changes nothing newer. */
export function withDelivered(twin: Twin, property: string, version: number): Twin {
  return change(twin, property, (p) => (version <= p.delivered ? p : { ...p, delivered: version }))
}

/** The device refuses a version for good (wrong value, not writable). */
export function withRefused(twin: Twin, property: string, version: number, message: string): Twin {
  return change(twin, property, (p) => (p.desired?.version === version ? { ...p, refused: { version, message } } : p))
}

/** The device said a value. `order` rises with every reading of this node; an older one is dropped. */
export function withReported(twin: Twin, property: string, value: unknown, timeMs: number, order: number): Twin {
  return change(twin, property, (p) => (p.reported && p.reported.order >= order ? p : { ...p, reported: { value, timeMs, order } }))
}

/** The device (or the way to it) started anew and may have forgotten what it took: all desired values are due again. */
export function withRestart(twin: Twin): Twin {
  const anew = ({ desired, reported }: TwinProperty): TwinProperty => ({ delivered: 0, ...(desired && { desired }), ...(reported && { reported }) })
  return { ...twin, properties: Object.fromEntries(Object.entries(twin.properties).map(([k, p]) => [k, anew(p)])) }
}

function change(twin: Twin, property: string, fn: (p: TwinProperty) => TwinProperty): Twin {
  const was = twin.properties[property] ?? BLANK
  const now = fn(was)
  return now === was ? twin : { ...twin, properties: { ...twin.properties, [property]: now } }
}
