/** `skerry store backup|restore`: the server's state as one file. */
import { AppError } from '../../base/errors.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import { pathsOf } from '../paths.ts'

function file(args: readonly string[], what: string): string {
  const path = args[0]
  if (path === undefined) throw new AppError('invalid', `store ${what}: name the file, as in \`skerry store ${what} skerry.backup\``)
  return path
}

export const storeCommands: readonly Command[] = [
  {
    name: 'store backup',
    usage: 'FILE',
    help: "copy the server's state to a file, while it runs",
    flags: [DATA_DIR],
    async run({ settings, args, print }) {
      const to = file(args, 'backup')
      const { backupSqliteStore } = await import('../../store/mod.ts')
      await backupSqliteStore(pathsOf(dataDirOf(settings)).store, to)
      print(`saved to ${to}`)
    },
  },
  {
    name: 'store restore',
    usage: 'FILE',
    help: "replace the server's state by a backup; stop the server first",
    flags: [DATA_DIR],
    async run({ settings, args, print }) {
      const from = file(args, 'restore')
      const { restoreSqliteStore } = await import('../../store/mod.ts')
      await restoreSqliteStore(from, pathsOf(dataDirOf(settings)).store)
      print(`restored from ${from}`)
    },
  },
]
