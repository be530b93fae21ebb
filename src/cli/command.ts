/** What a command is: its words, flags and help in one place; `main.ts` lists them all. */
import type { Flag, Settings } from './config.ts'
import { DEFAULT_DATA_DIR } from './paths.ts'

export interface CommandContext {
  readonly settings: Settings
  /** What stands behind the command's own words. */
  readonly args: readonly string[]
  /** Aborts on SIGINT and SIGTERM; a second signal ends the process at once. */
  readonly signal: AbortSignal
  /** Prints a line of result on standard output. */
  print(line: string): void
}

export interface Command {
  /** e.g. `token create` */
  readonly name: string
  /** Arguments behind the words, for help, e.g. `ID`. */
  readonly usage?: string
  readonly help: string
  readonly flags: readonly Flag[]
  /** @returns the exit code, 0 when void */
  run(context: CommandContext): Promise<number | void>
}

export const DATA_DIR: Flag = { name: 'data-dir', type: 'string', value: 'PATH', help: 'where all state is kept', default: DEFAULT_DATA_DIR }
export const LOG_FLAGS: readonly Flag[] = [
  { name: 'log-level', type: 'string', value: 'LEVEL', help: 'debug, info, warn or error', default: 'info' },
  { name: 'log-format', type: 'string', value: 'FORMAT', help: 'text or json', default: 'text' },
]

/** The data directory of a parsed command. */
export function dataDirOf(settings: Settings): string {
  return String(settings['data-dir'] ?? DEFAULT_DATA_DIR)
}
