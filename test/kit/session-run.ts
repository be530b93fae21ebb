/**
 * Runs sessions (`session.ts`) with the real clients in `dist/clients`: each in a shell with a directory and a client cache
 * of its own. With `SKERRY_SESSION=write` the text is written anew with what was printed, to be judged by a person.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { ROOT } from '../../tools/files.ts'
import { alike, difference, expectationFor, matches, parseSession, rewriteSession, type Result, type Session } from './session.ts'

const CLIENTS = join(ROOT, 'dist/clients')
/** Real clients by version of kubectl; the first one's output is the one that files show. */
export const KUBECTLS: Readonly<Record<string, string>> = { '1.35': 'kubectl', '1.33': 'kubectl-1.33', '1.31': 'kubectl-1.31' }
export const HELMS: Readonly<Record<string, string>> = { '4.1': 'helm', '3.17': 'helm-3' }
/** Why sessions cannot run here, for a test's `skip`; false when they can. */
export const noClients = (files: readonly string[] = Object.values(KUBECTLS)): string | false =>
  files.every((f) => existsSync(join(CLIENTS, f))) ? false : `not all of ${files.join(', ')} in dist/clients: run script/bootstrap --tests`

const COMMAND_MS = 60_000
const RETRY_MS = 10_000

export interface SessionRun {
  readonly session: Session
  /** Text of the kubeconfig. */
  readonly kubeconfig: string
  readonly version: string
  /** Programs of `dist/clients` by the name the session calls them. @default kubectl of that version */
  readonly clients?: Readonly<Record<string, string>>
  readonly env?: Readonly<Record<string, string>>
  /** Put before the command line, e.g. to enter a network namespace. */
  readonly enter?: readonly string[]
  /** In update mode nothing is wrong. */
  readonly update?: boolean
}

export interface Played {
  /** What each step printed; undefined for those that are not for this client. */
  readonly results: readonly (Result | undefined)[]
  /** What is not as expected, all of it, so that one run tells everything. */
  readonly faults: readonly string[]
  /** Known gaps that are still there. */
  readonly gaps: readonly string[]
  /** Gaps that are none any more: their mark can go. */
  readonly closed: readonly string[]
}

/** Runs every step. */
export async function runSession(run: SessionRun): Promise<Played> {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-session-'))
  try {
    const bin = join(dir, 'bin')
    const work = join(dir, 'work')
    await mkdir(bin)
    await mkdir(work)
    for (const [name, file] of Object.entries(run.clients ?? { kubectl: KUBECTLS[run.version] as string })) await symlink(join(CLIENTS, file), join(bin, name))
    await writeFile(join(dir, 'config'), run.kubeconfig, { mode: 0o600 })
    // Short runs: collecting garbage would be a quarter of a client's CPU time.
    const env = { HOME: dir, KUBECONFIG: join(dir, 'config'), PATH: `${bin}:/usr/local/bin:/usr/bin:/bin`, TZ: 'UTC', LANG: 'C', GOGC: 'off', TMPDIR: work, ...run.env }
    const results: (Result | undefined)[] = []
    const faults: string[] = []
    const gaps: string[] = []
    const closed: string[] = []
    for (const step of run.session.steps) {
      if (step.only && !step.only.includes(run.version)) {
        results.push(undefined)
        continue
      }
      const expected = expectationFor(step, run.version)
      let got = await shell(step.command, { dir, work, env, enter: run.enter ?? [] })
      const fits = (): boolean => got.code === expected.code && matches(expected.lines, got.lines)
      // In update mode a step without an expectation has nothing to wait for.
      const patience = step.retry && !(run.update === true && expected.lines.length === 0) ? RETRY_MS : 0
      for (const end = performance.now() + patience; !fits() && performance.now() < end; ) {
        await pause(100)
        got = await shell(step.command, { dir, work, env, enter: run.enter ?? [] })
      }
      results.push(got)
      if (step.gap !== undefined) (fits() ? closed : gaps).push(`line ${step.line}: ${step.gap}`)
      else if (!fits()) faults.push(`line ${step.line}: ${step.command.split('\n')[0]}\n${difference(expected, got.lines, got.code)}`)
    }
    return { results, faults, gaps, closed }
  } finally {
    await rm(dir, { recursive: true, force: true, maxRetries: 3 })
  }
}

interface Place {
  readonly dir: string
  readonly work: string
  readonly env: NodeJS.ProcessEnv
  readonly enter: readonly string[]
}

function shell(command: string, place: Place): Promise<Result> {
  return new Promise((resolve) => {
    const [program = 'sh', ...args] = [...place.enter, 'sh', '-c', `exec 2>&1 </dev/null\n${command}`]
    execFile(program, args, { cwd: place.work, env: place.env, maxBuffer: 16 << 20, timeout: COMMAND_MS, killSignal: 'SIGKILL' }, (error, out) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 255
      resolve({ lines: alike(`${out}${error?.killed === true ? `\n(killed after ${COMMAND_MS} ms)` : ''}`.replaceAll(place.work, '<dir>').replaceAll(place.dir, '<home>')), code })
    })
  })
}

/** How a test gets a cluster for one run of a session; `close` ends it. */
export type Prepare = (session: Session, version: string) => Promise<Omit<SessionRun, 'session' | 'version'> & { readonly close: () => PromiseLike<void> }>

/** Runs a file with each version, one after the other, each on a cluster of its own. @throws with everything that is not as expected */
export async function playFile(path: string, versions: readonly string[], prepare: Prepare, tell: (text: string) => void = () => undefined): Promise<void> {
  const session = parseSession(await readFile(path, 'utf8'))
  const update = process.env['SKERRY_SESSION'] === 'write'
  const results = new Map<string, readonly (Result | undefined)[]>()
  const faults: string[] = []
  for (const version of versions) {
    const { close, ...parts } = await prepare(session, version)
    try {
      const played = await runSession({ ...parts, session, version, update })
      results.set(version, played.results)
      for (const g of played.gaps) tell(`client ${version}, known gap, ${g}`)
      for (const g of played.closed) tell(`client ${version}, closed gap, its @gap line can go, ${g}`)
      faults.push(...played.faults.map((f) => `client ${version}, ${f}`))
    } finally {
      await close()
    }
  }
  if (update) return await writeFile(path, rewriteSession(session, results))
  assert.equal(faults.length, 0, `${faults.length} steps of ${path} are not as expected\n${faults.join('\n')}`)
}
