/** The skerry command: finds the command named, reads its settings, runs it under one signal, and turns errors into words. */
import { AppError, isAbort, messageOf } from '../base/errors.ts'
import { jsonSink, setLogSink, textSink, type Level } from '../base/log.ts'
import { helpOf, parseSettings } from './config.ts'
import { LOG_FLAGS, type Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import { keepMallocOurs } from './malloc.ts'

function usage(): string {
  return ['Skerry: Kubernetes for the edge and for the devices beside it.', '', 'Usage: skerry COMMAND [flags]', '', listOf(COMMANDS), '', 'Flags are also read from SKERRY_* and /etc/skerry/config.yaml. See: skerry COMMAND --help'].join('\n')
}

/** A line a command: its words and its help. */
function listOf(commands: readonly Command[]): string {
  const width = Math.max(...commands.map((c) => c.name.length + (c.usage?.length ?? -1) + 1))
  return commands.map((c) => `  ${`${c.name} ${c.usage ?? ''}`.padEnd(width + 2)} ${c.help}`).join('\n')
}

/** The command whose words begin `argv`, and the rest. */
function find(argv: readonly string[]): { command: Command; rest: string[] } | undefined {
  for (const words of [2, 1]) {
    const command = COMMANDS.find((c) => c.name === argv.slice(0, words).join(' '))
    if (command) return { command, rest: argv.slice(words) }
  }
  return undefined
}

async function main(argv: readonly string[]): Promise<number> {
  const found = find(argv)
  if (!found) {
    const family = COMMANDS.filter((c) => c.name.startsWith(`${argv[0]} `))
    if (family.length > 0) {
      const asked = argv[1] === '--help' || argv[1] === '-h'
      const text = listOf(family)
      if (asked) console.log(text)
      else console.error(`skerry: ${argv[1] === undefined ? `"${argv[0]}" is one of several commands` : `unknown command "${argv.slice(0, 2).join(' ')}"`}\n\n${text}`)
      return asked ? 0 : 2
    }
    if (argv.length === 0 || ['help', '--help', '-h'].includes(argv[0] ?? '')) {
      console.log(usage())
      return 0
    }
    console.error(`skerry: unknown command "${argv.slice(0, 2).join(' ')}"\n\n${usage()}`)
    return 2
  }
  const { command, rest } = found
  const flags = [...command.flags, ...LOG_FLAGS]
  if (rest.includes('--help') || rest.includes('-h')) {
    console.log(`Usage: skerry ${command.name} ${command.usage ?? ''} [flags]\n\n${command.help}\n\n${helpOf(flags)}`)
    return 0
  }
  const everyName = new Set([...COMMANDS.flatMap((c) => c.flags), ...LOG_FLAGS].map((f) => f.name))
  const { settings, positionals } = parseSettings(flags, rest, process.env, undefined, everyName)
  if (command.usage === undefined && positionals.length > 0) throw new AppError('invalid', `read flags: \`skerry ${command.name}\` takes no argument, "${positionals[0]}" was given: see skerry ${command.name} --help`)
  const level = String(settings['log-level'])
  if (!['debug', 'info', 'warn', 'error'].includes(level)) throw new AppError('invalid', `read settings: --log-level is "${level}", expected debug, info, warn or error`)
  if (!['text', 'json'].includes(String(settings['log-format']))) throw new AppError('invalid', `read settings: --log-format is "${String(settings['log-format'])}", expected text or json`)
  setLogSink(settings['log-format'] === 'json' ? jsonSink(level as Level) : textSink(level as Level))
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(130)
      stop.abort()
    })
  }
  // A reader that has seen enough (`skerry token list | head -1`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  return (await command.run({ settings, args: positionals, signal: stop.signal, print: (line) => console.log(line) })) ?? 0
}

keepMallocOurs(process.env)
try {
  process.exit(await main(process.argv.slice(2)))
} catch (error) {
  if (isAbort(error)) process.exit(130)
  console.error(`skerry: ${messageOf(error)}`)
  process.exit(1)
}
