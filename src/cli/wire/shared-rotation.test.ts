import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { caHash, isSignedBy, splitPem } from '../../base/pki.ts'
import { MemoryRecords } from '../../../test/kit/records.ts'
import { loadServerIdentity, type ServerIdentity } from './identity.ts'
import { clusterTokenPath } from './cluster-token.ts'
import { shareIdentity } from './shared-identity.ts'
import { digestOf, requestRotation, rotateShared, type RotationRequest } from './shared-rotation.ts'

const former = setLogSink(() => undefined)
const root = mkdtempSync(join(tmpdir(), 'skerry-shared-rotation-'))
after(() => {
  setLogSink(former)
  rmSync(root, { recursive: true })
})

/** Servers on one set of records, each step of which a test takes by itself. */
class Servers {
  readonly #at: string
  readonly #identities = new Map<string, ServerIdentity>()
  readonly records = new MemoryRecords()

  constructor(name: string) {
    this.#at = join(root, name)
  }

  dir(name: string): string {
    return join(this.#at, name)
  }

  identity(name: string): ServerIdentity {
    return this.#identities.get(name) as ServerIdentity
  }

  async start(name: string, ...from: string[]): Promise<void> {
    await shareIdentity(this.dir(name), this.records, from[0] === undefined ? undefined : clusterTokenPath(this.dir(from[0])))
    await this.#load(name)
  }

  stop(name: string): void {
    this.#identities.delete(name)
  }

  ask(name: string, request: RotationRequest): Promise<void> {
    return requestRotation(this.dir(name), request)
  }

  /** What the server does when it looks; and then no living server may give out what another one does not take. */
  async look(name: string): Promise<boolean> {
    const others = (): string[] => [...this.#identities].filter(([other]) => other !== name).map(([, identity]) => digestOf(identity))
    const again = await rotateShared({ dataDir: this.dir(name), records: this.records, current: () => this.identity(name), others })
    await this.#load(name)
    for (const one of this.#identities.values()) {
      for (const other of this.#identities.values()) {
        for (const { certPem } of [one.admin, one.serving]) assert.ok(splitPem(other.caBundle).some((ca) => isSignedBy(certPem, ca)), 'certificates of one are good at the other')
        const { publicKeyPem, formerPublicKeysPem } = other.serviceAccount
        assert.ok([publicKeyPem, ...formerPublicKeysPem].includes(one.serviceAccount.publicKeyPem), 'tokens of one are good at the other')
      }
    }
    return again
  }

  async #load(name: string): Promise<void> {
    this.#identities.set(name, await loadServerIdentity(this.dir(name), { dns: ['localhost'], ip: [] }))
  }
}

const heads = (s: Servers, ...names: string[]): [string, string][] => names.map((name) => [caHash(s.identity(name).ca.certPem), s.identity(name).serviceAccount.publicKeyPem])

test('what is next signs once all living servers trust it, whatever the order in which they look', async () => {
  const s = new Servers('order')
  await s.start('a')
  await s.start('b', 'a')
  await s.start('c', 'a')
  const [before] = heads(s, 'a')
  await s.ask('a', 'rotate-ca')
  await s.ask('b', 'rotate-service-account-key')
  assert.equal(await s.look('a'), true)
  for (let i = 0; i < 4; i++) assert.equal(await s.look(i % 2 === 0 ? 'a' : 'b'), true, 'the third one has not been heard')
  assert.deepEqual(heads(s, 'a', 'b', 'c'), [before, before, before])
  await s.look('c')
  const rounds: boolean[] = []
  for (const name of ['b', 'a', 'c']) rounds.push(await s.look(name))
  const [one, two, three] = heads(s, 'a', 'b', 'c')
  assert.deepEqual([two, three, rounds.at(-1)], [one, one, false])
  assert.ok(one && before && one[0] !== before[0] && one[1] !== before[1], 'both are new')
  assert.equal(splitPem(s.identity('a').caBundle).length, 2)
  assert.equal(splitPem(s.identity('a').serving.certPem).length, 2, 'the former CA vouches for the new one')
  const { ca } = s.identity('b')
  assert.ok(isSignedBy(s.identity('b').admin.certPem, ca.certPem))
})

test('one server is enough to rotate, and one that was away for all of it finds its cluster again', async () => {
  const s = new Servers('away')
  await s.start('a')
  await s.start('b', 'a')
  s.stop('b')
  for (let i = 0; i < 2; i++) {
    await s.ask('a', 'rotate-ca')
    while (await s.look('a'));
    await s.ask('a', 'retire')
    await s.look('a')
  }
  assert.equal(splitPem(s.identity('a').caBundle).length, 1, 'nothing of before counts')
  // Broken off while the files were written.
  writeFileSync(join(s.dir('b'), 'server/tls/ca.key'), readFileSync(join(s.dir('a'), 'server/tls/ca.key')))
  await s.start('b')
  assert.deepEqual(heads(s, 'b'), heads(s, 'a'))
  assert.equal(await s.look('b'), false)
  const stranger = new Servers('stranger')
  await stranger.start('x')
  writeFileSync(clusterTokenPath(stranger.dir('x')), readFileSync(clusterTokenPath(s.dir('a'))))
  await assert.rejects(shareIdentity(stranger.dir('x'), s.records, undefined), /holds the CA of another cluster/)
})
