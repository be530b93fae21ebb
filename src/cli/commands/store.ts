/** `skerry store backup|restore|compact|move`: the cluster's state as one file, and from one store to another. Long copies tell how far they are. */
import { PATHS } from '../../api/contract.ts'
import { systemClock } from '../../base/clock.ts'
import { AppError, hasCode } from '../../base/errors.ts'
import type { Flag } from '../config.ts'
import { DATA_DIR, dataDirOf, type Command, type CommandContext } from '../command.ts'
import { pathsOf } from '../paths.ts'
import { parseStore, type StoreChoice } from '../store-url.ts'

const STORE: Flag = { name: 'store', type: 'string', value: 'URL', help: 'the store, as the server is given it: sqlite or etcd://host:port[,...]?ca=FILE&cert=FILE&key=FILE', default: 'sqlite' }
const NEW_TOKEN: Flag = { name: 'new-token-file', type: 'string', value: 'PATH', help: 'holds the new token, at least 16 characters; one is made by default' }
const TO: Flag = { name: 'to', type: 'string', value: 'URL', help: 'where to: etcd://host:port[,...]?ca=FILE&cert=FILE&key=FILE, or sqlite' }

function file(args: readonly string[], what: string): string {
  const path = args[0]
  if (path === undefined) throw new AppError('invalid', `store ${what}: name the file, as in \`skerry store ${what} skerry.backup\``)
  if (args.length > 1) throw new AppError('invalid', `store ${what}: one file is possible, "${args[1]}" was given too`)
  return path
}

const storeOf = (settings: CommandContext['settings']): StoreChoice => parseStore(String(settings['store']))
const sqlitePath = (settings: CommandContext['settings']): string => pathsOf(dataDirOf(settings)).store
/** Tells on standard error how far a copy is, every two seconds: quick ones say nothing. */
function progress(what: string): (done: number, all: number) => void {
  let next = performance.now() + 2_000
  return (done, all) => {
    if (performance.now() < next) return
    next = performance.now() + 2_000
    console.error(`${what}: ${Math.floor((done / Math.max(1, all)) * 100)} %`)
  }
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** A server has the file open: it is asked to do it. @throws `held`, when it cannot be asked */
async function compactThroughServer(dataDir: string, held: unknown): Promise<{ before: number; after: number }> {
  const [{ adminClient }, { callJson }] = await Promise.all([import('../admin.ts'), import('../../client/mod.ts')])
  const admin = adminClient(dataDir)
  try {
    return await callJson<{ before: number; after: number }>(admin.client.transport, { method: 'POST', path: PATHS.compact })
  } catch (error) {
    throw hasCode(error, 'unavailable') || hasCode(error, 'not-found') ? held : error
  } finally {
    admin.close()
  }
}

export const storeCommands: readonly Command[] = [
  {
    name: 'store backup',
    usage: 'FILE',
    help: "copy the cluster's state to a file, while servers run",
    flags: [DATA_DIR, STORE],
    async run({ settings, args, print }) {
      const to = file(args, 'backup')
      const store = storeOf(settings)
      const { backupEtcdStore, backupSqliteStore } = await import('../../store/mod.ts')
      if (store.kind === 'sqlite') await backupSqliteStore(sqlitePath(settings), to, progress('saved'))
      else await backupEtcdStore(store.address, to, systemClock.now(), progress('saved'))
      print(`saved to ${to}; keys and certificates are beside the state, in ${pathsOf(dataDirOf(settings)).data}/server/tls: keep a copy of these too`)
    },
  },
  {
    name: 'store restore',
    usage: 'FILE',
    help: "replace the cluster's state by a backup, of whichever store; stop the servers first",
    flags: [DATA_DIR, STORE],
    async run({ settings, args, print }) {
      const from = file(args, 'restore')
      const store = storeOf(settings)
      const { restoreEtcdStore, restoreSqliteStore } = await import('../../store/mod.ts')
      if (store.kind === 'sqlite') await restoreSqliteStore(from, sqlitePath(settings), progress('restored'))
      else await restoreEtcdStore(from, store.address, systemClock.now(), progress('restored'))
      print(`restored from ${from}`)
    },
  },
  {
    name: 'store compact',
    help: 'forget history and give its room back; writes wait meanwhile, of an etcd for seconds',
    flags: [DATA_DIR, STORE],
    async run({ settings, print }) {
      const store = storeOf(settings)
      const { compactSqliteStore, openEtcdStore } = await import('../../store/mod.ts')
      if (store.kind === 'sqlite') {
        const { before, after } = await compactSqliteStore(sqlitePath(settings)).catch((error: unknown) => {
          if (!hasCode(error, 'unavailable')) throw error
          return compactThroughServer(dataDirOf(settings), error)
        })
        print(`compacted: ${mib(before)} before, ${mib(after)} now`)
        return
      }
      await using etcd = await openEtcdStore({ address: store.address })
      const { bytes: before, revision } = await etcd.stats()
      await etcd.compact(revision)
      await etcd.reclaim()
      print(`compacted: ${mib(before)} before, ${mib((await etcd.stats()).bytes)} now`)
    },
  },
  {
    name: 'store rotate-secrets-key',
    help: 'make a new key for what is encrypted; the server uses it from its next start on',
    flags: [DATA_DIR, STORE],
    async run({ settings, print }) {
      const { addKey, keyFile, keysInFile, keysInStore } = await import('../wire/secrets.ts')
      const choice = storeOf(settings)
      const told = 'start the servers again, one after the other, then `skerry store compact` to forget what older keys sealed'
      if (choice.kind === 'sqlite') {
        const path = keyFile(sqlitePath(settings))
        const { keys } = await addKey(keysInFile(path))
        print(`key ${keys[0]?.id} is the newest of ${keys.length} in ${path}; ${told}`)
        return
      }
      const { openEtcdStore } = await import('../../store/mod.ts')
      await using store = await openEtcdStore({ address: choice.address, clock: systemClock })
      const { keys } = await addKey(keysInStore(store, dataDirOf(settings)))
      print(`key ${keys[0]?.id} is the newest of ${keys.length} in the store, sealed with the cluster token; ${told}`)
    },
  },
  {
    name: 'store rotate-cluster-token',
    help: 'change the token that servers of one etcd share; those that run go on, and need a copy of the new one before they start again',
    flags: [DATA_DIR, STORE, NEW_TOKEN],
    async run({ settings, print }) {
      const choice = storeOf(settings)
      if (choice.kind === 'sqlite') throw new AppError('invalid', 'store rotate-cluster-token: only servers that share an etcd have such a token; give the --store of these. Tokens that nodes join with: `skerry token`')
      const [{ clusterTokenPath, rotateClusterToken }, { openEtcdStore }] = await Promise.all([import('../wire/cluster-token.ts'), import('../../store/mod.ts')])
      const dataDir = dataDirOf(settings)
      await using store = await openEtcdStore({ address: choice.address, clock: systemClock })
      await rotateClusterToken(dataDir, store, settings['new-token-file'] as string | undefined)
      print(`the new cluster token is in ${clusterTokenPath(dataDir)}; copy it to server/cluster-token of the other servers, which go on meanwhile, then \`skerry store compact\` to forget what the former one opens. Backups of etcd from before need the former one`)
    },
  },
  {
    name: 'store move',
    help: 'move the state of a server on SQLite to etcd, so that several servers can share it, or back (--store etcd://… --to sqlite); stop the servers first',
    flags: [DATA_DIR, STORE, TO],
    async run({ settings, print }) {
      const text = settings['to']
      if (typeof text !== 'string') throw new AppError('invalid', 'store move: name the etcd, as in `skerry store move --to etcd://10.0.0.1:2379`')
      const to = parseStore(text, 'to')
      const from = storeOf(settings)
      const path = sqlitePath(settings)
      const { moveStoreFromEtcd, moveStoreToEtcd } = await import('../../store/mod.ts')
      if (to.kind === from.kind) throw new AppError('invalid', `store move: --to "${text}" and --store "${String(settings['store'])}" are of one kind; between two etcds use backup and restore`)
      if (from.kind === 'etcd') {
        const { entries } = await moveStoreFromEtcd(from.address, path, systemClock.now(), progress('moved'))
        return print(`moved ${entries} objects to ${path}; start one server, without --store. The etcd keeps what it had`)
      }
      if (to.kind !== 'etcd') return
      const { entries } = await moveStoreToEtcd(path, to.address, systemClock.now(), progress('moved'))
      print(`moved ${entries} objects; start the server with --store "${text}". The file is kept as ${path}.moved`)
    },
  },
]
