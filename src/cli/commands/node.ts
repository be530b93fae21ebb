/** `skerry node approve|revoke|paths`: identities of machines. */
import { AppError } from '../../base/errors.ts'
import { adminClient } from '../admin.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import { pathsOf } from '../paths.ts'
import { approveNode, revokeNode } from '../tokens.ts'

function change(name: string, help: string, done: string, act: typeof approveNode): Command {
  return {
    name,
    usage: 'NAME',
    help,
    flags: [DATA_DIR, { name: 'kubeconfig', type: 'string', value: 'PATH', help: "the server's admin kubeconfig" }],
    async run({ settings, args, print }) {
      const node = args[0]
      if (node === undefined) throw new AppError('invalid', `${name}: name the node, as in \`skerry ${name} gw-4\``)
      const admin = adminClient(dataDirOf(settings), settings['kubeconfig'] as string | undefined)
      try {
        await act(admin.client, node)
        print(`node ${node} ${done}`)
      } finally {
        admin.close()
      }
    },
  }
}

export const nodeCommands: readonly Command[] = [
  change('node approve', 'let the next machine that asks for this name have it (a re-imaged or replaced one)', 'approved: the next machine that joins with a token under this name gets it', approveNode),
  change('node revoke', "refuse a node's identity from now on", 'revoked', revokeNode),
  {
    name: 'node paths',
    help: 'where this instance keeps its things',
    flags: [DATA_DIR],
    async run({ settings, print }) {
      for (const [k, v] of Object.entries(pathsOf(dataDirOf(settings)))) print(`${k}: ${v}`)
    },
  },
]
