/** `skerry token create|list|revoke`: what lets machines join. */
import { AppError } from '../../base/errors.ts'
import { caHash } from '../../base/pki.ts'
import { formatToken } from '../../tunnel/mod.ts'
import { adminClient } from '../admin.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import type { Flag } from '../config.ts'
import { createToken, listTokens, revokeToken } from '../tokens.ts'

const KUBECONFIG: Flag = { name: 'kubeconfig', type: 'string', value: 'PATH', help: "the server's admin kubeconfig (default: the one in the data directory)" }

export const tokenCommands: readonly Command[] = [
  {
    name: 'token create',
    help: 'make a token that lets a machine join; prints it',
    flags: [
      DATA_DIR,
      KUBECONFIG,
      { name: 'node', type: 'string', value: 'NAME', help: 'good for this node name only, and for one machine' },
      { name: 'ttl', type: 'string', value: 'DURATION', help: 'how long it is good for, e.g. 30m, 24h, 0 for ever', default: '24h' },
      { name: 'single-use', type: 'boolean', help: 'good for one machine of any name', default: false },
      { name: 'description', type: 'string', value: 'TEXT', help: 'shown by token list' },
    ],
    async run({ settings, print }) {
      const ttlSeconds = duration(String(settings['ttl']))
      const node = settings['node'] as string | undefined
      const admin = adminClient(dataDirOf(settings), settings['kubeconfig'] as string | undefined)
      try {
        const token = await createToken(admin.client, { node, ttlSeconds, ...(settings['single-use'] === true ? { singleUse: true } : {}), description: settings['description'] as string | undefined })
        print(formatToken({ id: token.id, secret: token.secret, caHash: caHash(admin.caPem) }))
      } finally {
        admin.close()
      }
    },
  },
  {
    name: 'token list',
    help: 'the tokens there are, without their secrets',
    flags: [DATA_DIR, KUBECONFIG],
    async run({ settings, print }) {
      const admin = adminClient(dataDirOf(settings), settings['kubeconfig'] as string | undefined)
      try {
        const rows = (await listTokens(admin.client)).map((t) => [
          t.id,
          t.expiresAtMs === undefined ? 'never' : t.expiresAtMs < Date.now() ? 'expired' : new Date(t.expiresAtMs).toISOString(),
          t.node ?? '<any>',
          t.usedBy ? `used by ${t.usedBy.node}` : t.singleUse ? 'one machine' : 'many machines',
          t.description,
        ])
        print(table([['ID', 'EXPIRES', 'NODE', 'USE', 'DESCRIPTION'], ...rows]))
      } finally {
        admin.close()
      }
    },
  },
  {
    name: 'token revoke',
    usage: 'ID',
    help: 'a token is good for nothing from now on; joined nodes stay',
    flags: [DATA_DIR, KUBECONFIG],
    async run({ settings, args, print }) {
      // The whole token works as well as its id; the secret is not looked at.
      const id = /(?:^|::)([a-z0-9]{6})(?:\.|$)/.exec(args[0] ?? '')?.[1]
      if (id === undefined) throw new AppError('invalid', `revoke token: "${args[0] ?? ''}" is no token id (6 letters or digits); see \`skerry token list\``)
      const admin = adminClient(dataDirOf(settings), settings['kubeconfig'] as string | undefined)
      try {
        await revokeToken(admin.client, id)
        print(`token ${id} revoked`)
      } finally {
        admin.close()
      }
    },
  },
]

/** Seconds of `90s`, `30m`, `24h`, `7d` or `0`. @throws AppError `invalid` */
export function duration(text: string): number {
  const m = /^(\d+)([smhd]?)$/.exec(text)
  if (!m) throw new AppError('invalid', `read duration: "${text}" is not like 90s, 30m, 24h, 7d or 0`)
  const unit = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 }[m[2] as '' | 's' | 'm' | 'h' | 'd']
  return Number(m[1]) * unit
}

/** Rows as kubectl prints them: columns three spaces apart. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((r) => (r[i] ?? '').length)))
  return rows.map((r) => r.map((c, i) => c.padEnd(widths[i] as number)).join('   ').trimEnd()).join('\n')
}
