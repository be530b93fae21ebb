/**
 * `registries.yaml` of a node: found beside the settings file or in the data directory, read again when it changes, given to containerd.
 * A file with a mistake is told in the log and on the Node, and changes nothing: pods run, and pulls go on as before.
 */
import { readFileSync, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { hostsOf, NO_REGISTRIES, parseRegistries, type Registries } from '../../agent/mod.ts'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { Rewriter, type ProxyEnv, type RewriteTarget } from '../../images/mod.ts'

const log = logger('agent.registries')
/** Looked at after this also when nothing was told: a directory that is not there yet cannot be watched, and certificates are renewed. */
const LOOK_MS = 60_000
/** Several writes to a file gather this long, ms. */
const GATHER_MS = 200

/** The registries of one node. */
export class NodeRegistries {
  readonly #files: readonly string[]
  #text: string | undefined
  current: Registries = NO_REGISTRIES
  /** Why the file as it is now is not in use. */
  fault: string | undefined
  readonly rewriter: Rewriter

  /** @param env with the proxy variables for endpoints that the agent asks itself */
  constructor(files: readonly string[], env: ProxyEnv = {}) {
    this.#files = files
    this.rewriter = new Rewriter((key) => this.#target(key), env)
    this.look()
  }

  /** Reads the file; whether there is something new. */
  look(): boolean {
    for (const file of this.#files) {
      let text: string
      try {
        text = readFileSync(file, 'utf8')
      } catch (error) {
        if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) continue
        const fault = `read registries: "${file}" cannot be read (${messageOf(error)}): pulls go on as before`
        if (fault !== this.fault) log.error('registries not read', { file, why: messageOf(error) })
        this.fault = fault
        return false
      }
      if (text === this.#text) {
        this.fault = undefined
        return false
      }
      try {
        this.current = parseRegistries(text, file)
        this.#text = text
        this.fault = undefined
        log.info('registries read', { file, mirrors: [...this.current.mirrors.keys()], configs: [...this.current.configs.keys()] })
        return true
      } catch (error) {
        // Not kept as read: a file it names may appear.
        this.#text = undefined
        const fault = `${messageOf(error)}; until then pulls go on as before`
        if (fault !== this.fault) log.error('registries not taken up, pulls go on as before', { why: messageOf(error) })
        this.fault = fault
        return false
      }
    }
    const had = this.current !== NO_REGISTRIES
    this.#text = undefined
    this.fault = undefined
    this.current = NO_REGISTRIES
    return had
  }

  /** Watches until the signal aborts. */
  async run(take: (registries: Registries) => Promise<void>, clock: Clock, signal: AbortSignal): Promise<void> {
    let wake = new AbortController()
    for (const file of this.#files) {
      try {
        const watcher = watch(dirname(file), { signal }, (_, name) => {
          if (name === basename(file)) wake.abort()
        })
        watcher.on('error', () => {}) // Read every minute anyway.
      } catch {
        // The directory is not there: the same.
      }
    }
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, AbortSignal.any([signal, wake.signal])).catch(() => undefined)
      if (wake.signal.aborted) await clock.sleep(GATHER_MS, signal).catch(() => undefined)
      wake = new AbortController()
      if (!signal.aborted && this.look()) await take(this.current).catch((error: unknown) => log.error('registries not given to containerd', { why: messageOf(error) }))
    }
  }

  #target(key: string): RewriteTarget | undefined {
    const at = key.lastIndexOf('_')
    const mirror = this.current.mirrors.get(hostsOf(key.slice(0, at)))
    const endpoint = mirror?.endpoints[Number(key.slice(at + 1))]
    if (!mirror || !endpoint) return undefined
    const { login, tls } = this.current.configs.get(endpoint.host) ?? {}
    const [user, ...rest] = login?.auth === undefined ? [login?.username, login?.password ?? ''] : Buffer.from(login.auth, 'base64').toString('utf8').split(':')
    return {
      endpoint,
      rename(name) {
        for (const { pattern, to } of mirror.rewrites) {
          const other = name.replace(pattern, to)
          if (other !== name) return other
        }
        return name
      },
      login: user === undefined ? undefined : { username: user, password: rest.join(':') },
      tls: tls && {
        ...(tls.caFile !== undefined && { ca: readFileSync(tls.caFile) }),
        ...(tls.certFile !== undefined && { cert: readFileSync(tls.certFile) }),
        ...(tls.keyFile !== undefined && { key: readFileSync(tls.keyFile) }),
        rejectUnauthorized: !tls.insecureSkipVerify,
      },
    }
  }
}
