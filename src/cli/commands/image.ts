/** `skerry image import|list`: images that the server gives to its nodes. */
import { AppError } from '../../base/errors.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import { pathsOf } from '../paths.ts'
import { table } from './token.ts'

export const imageCommands: readonly Command[] = [
  {
    name: 'image import',
    usage: 'ARCHIVE…',
    help: 'bring image archives (OCI or docker save, also gzipped) to the server; nodes pull them over their link',
    flags: [DATA_DIR, { name: 'name', type: 'string', value: 'REFERENCE', help: 'name for an archive whose image has none' }],
    async run({ settings, args, print, signal }) {
      if (args.length === 0) throw new AppError('invalid', 'image import: name the archive, as in `skerry image import app.tar`')
      const { importArchive, openBlobStore } = await import('../../images/mod.ts')
      const store = await openBlobStore(pathsOf(dataDirOf(settings)).images)
      for (const archive of args) {
        const name = settings['name'] as string | undefined
        for (const reference of await importArchive(archive, store, { signal, ...(name === undefined ? {} : { name }) })) print(`imported ${reference}`)
      }
    },
  },
  {
    name: 'image list',
    help: 'the images this server has',
    flags: [DATA_DIR],
    async run({ settings, print }) {
      const { openBlobStore } = await import('../../images/mod.ts')
      const store = await openBlobStore(pathsOf(dataDirOf(settings)).images)
      const rows = (await store.list()).map((i) => [i.reference, i.manifest.digest.slice(7, 19), `${(i.size / 1e6).toFixed(1)} MB`, i.importedAt])
      print(table([['IMAGE', 'DIGEST', 'SIZE', 'IMPORTED'], ...rows]))
    },
  },
]
