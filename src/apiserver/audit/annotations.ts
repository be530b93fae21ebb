/** What admission adds to the audit event of the request it looks at, by the request's query object, which lives as long as the request. */

const byQuery = new WeakMap<URLSearchParams, Record<string, string>>()

/** Adds one annotation to the audit event of the call with this query. */
export function annotate(query: URLSearchParams, key: string, value: string): void {
  byQuery.set(query, { ...byQuery.get(query), [key]: value })
}

/** What was added so far. */
export function annotationsOf(query: URLSearchParams): Readonly<Record<string, string>> {
  return byQuery.get(query) ?? {}
}
