/** All commands there are, in the order of help. Used by main and by what writes the reference. */
import type { Command } from './command.ts'
import { agentCommand, shutdownCommand } from './commands/agent.ts'
import { drillCommand } from './commands/drill.ts'
import { bundleCommand } from './commands/bundle.ts'
import { certificateCommands } from './commands/certificate.ts'
import { deviceCommands } from './commands/device.ts'
import { imageCommands } from './commands/image.ts'
import { nodeCommands } from './commands/node.ts'
import { serverCommand } from './commands/server.ts'
import { storeCommands } from './commands/store.ts'
import { tokenCommands } from './commands/token.ts'
import { versionText } from './version.ts'

/** Every command of the program, each with its flags. */
export const COMMANDS: readonly Command[] = [
  serverCommand,
  agentCommand,
  drillCommand,
  shutdownCommand,
  ...tokenCommands,
  ...imageCommands,
  ...nodeCommands,
  ...deviceCommands,
  ...storeCommands,
  ...certificateCommands,
  bundleCommand,
  { name: 'version', help: 'what this is', flags: [], run: async ({ print }) => print(versionText()) },
]
