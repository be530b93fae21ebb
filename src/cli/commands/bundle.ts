/** `skerry bundle`: this program as one file, for machines that are installed without a line to a server. */
import { resolve } from 'node:path'
import { AppError } from '../../base/errors.ts'
import type { Command } from '../command.ts'

export const bundleCommand: Command = {
  name: 'bundle',
  usage: 'FILE',
  help: 'write this program as one archive, which install.sh takes as INSTALL_SKERRY_TARBALL',
  flags: [{ name: 'arch', type: 'string', value: 'ARCH', help: "x64 or arm64 (default: this machine's)" }],
  async run({ settings, args, print }) {
    const file = args[0]
    if (file === undefined || args.length > 1) throw new AppError('invalid', 'bundle: name one file, as in `skerry bundle skerry.tar.gz`')
    const { writeBundle } = await import('../wire/install.ts')
    await writeBundle(resolve(file), (settings['arch'] as string | undefined) ?? process.arch)
    print(`wrote ${file}`)
  },
}
