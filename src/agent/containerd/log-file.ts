/** The log that a daemon writes itself: put aside when it is long, its end read when the daemon has failed. Used by the supervisor. */
import { existsSync, statSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'

/** Puts a file of more than `bytes` aside, in the place of the one before; only while nobody has it open. */
export async function rotate(path: string, bytes: number): Promise<void> {
  if (existsSync(path) && statSync(path).size > bytes) await rename(path, `${path}.1`)
}

/** What was written since `from`, its last 64 KiB. */
export async function tail(path: string, from: number): Promise<string> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const start = Math.max(from, size - 65_536)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.max(0, size - start)), 0, Math.max(0, size - start), start)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await file.close()
  }
}
