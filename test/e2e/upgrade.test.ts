/**
 * An installed node follows its server's version when it is asked to, while its pods run on; a version that ends, or that does not find
 * the server, makes way for the one before; and whoever is killed on the way starts again. A loop of sh stands for systemd.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Node, Pod } from '../../src/api/gen/types.ts'
import { ROOT, sourceFiles } from '../../tools/files.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, ran, Site } from './site.ts'

const NODE = 'up-1'
const TRIAL_S = 10

describe('a node that follows its server’s version', { skip: cannotRunContainers() }, () => {
  let site: Site
  let containers = ''
  const place = (what: string): string => join(site.dir, 'machine', what)
  const program = (what: string): string => join(site.dir, 'server-program', what)
  const note = async (name: string): Promise<string | undefined> => (await site.get<Node>('node', NODE)).metadata?.annotations?.[`skerry.io/${name}`]
  const annotate = (value: string): Promise<string> => site.kubectl('annotate', '--overwrite', 'node', NODE, value)
  const containerOf = async (): Promise<string> => JSON.stringify((await site.get<{ items: Pod[] }>('pods')).items.map((p) => p.status?.containerStatuses?.map((c) => [c.containerID, c.restartCount])))
  const current = (): string => readlinkSync(place('lib/current'))

  async function startServer(): Promise<void> {
    // What is packed for nodes need not be small here, but soon.
    site.start('server', site.lab.server, program('bin/skerry'), ['server', '--data-dir', site.data('server'), '--bind-address', site.lab.server.address, '--no-agent'], { ...process.env, GZIP: '-1' })
    await site.serverReady()
  }

  /** The server comes back with another program, in which `code` runs first. */
  async function serve(code: string): Promise<void> {
    assert.equal(await site.kill('server', 'SIGTERM'), 0)
    const main = program('dist/skerry.mjs')
    const text = readFileSync(main, 'utf8').replace(/^\/\* version \*\/.*\n/, '')
    writeFileSync(main, `/* version */ ${code}\n${text}`)
    await startServer()
  }

  before(async () => {
    const made = existsSync(join(ROOT, 'dist/skerry.mjs')) ? statSync(join(ROOT, 'dist/skerry.mjs')).mtimeMs : 0
    if (sourceFiles(['src']).some((f) => statSync(join(ROOT, f)).mtimeMs > made)) assert.equal((await ran(process.execPath, ['tools/bundle.ts'])).code, 0)
    site = await Site.create('upgrade', [NODE])
    const bundle = join(site.dir, 'skerry.tar.gz')
    await site.skerry('bundle', bundle)
    mkdirSync(program(''), { recursive: true })
    assert.equal((await ran('tar', ['-xzf', bundle, '-C', program('')])).code, 0)
    site.remember(site.data(NODE), site.lab.host(NODE))
    await startServer()
    const env = {
      PATH: process.env['PATH'],
      SKERRY_URL: site.url,
      SKERRY_TOKEN: (await site.skerry('token', 'create', '--node', NODE)).trim(),
      SKERRY_NODE_NAME: NODE,
      SKERRY_DATA_DIR: site.data(NODE),
      SKERRY_UPGRADE_TRIAL: String(TRIAL_S),
      INSTALL_SKERRY_DIR: place('lib'),
      INSTALL_SKERRY_BIN_DIR: place('bin'),
      INSTALL_SKERRY_ETC_DIR: place('etc'),
      INSTALL_SKERRY_SKIP_START: 'true',
    }
    const installed = await site.on(NODE, 'sh', ['-c', 'curl -sfk "$SKERRY_URL/install.sh" | sh -'], env)
    assert.equal(installed.code, 0, installed.err)
    const service = `set -a; . ${place('etc/agent.env')}; SKERRY_RESTARTED_BY=loop; set +a; while :; do ${place('bin/skerry')} agent; sleep 0.3; done`
    site.start(NODE, site.lab.host(NODE), 'sh', ['-c', service], { PATH: process.env['PATH'] })
    await site.nodeReady(NODE)
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'keeper', `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`))
    await site.apply(`{apiVersion: v1, kind: Pod, metadata: {name: keeper}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: keeper}]}}`)
    await site.kubectl('wait', '--for=condition=Ready', 'pod/keeper', '--timeout=60s')
    containers = await containerOf()
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('nothing happens unasked; what is asked wrongly is told', async () => {
    assert.equal(current(), 'a')
    await eventually('the release on the node', async () => /^\d+\.\d+\.\d+\S*\+[0-9a-f]{12}$/.test((await note('release')) ?? ''))
    await serve('// the second')
    await annotate('skerry.io/upgrade=latest')
    await eventually('the mistake to be told', async () => /"latest" is not "server"/.test((await note('upgrade-failed')) ?? ''), 60_000)
    assert.equal(current(), 'a')
  })

  test('killed at any moment it comes to the server’s version all the same, and its pods run on', async (t) => {
    const first = await note('release')
    await annotate('skerry.io/upgrade=server')
    let kills = 0
    for (const ms of [300, 900, 1_600, 2_400]) {
      await sleep(ms)
      if (current() === 'b' && !existsSync(place('lib/trial'))) break
      const pid = Number((existsSync(join(site.data(NODE), 'agent/lock')) ? readFileSync(join(site.data(NODE), 'agent/lock'), 'utf8') : '').split(' ')[0])
      if (pid > 1) {
        process.kill(pid, 'SIGKILL')
        kills++
      }
    }
    await eventually('the second version to have proved itself', async () => current() === 'b' && !existsSync(place('lib/trial')) && (await note('release')) !== first && (await note('upgrade-failed')) === undefined, 120_000)
    t.diagnostic(`killed ${kills} times on the way`)
    await site.nodeReady(NODE)
    assert.match(await site.kubectl('get', 'events', '-A', '--field-selector', 'reason=UpgradeConfirmed'), /linked to its server, node Ready/)
    assert.equal(await containerOf(), containers)
  })

  test('a version that ends at once makes way for the one before, and is not tried again', async () => {
    const second = await note('release')
    await serve("if (process.argv[2] === 'agent') process.exit(3)")
    await eventually('the reason', async () => /was given up: it ended three times before it had proved itself/.test((await note('upgrade-failed')) ?? ''), 120_000)
    assert.equal(current(), 'b')
    assert.equal(await note('release'), second)
    await site.nodeReady(NODE)
    assert.equal(await containerOf(), containers)
  })

  test('a version that finds no server makes way too, and pods run on meanwhile', async () => {
    await serve("import tls from 'node:tls'; import { syncBuiltinESMExports as sync } from 'node:module'; if (process.argv[2] === 'agent') { tls.connect = () => { throw new Error('broken') }; sync() }")
    await eventually('the reason', async () => /it did not prove itself within 10 s: it never had a link to its server; it is tried again an hour later/.test((await note('upgrade-failed')) ?? ''), 120_000)
    assert.equal(current(), 'b')
    await site.nodeReady(NODE)
    assert.equal(await containerOf(), containers)
    assert.equal((await site.kubectl('exec', 'keeper', '--', 'echo', 'here')).trim(), 'here')
  })
})
