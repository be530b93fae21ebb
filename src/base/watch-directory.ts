/** Hints that something in a directory has changed, from the kernel. Hints only: watches are few on some machines, and who needs to know looks now and then as well. */
import { watch } from 'node:fs'

/**
 * Calls `changed` with the name of an entry, which may be unknown, until the signal aborts. A directory that cannot be watched (it is not there, the
 * machine's limit of watches is reached) is told to `failed`, once; never throws. Does not keep the process alive.
 */
export function watchDirectory(directory: string, signal: AbortSignal, changed: (name: string | null) => void, failed: (error: unknown) => void): void {
  try {
    watch(directory, { signal, persistent: false }, (_, name) => changed(name)).on('error', failed)
  } catch (error) {
    failed(error)
  }
}
