/** Waiting together with a signal: until it aborts, or for work that nobody waits for any longer once it has. */

/** Resolves when the signal aborts, at once when it has. Never rejects. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/**
 * Settles like `work`, or rejects with the signal's reason when it aborts first. The work itself goes on: give it the signal too
 * when it can be stopped. Its late failure is nobody's.
 */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return await work
  const gate = Promise.withResolvers<never>()
  const onAbort = (): void => gate.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) onAbort()
    return await Promise.race([work, gate.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
    work.catch(() => undefined) // a loser of the race may still fail
  }
}
