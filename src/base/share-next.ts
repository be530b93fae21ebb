/** One question at a time, whose answer all share who asked before it began. */

/**
 * Shares `ask`: the first caller asks at once; those who come meanwhile share the next question, which begins when the one under
 * way is answered. So every answer is of a moment after its callers asked. A failure is that of all who shared it.
 */
export function shareNext<T>(ask: () => Promise<T>): () => Promise<T> {
  let under: Promise<void> | undefined
  let next: Promise<T> | undefined
  const begin = (): Promise<T> => {
    next = undefined
    const asked = ask()
    const end = (): void => {
      // Who waits for the next one begins it now; until then others join it.
      if (!next) under = undefined
    }
    under = asked.then(end, end)
    return asked
  }
  return () => (under ? (next ??= under.then(begin)) : begin())
}
