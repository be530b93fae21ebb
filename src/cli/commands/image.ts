/** `skerry image import|list|remove`: images that the server gives to its nodes, or those of this very node. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { AppError } from '../../base/errors.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import type { Settings } from '../config.ts'
import { pathsOf, type InstancePaths } from '../paths.ts'
import { table } from './token.ts'

const NODE = { name: 'node', type: 'boolean', help: "this node's own images, by its running agent (default: on a machine that is no server)", default: false } as const
/** As long as an import may take, ms. */
const IMPORT_MS = 35 * 60_000

/** The agent to ask when images of this machine as a node are meant; undefined: the server's store. */
function nodeOf(settings: Settings): InstancePaths | undefined {
  const paths = pathsOf(dataDirOf(settings))
  return settings['node'] === true || (!existsSync(join(paths.data, 'server')) && existsSync(join(paths.data, 'agent'))) ? paths : undefined
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

export const imageCommands: readonly Command[] = [
  {
    name: 'image import',
    usage: 'ARCHIVE…',
    help: 'bring image archives (OCI or docker save, also compressed) to the server, whose nodes pull them over their link; on a node, to that node',
    flags: [DATA_DIR, { name: 'name', type: 'string', value: 'REFERENCE', help: 'name for an archive whose image has none (server only)' }, NODE],
    async run({ settings, args, print, signal }) {
      if (args.length === 0) throw new AppError('invalid', 'image import: name the archive, as in `skerry image import app.tar`')
      const name = settings['name'] as string | undefined
      const node = nodeOf(settings)
      if (node) {
        if (name !== undefined) throw new AppError('invalid', `image import: --name "${name}" is for archives brought to a server: save the image with its name`)
        const { callAgent } = await import('../wire/node-status.ts')
        for (const archive of args) {
          for (const reference of await callAgent<string[]>(node, 'POST', `/images?archive=${encodeURIComponent(resolve(archive))}`, IMPORT_MS)) print(`imported ${reference}`)
        }
        return
      }
      const { importArchive, openBlobStore } = await import('../../images/mod.ts')
      const store = await openBlobStore(pathsOf(dataDirOf(settings)).images)
      for (const archive of args) {
        for (const reference of await importArchive(archive, store, { signal, ...(name === undefined ? {} : { name }) })) print(`imported ${reference}`)
      }
    },
  },
  {
    name: 'image list',
    help: 'the images this server has; on a node, those of that node',
    flags: [DATA_DIR, NODE],
    async run({ settings, print }) {
      const node = nodeOf(settings)
      if (node) {
        const { callAgent } = await import('../wire/node-status.ts')
        const images = await callAgent<{ name: string; id: string; sizeBytes: number; kept: boolean }[]>(node, 'GET', '/images', 10_000)
        print(table([['IMAGE', 'ID', 'SIZE', 'KEPT'], ...images.map((i) => [i.name, i.id.replace('sha256:', '').slice(0, 12), megabytes(i.sizeBytes), i.kept ? 'yes' : ''])]))
        return
      }
      const { openBlobStore } = await import('../../images/mod.ts')
      const store = await openBlobStore(pathsOf(dataDirOf(settings)).images)
      const rows = (await store.list()).map((i) => [i.reference, i.manifest.digest.slice(7, 19), megabytes(i.size), i.importedAt])
      print(table([['IMAGE', 'DIGEST', 'SIZE', 'IMPORTED'], ...rows]))
    },
  },
  {
    name: 'image remove',
    usage: 'IMAGE…',
    help: 'on a node: remove images, also those that were imported and are kept therefore',
    flags: [DATA_DIR],
    async run({ settings, args, print }) {
      if (args.length === 0) throw new AppError('invalid', 'image remove: name the image, as in `skerry image remove app:v1`')
      const { callAgent } = await import('../wire/node-status.ts')
      for (const name of args) {
        await callAgent(pathsOf(dataDirOf(settings)), 'DELETE', `/images?name=${encodeURIComponent(name)}`, 60_000)
        print(`removed ${name}`)
      }
    },
  },
]
