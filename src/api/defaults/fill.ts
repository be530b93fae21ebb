/** The one helper of defaulting: sets what is missing, in place. */

/** Sets each field of `values` that `object` does not have (or has as null). */
export function fill<T extends object>(object: T, values: Partial<T>): void {
  for (const key of Object.keys(values) as (keyof T)[]) {
    if (object[key] === undefined || object[key] === null) object[key] = values[key] as T[keyof T]
  }
}

/** The same for fields whose empty text and zero mean absent, as Kubernetes' own clients send them. */
export function fillEmpty<T extends object>(object: T, values: Partial<T>): void {
  for (const key of Object.keys(values) as (keyof T)[]) if (!object[key]) object[key] = values[key] as T[keyof T]
}

/** Fills in the defaults of one kind, in place. */
export type Defaulter = (object: never) => void
