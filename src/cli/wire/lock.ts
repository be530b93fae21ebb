/** Keeps a second process off a directory. A lock left by a dead process is taken over. A disk that takes no lock stops nobody. */
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { isDiskRefusal } from '../../base/atomic-file.ts'
import { AppError } from '../../base/errors.ts'

/**
 * @param spare a path on another file system for the lock, taken when the disk of `path` is full or read-only
 * @returns how to unlock. @throws AppError `exists` naming the process that holds it
 */
export async function lockDirectory(path: string, what: string, spare?: string): Promise<() => Promise<void>> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new AppError('forbidden', `start ${what}: cannot make "${dirname(path)}" (${(error as NodeJS.ErrnoException).code}): give a --data-dir that this user may write, or run it with sudo`)
  }
  for (let tries = 0; ; tries++) {
    // Written first and then named, so that nobody reads a lock without its owner.
    const own = `${path}.${process.pid}`
    try {
      await writeFile(own, `${process.pid} ${await startOf(process.pid)}`, { mode: 0o600 })
      await link(own, path)
      return () => rm(path, { force: true })
    } catch (error) {
      const refused = spare !== undefined && isDiskRefusal(error)
      if ((!refused && (error as NodeJS.ErrnoException).code !== 'EEXIST') || tries > 1) throw error
      const [pid, start] = (await readFile(path, 'utf8').catch(() => '')).split(' ')
      // A pid alone may belong to another program after a boot; its start time tells.
      if (pid !== undefined && pid !== '' && Number(pid) !== process.pid && (await startOf(Number(pid))) === start) {
        throw new AppError('exists', `start ${what}: process ${pid} already uses this data directory ("${dirname(path)}"): stop it, or give another --data-dir`)
      }
      if (refused) return await lockDirectory(spare, what)
      await rm(path, { force: true })
    } finally {
      await rm(own, { force: true })
    }
  }
}

/** Start time of a process in clock ticks since boot, with the boot's id; empty when there is none or it has ended. */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended; who should bury it may take its time, or never come.
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : `${fields[19]}@${boot}`
  } catch {
    return ''
  }
}
