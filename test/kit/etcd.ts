/**
 * A real etcd for tests: Debian's `etcd-server`, on loopback, with its data in a directory of its own. `tls` gives it a CA
 * and asks clients for a certificate, as a production one would. Ends with the test, also when that fails.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { hasCode } from '../../src/base/errors.ts'
import { createCa, createKeyAndCsr, issue } from '../../src/base/pki.ts'
import { EtcdClient, endOf, type EtcdAddress } from '../../src/store/etcd-client.ts'
import { until } from './until.ts'

/** Why etcd tests are skipped here, or false. */
export const noEtcd = spawnSync('etcd', ['--version']).status === 0 ? false : 'etcd is missing: apt-get install etcd-server'

/** PEM texts, and the files that hold them. */
export interface EtcdTls {
  readonly ca: string
  readonly cert: string
  readonly key: string
  readonly files: { readonly ca: string; readonly cert: string; readonly key: string; readonly server: string }
}

export class Etcd {
  readonly directory: string
  readonly port: number
  tls: EtcdTls | undefined
  readonly #flags: readonly string[]
  #child: ChildProcess | undefined
  #n = 0

  private constructor(directory: string, port: number, tls: EtcdTls | undefined, flags: readonly string[]) {
    this.directory = directory
    this.port = port
    this.tls = tls
    this.#flags = flags
  }

  /** @param port for clients, the next one is for the member itself; others are found when a run beside this one has them */
  static async start(port: number, options: { readonly tls?: boolean; readonly flags?: readonly string[] } = {}): Promise<Etcd> {
    const directory = mkdtempSync(join(tmpdir(), 'skerry-etcd-'))
    const etcd = new Etcd(directory, await freePair(port), options.tls === true ? await makeTls(directory) : undefined, options.flags ?? [])
    try {
      await etcd.up()
    } catch (error) {
      await etcd.stop()
      throw error
    }
    return etcd
  }

  get endpoint(): string {
    return `127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Where it is, with a prefix nobody has used yet. */
  address(prefix = `/t${this.#n++}/`): EtcdAddress {
    return { endpoints: [this.endpoint], prefix, tls: this.tls }
  }

  /** What a user gives as `--store`. */
  url(path = ''): string {
    const query = this.tls ? `?ca=${this.tls.files.ca}&cert=${this.tls.files.cert}&key=${this.tls.files.key}` : ''
    return `etcd://${this.endpoint}${path}${query}`
  }

  /** Starts it, or starts it again; resolves when it answers. */
  async up(): Promise<void> {
    const scheme = this.tls ? 'https' : 'http'
    const [client, peer] = [`${scheme}://${this.endpoint}`, `http://127.0.0.1:${this.port + 1}`]
    const secure = this.tls ? ['--client-cert-auth', '--trusted-ca-file', this.tls.files.ca, '--cert-file', this.tls.files.server, '--key-file', this.tls.files.key] : []
    const flags = ['--data-dir', join(this.directory, 'data'), '--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `default=${peer}`, '--logger', 'zap', '--log-level', 'error', ...secure, ...this.#flags]
    const child = spawn('etcd', flags, { stdio: 'ignore' })
    this.#child = child
    const probe = new EtcdClient(this.address('/'))
    try {
      await until('etcd answers', async () => {
        if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}`)
        return probe.call('Range', { key: Buffer.from('x') }, { timeoutMs: 1_000 }).then(() => true, (e: unknown) => hasCode(e, 'invalid')) // One with users asks who is there: an answer too.
      }, 20_000)
    } finally {
      probe.close()
    }
  }

  async down(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  /** Gives it another CA, with all that this signs, from its next start on; the files of `tls` keep their names. */
  async renewTls(): Promise<EtcdTls> {
    return (this.tls = await makeTls(this.directory))
  }

  /** Turns authentication on: `root` with password `root`, and `name` who may do all below `prefix`. */
  async addUser(name: string, password: string, prefix: string): Promise<void> {
    const client = new grpc.Client(this.endpoint, grpc.credentials.createInsecure())
    const call = (method: string, ...fields: Uint8Array[]): Promise<void> =>
      new Promise((resolve, reject) => client.makeUnaryRequest(`/etcdserverpb.Auth/${method}`, (b: Buffer) => b, (b: Buffer) => b, Buffer.concat(fields), (error) => (error ? reject(error) : resolve())))
    // Protobuf's fields with a length: number, wire type 2, length, bytes.
    const field = (n: number, value: string | Uint8Array): Buffer => Buffer.concat([Buffer.from([(n << 3) | 2, Buffer.from(value).length]), Buffer.from(value)])
    try {
      for (const [user, word] of [['root', 'root'], [name, password]] as const) {
        await call('UserAdd', field(1, user), field(2, word))
        await call('RoleAdd', field(1, user))
        await call('UserGrantRole', field(1, user), field(2, user))
      }
      const key = Buffer.from(prefix)
      await call('RoleGrantPermission', field(1, name), field(2, Buffer.concat([Buffer.from([0x08, 2]), field(2, key), field(3, endOf(key))])))
      await call('AuthEnable')
    } finally {
      client.close()
    }
  }

  /** Freezes it, as a disk or a machine that hangs does; {@link thaw} ends that. */
  async freeze(): Promise<void> {
    this.#child?.kill('SIGSTOP')
    // Its threads stop one after the other; until the last has, a call may still be answered.
    const states = (): string[] => readdirSync(`/proc/${this.pid}/task`).map((t) => /^State:\t(.)/m.exec(readFileSync(`/proc/${this.pid}/task/${t}/status`, 'utf8'))?.[1] ?? '')
    await until('all its threads stand still', () => states().every((s) => s === 'T'))
  }

  thaw(): void {
    this.#child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    await this.down()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** `port` if it and the next one are free, else another such. */
async function freePair(port: number): Promise<number> {
  const listens = (at: number): Promise<number> =>
    new Promise((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(0))
      server.listen(at, '127.0.0.1', () => {
        const taken = (server.address() as AddressInfo).port
        server.close(() => resolve(taken))
      })
    })
  for (let first = port; ; first = await listens(0)) if ((await listens(first)) !== 0 && (await listens(first + 1)) !== 0) return first
}

async function makeTls(directory: string): Promise<EtcdTls> {
  const ca = await createCa({ cn: 'etcd-ca', years: 1 })
  const { keyPem, csrPem } = await createKeyAndCsr({ cn: 'skerry' })
  const certPem = await issue({ ca, csrPem, cn: 'skerry', o: [], sans: { dns: ['localhost'], ip: ['127.0.0.1'] }, usage: 'server', days: 1 })
  const client = await issue({ ca, csrPem, cn: 'skerry', o: [], usage: 'client', days: 1 })
  const file = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text, { mode: 0o600 })
    return join(directory, name)
  }
  return { ca: ca.certPem, cert: client, key: keyPem, files: { ca: file('ca.crt', ca.certPem), cert: file('client.crt', client), key: file('client.key', keyPem), server: file('server.crt', certPem) } }
}
