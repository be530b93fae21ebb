/** hostPath volumes: the path must be what its type says; the `OrCreate` types make it. */
import { mkdir, open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Stats } from 'node:fs'
import { AppError } from '../../base/errors.ts'

const CHECKS: Readonly<Record<string, (s: Stats) => boolean>> = {
  Directory: (s) => s.isDirectory(),
  File: (s) => s.isFile(),
  Socket: (s) => s.isSocket(),
  CharDevice: (s) => s.isCharacterDevice(),
  BlockDevice: (s) => s.isBlockDevice(),
}

/** Checks (and for `DirectoryOrCreate`, `FileOrCreate` makes) the path. @throws AppError `invalid` naming path and type */
export async function checkHostPath(path: string, type: string | undefined): Promise<void> {
  if (!type) return
  if (type === 'DirectoryOrCreate') await mkdir(path, { recursive: true, mode: 0o755 })
  if (type === 'FileOrCreate') {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    await (await open(path, 'a', 0o644)).close()
  }
  const kind = type.replace('OrCreate', '')
  const check = CHECKS[kind]
  if (!check) throw new AppError('invalid', `mount hostPath "${path}": type "${type}" is unknown`)
  const seen = await stat(path).catch(() => undefined)
  if (!seen || !check(seen)) throw new AppError('invalid', `hostPath type check failed: ${path} is not a ${kind.toLowerCase()}`)
}
