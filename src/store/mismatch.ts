/** What every store says when compare-and-swap refuses a write. */
import type { ErrorCode } from '../base/errors.ts'
import type { Revision } from './store.ts'

/** The refusal of a write whose expected revision is not the key's. */
export function mismatch(act: 'put' | 'delete', key: string, expected: Revision, actual: Revision): [ErrorCode, string] {
  if (expected === 0 && act === 'put') return ['exists', `put "${key}": it exists already, at revision ${actual}; read it and update`]
  const seen = actual === 0 ? 'it is gone' : `it is at revision ${actual} now`
  return ['conflict', `${act} "${key}" at revision ${expected}: ${seen}; read it again and repeat`]
}
