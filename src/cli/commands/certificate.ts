/** `skerry certificate …`: the server's own certificates and keys. They are files; a running server takes up what is new by itself. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../base/errors.ts'
import { caHash, certInfo, renewAt, splitPem } from '../../base/pki.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import type { RotationRequest } from '../wire/shared-rotation.ts'

const identity = () => import('../wire/identity.ts')

/** Servers that share CA and keys change them together: asks that of the one with this data directory. False when it is alone. */
async function askAll(dataDir: string, request: RotationRequest, print: (line: string) => void): Promise<boolean> {
  if (!(await identity()).isShared(dataDir)) return false
  await (await import('../wire/shared-rotation.ts')).requestRotation(dataDir, request)
  print('Asked of all servers of this store. They do it once all that live know what is new; one that is stopped follows at its start. See: skerry certificate list')
  return true
}

export const certificateCommands: readonly Command[] = [
  {
    name: 'certificate list',
    help: "the server's certificates, until when they are good and when they are renewed",
    flags: [DATA_DIR],
    async run({ settings, print }) {
      const { tlsDir } = await identity()
      const dir = tlsDir(dataDirOf(settings))
      if (!existsSync(join(dir, 'ca.crt'))) throw new AppError('not-found', `list certificates: there are none in "${dir}": run this on the server with its --data-dir`)
      const rows = [['NAME', 'SUBJECT', 'UNTIL', 'RENEWED', 'FINGERPRINT']]
      for (const [name, file] of [['ca', 'ca.crt'], ['former ca', 'ca-former.crt'], ['next ca', 'ca-next.crt'], ['serving', 'serving.crt'], ['admin', 'admin.crt']] as const) {
        const path = join(dir, file)
        for (const pem of existsSync(path) ? splitPem(readFileSync(path, 'utf8')) : []) {
          const info = certInfo(pem)
          rows.push([name, info.cn, day(info.notAfter), info.isCa ? 'by hand' : day(renewAt(info)), caHash(pem).slice(0, 16)])
        }
      }
      const widths = rows[0]?.map((_, i) => Math.max(...rows.map((r) => (r[i] ?? '').length))) ?? []
      for (const row of rows) print(row.map((cell, i) => cell.padEnd((widths[i] ?? 0) + 2)).join('').trimEnd())
    },
  },
  {
    name: 'certificate rotate',
    help: "new keys and certificates for serving and for the administrator's kubeconfig, which is written anew",
    flags: [DATA_DIR],
    async run({ settings, print }) {
      await (await identity()).dropLeaves(dataDirOf(settings))
      print('A running server makes new ones at once and writes server/admin.kubeconfig; a stopped one at its start.')
    },
  },
  {
    name: 'certificate rotate-ca',
    help: 'a new root CA; the former stays trusted until `skerry certificate retire`',
    flags: [DATA_DIR],
    async run({ settings, print }) {
      if (await askAll(dataDirOf(settings), 'rotate-ca', print)) return
      const ca = await (await identity()).rotateCa(dataDirOf(settings))
      print(`New CA ${caHash(ca.certPem).slice(0, 16)}. Kubeconfigs, nodes and pods that know only the former one go on working: the server shows that it vouches for the new one.`)
      print('Join tokens that were printed before name the former CA: print new ones. When all nodes have renewed (8 months at most): skerry certificate retire')
    },
  },
  {
    name: 'certificate rotate-service-account-key',
    help: 'a new key that signs service-account tokens; those of former keys stay good until `skerry certificate retire`',
    flags: [DATA_DIR],
    async run({ settings, print }) {
      if (await askAll(dataDirOf(settings), 'rotate-service-account-key', print)) return
      await (await identity()).rotateServiceAccountKey(dataDirOf(settings))
      print('New tokens are signed with the new key. Those that pods hold are renewed within the hour, those in Secrets when the former key is retired.')
    },
  },
  {
    name: 'certificate retire',
    help: 'end the trust in former CAs and former service-account keys',
    flags: [DATA_DIR],
    async run({ settings, print }) {
      if (await askAll(dataDirOf(settings), 'retire', print)) return
      const { cas, keys } = await (await identity()).retireFormer(dataDirOf(settings))
      print(`No longer trusted: ${cas} former CAs, ${keys} former service-account keys.`)
    },
  },
]

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
