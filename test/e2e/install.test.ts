/**
 * A machine joins as a new user does it, with `curl … | sh -`, and leaves again with killall and uninstall: these remove all
 * that is theirs and nothing else.
 */
import assert from 'node:assert/strict'
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Node, Pod } from '../../src/api/gen/types.ts'
import { caHash, createCa, createKey, issue } from '../../src/base/pki.ts'
import { ROOT, sourceFiles } from '../../tools/files.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, KUBECTL, leftovers, ran, Site, type Ran } from './site.ts'

describe('joining with curl and sh', { skip: cannotRunContainers() }, () => {
  let site: Site
  let nodeToken: string
  const place = (host: string, what: string): string => join(site.dir, 'machines', host, what)
  const settings = (host: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
    PATH: process.env['PATH'],
    SKERRY_URL: site.url,
    SKERRY_NODE_NAME: host,
    SKERRY_DATA_DIR: site.data(host),
    INSTALL_SKERRY_DIR: place(host, 'lib/skerry'),
    INSTALL_SKERRY_BIN_DIR: place(host, 'bin'),
    INSTALL_SKERRY_ETC_DIR: place(host, 'etc'),
    ...more,
  })
  const install = (host: string, more: NodeJS.ProcessEnv = {}): Promise<Ran> => {
    const env = settings(host, more)
    return site.on(host, 'sh', ['-c', 'curl -sfk "$SKERRY_URL/install.sh" | sh -'], env)
  }
  const container = async (pod: string): Promise<string | undefined> => (await site.get<Pod>('pod', pod)).status?.containerStatuses?.[0]?.containerID

  before(async () => {
    // The server hands out the bundle: it has to be of these sources.
    const made = existsSync(join(ROOT, 'dist/skerry.mjs')) ? statSync(join(ROOT, 'dist/skerry.mjs')).mtimeMs : 0
    if (sourceFiles(['src']).some((f) => statSync(join(ROOT, f)).mtimeMs > made)) assert.equal((await ran(process.execPath, ['tools/bundle.ts'])).code, 0)
    site = await Site.create('install', ['n1', 'n2'])
    for (const n of ['n1', 'n2']) site.remember(site.data(n), site.lab.host(n))
    await site.startServer()
    // It is written after the kubeconfig that tells that the server answers.
    const tokenFile = join(site.data('server'), 'server/node-token')
    await eventually('the node token', () => existsSync(tokenFile))
    nodeToken = readFileSync(tokenFile, 'utf8').trim()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'tools:v1', `trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done`))
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('somebody in between with a CA of his own gets no token and nothing is installed', async () => {
    const ca = await createCa({ cn: 'impostor', years: 1 })
    const key = await createKey()
    const gateway = site.lab.host('n1').address.replace(/2$/, '1')
    const cert = await issue({ ca, publicKeyPem: key.publicKeyPem, cn: 'impostor', sans: { ip: [gateway] }, usage: 'server', days: 1 })
    const heard: string[] = []
    const impostor = createServer({ key: key.keyPem, cert }, (req, res) => {
      req.on('data', (d: Buffer) => heard.push(d.toString()))
      heard.push(`${req.method} ${req.url} ${JSON.stringify(req.headers)}`)
      res.end(req.url === '/install.sh' ? readFileSync(join(ROOT, 'script/install.sh')) : req.url === '/skerry/v1/cacerts' ? ca.certPem : 'gotcha')
    })
    await new Promise<void>((resolve) => impostor.listen(7605, gateway, resolve))
    try {
      const r = await install('n1', { SKERRY_URL: `https://${gateway}:7605`, SKERRY_TOKEN: nodeToken })
      assert.equal(r.code, 1)
      assert.ok(r.err.includes(`has CA ${caHash(ca.certPem)}, the token was made for ${nodeToken.slice(3, 67)}: wrong address, or someone in between`), r.err)
      assert.deepEqual(heard.map((h) => h.split(' ').slice(0, 2).join(' ')), ['GET /install.sh', 'GET /skerry/v1/cacerts'])
      assert.ok(!heard.join().includes(nodeToken.split('.')[1] as string))
      for (const what of ['lib', 'bin', 'etc']) assert.ok(!existsSync(place('n1', what)), what)
      assert.ok(!existsSync(site.data('n1')))
    } finally {
      await new Promise((resolve) => {
        impostor.close(resolve)
        impostor.closeAllConnections()
      })
    }
  })

  test('the server\'s node-token file joins a machine; its settings and odd characters are kept', async () => {
    mkdirSync(place('n1', 'etc'), { recursive: true })
    mkdirSync(place('n1', 'bin'), { recursive: true })
    writeFileSync(place('n1', 'etc/other.conf'), 'not ours')
    writeFileSync(place('n1', 'bin/skerry-other'), 'not ours')
    const odd = 'a "b" $c `d` \\e'
    const r = await install('n1', { SKERRY_TOKEN: nodeToken, SKERRY_NODE_LABEL: 'device=camera,place=north', SKERRY_ODD: odd })
    assert.equal(r.code, 0, r.err)
    await site.nodeReady('n1')
    const node = await site.get<Node>('node', 'n1')
    assert.equal(node.metadata?.labels?.['device'], 'camera')
    assert.equal(node.metadata?.labels?.['place'], 'north')
    assert.equal(statSync(place('n1', 'etc/agent.env')).mode & 0o777, 0o600, 'it holds the token')
    const back = await ran('sh', ['-c', '. "$0"; printf %s "$SKERRY_ODD"', place('n1', 'etc/agent.env')], { env: {} })
    assert.equal(back.out, odd)
    assert.match((await site.on('n1', place('n1', 'bin/skerry'), ['version'])).out, /^skerry \d/)
    assert.match(readlinkSync(place('n1', 'bin/skerry')), /lib\/skerry\/start$/)
    assert.equal(readlinkSync(place('n1', 'lib/skerry/current')), 'a')
    assert.ok(!existsSync('/etc/skerry/agent.env') || statSync('/etc/skerry/agent.env').mtimeMs < Date.now() - 60_000, 'nothing outside the directories that were given')
  })

  test('a token made for one node joins a second machine', async () => {
    const r = await install('n2', { SKERRY_TOKEN: (await site.skerry('token', 'create', '--node', 'n2')).trim() })
    assert.equal(r.code, 0, r.err)
    await site.nodeReady('n2')
    await site.apply(['n1', 'n2'].map((n) => pod(n)).join('---'))
    await site.kubectl('wait', '--for=condition=Ready', 'pod/on-n1', 'pod/on-n2', '--timeout=40s')
  })

  test('installed again, without a token, it goes to the other place while pods run on', async () => {
    const before = await container('on-n1')
    await site.kubectl('get', 'node', 'n1')
    const pid = readFileSync(join(site.data('n1'), 'agent/lock'), 'utf8').split(' ')[0]
    process.kill(Number(pid), 'SIGTERM')
    await eventually('the agent to end', () => !existsSync(join(site.data('n1'), 'agent/lock')))
    const r = await install('n1')
    assert.equal(r.code, 0, r.err)
    assert.equal(readlinkSync(place('n1', 'lib/skerry/current')), 'b')
    await eventually('a new agent', () => existsSync(join(site.data('n1'), 'agent/lock')))
    await site.nodeReady('n1')
    assert.equal(await container('on-n1'), before)
    const other = await install('n1', { SKERRY_DATA_DIR: `${site.data('n1')}-other`, SKERRY_TOKEN: nodeToken })
    assert.match(other.err, /holds the program of the instance in '.*\/n1': give another INSTALL_SKERRY_DIR/)
  })

  test('skerry-killall.sh ends this machine\'s instance alone; from its directory it comes back', async () => {
    const other = await container('on-n2')
    const r = await site.on('n1', place('n1', 'bin/skerry-killall.sh'), [], { PATH: process.env['PATH'] })
    assert.equal(r.code, 0, r.err)
    assert.deepEqual(leftovers(site.data('n1'), site.lab.host('n1').netns), [])
    assert.equal(await container('on-n2'), other)
    const first = await container('on-n1')
    // As install.sh says it where there is no service manager; no token is needed any more.
    site.start('n1', site.lab.host('n1'), 'sh', ['-c', `set -a; . ${place('n1', 'etc/agent.env')}; unset SKERRY_TOKEN; exec ${place('n1', 'bin/skerry')} agent`], { PATH: process.env['PATH'] })
    await eventually('the pod to be made anew', async () => {
      const now = await container('on-n1')
      return now !== undefined && now !== first
    })
  })

  test('skerry-uninstall.sh removes all of it and nothing else', async () => {
    const other = await container('on-n2')
    await site.kill('n1', 'SIGTERM')
    const refused = await site.on('n1', place('n1', 'bin/skerry-uninstall.sh'), [], { PATH: process.env['PATH'] })
    assert.equal(refused.code, 1, 'no yes, no removal')
    assert.ok(existsSync(site.data('n1')))
    const r = await site.on('n1', place('n1', 'bin/skerry-uninstall.sh'), ['--yes'], { PATH: process.env['PATH'] })
    assert.equal(r.code, 0, r.err)
    assert.deepEqual(leftovers(site.data('n1'), site.lab.host('n1').netns), [])
    assert.ok(!existsSync(site.data('n1')), 'data')
    assert.ok(!existsSync(place('n1', 'lib/skerry')), 'program')
    assert.deepEqual(readdirSync(place('n1', 'bin')), ['skerry-other'])
    assert.deepEqual(readdirSync(place('n1', 'etc')), ['other.conf'])
    assert.equal(await container('on-n2'), other, 'the other machine\'s pod runs on')
    assert.match(await site.kubectl('exec', 'on-n2', '--', 'echo', 'still here'), /still here/)
  })

  test('the systemd unit waits for no network, and goes with the uninstall', async () => {
    const systemd = place('n1', 'systemd')
    const r = await install('n1', { SKERRY_TOKEN: nodeToken, INSTALL_SKERRY_SYSTEMD_DIR: systemd, INSTALL_SKERRY_SKIP_START: 'true' })
    assert.equal(r.code, 0, r.err)
    const unit = readFileSync(join(systemd, 'skerry-agent.service'), 'utf8')
    assert.doesNotMatch(unit, /network-online/)
    assert.match(unit, new RegExp(`^ExecStart=${place('n1', 'bin/skerry')} agent$`, 'm'))
    assert.match(unit, /^KillMode=process$/m)
    assert.match(unit, new RegExp(`^EnvironmentFile=${place('n1', 'etc/agent.env')}$`, 'm'))
    assert.ok(lstatSync(join(systemd, 'multi-user.target.wants/skerry-agent.service')).isSymbolicLink())
    const verified = await ran('systemd-analyze', ['verify', '--man=no', join(systemd, 'skerry-agent.service')])
    assert.doesNotMatch(verified.err, /skerry-agent\.service:/)
    mkdirSync(join(site.data('n1'), 'agent'), { recursive: true })
    const gone = await site.on('n1', place('n1', 'bin/skerry-uninstall.sh'), ['--yes'], { PATH: process.env['PATH'] })
    assert.equal(gone.code, 0, gone.err)
    assert.deepEqual(readdirSync(systemd, { recursive: true }), ['multi-user.target.wants'])
    assert.deepEqual(readdirSync(place('n1', 'bin')), ['skerry-other'])
  })

  test('a machine becomes a server with its own node, from a file, and goes again', async () => {
    const systemd = place('n1', 'systemd')
    const bundle = join(site.dir, 'skerry.tar.gz')
    assert.match(await site.skerry('bundle', bundle), /^wrote /)
    const address = site.lab.host('n1').address
    const script = async (...args: string[]): Promise<Ran> => {
      const { SKERRY_URL: _, ...env } = settings('n1', { INSTALL_SKERRY_TARBALL: bundle, SKERRY_BIND_ADDRESS: address })
      return await site.on('n1', 'sh', [join(ROOT, 'script/install.sh'), ...args], env)
    }
    assert.match((await script('surfer')).err, /'surfer' is neither 'agent' nor 'server'/)
    assert.match((await script('server', '--node-label=a="b"')).err, /has a character that a service's command line cannot hold/)
    assert.match((await script()).err, /SKERRY_URL is empty/)
    const r = await script('server', '--port', '7643')
    assert.equal(r.code, 0, r.err)
    const kubeconfig = join(site.data('n1'), 'server/admin.kubeconfig')
    assert.ok(r.out.includes(kubeconfig), r.out)
    await eventually('its node to be Ready', async () => existsSync(kubeconfig) && /^n1 +Ready/m.test((await site.on('n1', KUBECTL, ['get', 'nodes', '--no-headers', '--kubeconfig', kubeconfig], { ...process.env, HOME: site.dir })).out), 180_000)
    const ended = await site.on('n1', place('n1', 'bin/skerry-killall.sh'), [], { PATH: process.env['PATH'] })
    assert.equal(ended.code, 0, ended.err)
    assert.deepEqual(leftovers(site.data('n1'), site.lab.host('n1').netns), [])
    const { SKERRY_URL: _, ...env } = settings('n1', { INSTALL_SKERRY_TARBALL: bundle, INSTALL_SKERRY_SYSTEMD_DIR: systemd, INSTALL_SKERRY_SKIP_START: 'true' })
    const again = await site.on('n1', 'sh', [join(ROOT, 'script/install.sh'), 'server', '--no-agent'], env)
    assert.equal(again.code, 0, again.err)
    const unit = readFileSync(join(systemd, 'skerry-server.service'), 'utf8')
    assert.match(unit, new RegExp(`^ExecStart=${place('n1', 'bin/skerry')} server --no-agent$`, 'm'))
    assert.doesNotMatch((await ran('systemd-analyze', ['verify', '--man=no', join(systemd, 'skerry-server.service')])).err, /skerry-server\.service:/)
    const gone = await site.on('n1', place('n1', 'bin/skerry-uninstall.sh'), ['--yes'], { PATH: process.env['PATH'] })
    assert.equal(gone.code, 0, gone.err)
    assert.ok(!existsSync(site.data('n1')) && !existsSync(place('n1', 'lib/skerry')))
    assert.deepEqual(readdirSync(systemd, { recursive: true }), ['multi-user.target.wants'])
    for (const what of ['bin/skerry', 'bin/skerry-killall.sh', 'etc/server.env']) assert.ok(!existsSync(place('n1', what)), what)
  })
})

const pod = (node: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: on-${node}}
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 2
  containers: [{name: main, image: 'tools:v1'}]
`
