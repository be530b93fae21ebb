/** What a user gets for mistakes at the command line: exit codes and words, from the real program. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { run, Site, SKERRY, type Ran } from '../kit/processes.ts'

const PORT = 7500
const NOBODY = 65534
const NOT_ROOT = process.getuid?.() !== 0 && 'needs root, to be another user and to hide programs'
let site: Site

before(async () => {
  site = await Site.create({ name: 'bi-cli', port: PORT })
  await site.startServer()
})
after(() => site.close())

const skerry = (...args: string[]): Promise<Ran> => run(SKERRY, args, { timeoutMs: 20_000 })
const fresh = (): string => join(site.dir, 'fresh')

/** It must have ended by itself, with a failure, one line on standard error and nothing on standard output. */
function refused(ran: Ran, code: number, ...words: RegExp[]): void {
  assert.equal(ran.code, code, ran.err)
  assert.equal(ran.out, '')
  for (const word of words) assert.match(ran.err, word)
  assert.doesNotMatch(ran.err, /^\s+at .*:\d+:\d+/m, 'no stack traces for users')
}

test('unknown commands, flags, values and arguments are named, with what is possible', async () => {
  refused(await skerry('token'), 2, /"token" is one of several commands/, /token create/)
  refused(await skerry('node', 'list'), 2, /unknown command "node list"/, /node approve NAME/)
  refused(await skerry('sevrer'), 2, /unknown command "sevrer"/, /skerry COMMAND/)
  refused(await skerry('server', '--prot', '1'), 1, /unknown flag "--prot", known are .*--port/)
  refused(await skerry('server', '--port', 'https'), 1, /--port is "https", expected a number/)
  refused(await skerry('server', '--port', '70000', '--no-agent'), 1, /--port 70000 is not between 0 and 65535/)
  refused(await skerry('server', '--no-agent=maybe'), 1, /--no-agent is "maybe", expected true or false/)
  refused(await skerry('server', 'start'), 1, /takes no argument, "start" was given: see skerry server --help/)
  refused(await skerry('server', '--store', 'etcd', '--no-agent'), 1, /--store "etcd" is neither sqlite nor like etcd:/)
  refused(await skerry('server', '--no-agent', '--data-dir', fresh(), '--cluster-cidr', '10.42.0.0'), 1, /--cluster-cidr "10.42.0.0" is not like 10.42.0.0\/16/)
  refused(await skerry('server', '--no-agent', '--data-dir', fresh(), '--cluster-cidr', '999.1.1.1/99'), 1, /"999.1.1.1\/99" is not an IPv4 network/)
  refused(await skerry('version', '--log-level', 'loud'), 1, /--log-level is "loud", expected debug, info, warn or error/)
  refused(await skerry('version', '--log-format', 'xml'), 1, /--log-format is "xml", expected text or json/)
})

test('settings from the environment and the file are held to the same, and name where they stand', async () => {
  const file = join(site.dir, 'config.yaml')
  const withFile = (text: string): Promise<Ran> => {
    writeFileSync(file, text)
    return run(SKERRY, ['server', '--no-agent', '--data-dir', fresh()], { env: { ...process.env, SKERRY_CONFIG: file } })
  }
  refused(await run(SKERRY, ['server', '--no-agent'], { env: { ...process.env, SKERRY_PORT: 'x' } }), 1, /SKERRY_PORT is "x", expected a number/)
  refused(await withFile('prot: 6443\n'), 1, /unknown key "prot" in .*config.yaml, known are .*port/)
  refused(await withFile('port: high\n'), 1, /"port" in .*config.yaml is "high", expected a number/)
  refused(await withFile('- port\n'), 1, /config.yaml" is not a mapping of flag names to values/)
  refused(await withFile('a: [\n'), 1, /config.yaml" is not valid YAML/)
  refused(await skerry('server', '--config', '/no/such.yaml'), 1, /--config names "\/no\/such.yaml", which does not exist/)
})

test('a taken port, a second server on one data directory and an address of nobody are refused; the first server goes on', async () => {
  refused(await skerry('server', '--no-agent', '--data-dir', fresh(), '--bind-address', '127.0.0.1', '--port', String(PORT)), 1, /listen on 127\.0\.0\.1:7500: the port is taken by another process, stop it or choose another with --port/)
  refused(await site.skerry('server', '--no-agent', '--port', '7501'), 1, /process \d+ already uses this data directory \("\/tmp\/bi-cli\/server\/server"\): stop it, or give another --data-dir$/m)
  refused(await skerry('server', '--no-agent', '--data-dir', fresh(), '--bind-address', '203.0.113.7', '--port', '7501'), 1, /listen on 203\.0\.113\.7:7501: this machine has no such address, .*--bind-address/)
  refused(await skerry('server', '--no-agent', '--data-dir', '/etc/passwd', '--port', '7501'), 1, /cannot make "\/etc\/passwd\/server" \(ENOTDIR\): give a --data-dir/)
  assert.equal((await site.kubectl('get', '--raw', '/readyz')).out, 'ok')
})

test('without root, agent and server say which user was seen and what to do', { skip: NOT_ROOT }, async () => {
  const asNobody = (...args: string[]): Promise<Ran> => run(SKERRY, args, { uid: NOBODY, timeoutMs: 20_000 })
  refused(await asNobody('agent', '--server', site.url), 1, /user id 65534 is not root, and containers need root: run it with sudo/)
  refused(await asNobody('server', '--port', '7502', '--data-dir', fresh()), 1, /user id 65534 is not root.*run it with sudo, or give --no-agent/)
  mkdirSync(join(site.dir, 'roots'), { mode: 0o755, recursive: true })
  refused(await asNobody('server', '--no-agent', '--port', '7502', '--data-dir', join(site.dir, 'roots/x')), 1, /cannot make "\/tmp\/bi-cli\/roots\/x\/server" \(EACCES\): give a --data-dir that this user may write, or run it with sudo/)
})

test('without containerd, the check and the agent name what is missing and the command that brings it', { skip: NOT_ROOT }, async () => {
  // In a mount namespace of their own the programs are not programs any more.
  const hide = ['/usr/bin/containerd', '/usr/sbin/runc', '/usr/bin/runc'].map((p) => `if [ -e ${p} ]; then mount --bind /dev/null ${p}; fi`).join('; ')
  const without = (...args: string[]): Promise<Ran> => run('unshare', ['-m', '--propagation', 'private', 'sh', '-c', `${hide}; exec "$@"`, 'sh', SKERRY, ...args], { timeoutMs: 20_000 })
  const token = await site.token()
  const agent = await without('agent', '--server', site.url, '--token', token, '--node-name', 'bare', '--data-dir', join(site.dir, 'bare'))
  assert.equal(agent.code, 1)
  assert.match(agent.err, /find the container runtime: containerd, runc not in .*; run: apt-get install -y containerd runc/)
  const check = await without('agent', '--check', '--data-dir', join(site.dir, 'bare'))
  assert.equal(check.code, 1)
  assert.match(check.out, /FAIL .*containerd/)
  assert.match(check.out, /apt-get install -y containerd/)
  assert.match(check.out, /\d+ to mend before this machine can be a node/)
})

test('tokens, archives and names that are none: the value and the way out', async () => {
  const agent = (...args: string[]): Promise<Ran> => skerry('agent', '--data-dir', fresh(), ...args)
  if (NOT_ROOT === false) {
    refused(await agent(), 1, /has not joined yet and --server is missing: run `skerry token create` on the server, then `skerry agent --server/)
    refused(await agent('--server', site.url), 1, /--token is missing: run `skerry token create`/)
    refused(await agent('--server', 'here:1', '--token', 'abcdef.0123456789abcdef'), 1, /read server address: 'here:1' is not like https:\/\/host:6443/)
    refused(await agent('--server', site.url, '--token', '/no/such/token'), 1, /file "\/no\/such\/token" cannot be read \(ENOENT\): give the path of a file with a token/)
    refused(await agent('--server', site.url, '--token', `K10${'a'.repeat(64)}::server:abc`), 1, /'K10', so it is a token of a K3s server/)
    refused(await agent('--mqtt-port', '99999'), 1, /--mqtt-port 99999 is not between 1 and 65535/)
    refused(await agent('--node-label', 'no value'), 1, /--node-label "no value" is not like key=value/)
  }
  refused(await site.skerry('token', 'create', '--ttl', 'soon'), 1, /read duration: "soon" is not like 90s, 30m, 24h, 7d or 0/)
  refused(await site.skerry('token', 'revoke', 'nonono'), 1, /revoke token "nonono": there is none with this id; see `skerry token list`/)
  refused(await skerry('token', 'list', '--data-dir', fresh()), 1, /no admin kubeconfig at "\/tmp\/bi-cli\/fresh\/server\/admin.kubeconfig": run this on the server with its --data-dir, or give --kubeconfig/)
  refused(await site.skerry('node', 'approve', 'nobody'), 1, /find node "nobody": no machine has joined under this name/)
  refused(await site.skerry('image', 'import'), 1, /name the archive, as in `skerry image import app.tar`/)
  refused(await site.skerry('image', 'import', '/no/such.tar'), 1, /import "\/no\/such.tar": it cannot be read \(ENOENT\): give the path of an image archive/)
  refused(await site.skerry('image', 'import', '/etc/passwd'), 1, /import "\/etc\/passwd": it is no readable tar archive .*: make it with .*docker save/)
})

test('a node identity that is damaged on disk is told with its path and the way out', { skip: NOT_ROOT }, async () => {
  const data = join(site.dir, 'damaged')
  mkdirSync(join(data, 'agent'), { recursive: true })
  writeFileSync(join(data, 'agent/identity.json'), '{"node":"x"')
  refused(await skerry('agent', '--data-dir', data), 1, /read node identity: "\/tmp\/bi-cli\/damaged\/agent\/identity.json" is damaged: move it away and join again with a token/)
  assert.equal(readFileSync(join(data, 'agent/identity.json'), 'utf8'), '{"node":"x"', 'nothing is thrown away')
})

test('a port that another program holds is free again for the next start', async () => {
  const other = createServer()
  await new Promise<void>((resolve) => other.listen(7503, '127.0.0.1', resolve))
  const data = join(site.dir, 'retry')
  const args = ['server', '--no-agent', '--data-dir', data, '--bind-address', '127.0.0.1', '--port', '7503']
  refused(await skerry(...args), 1, /7503: the port is taken/)
  await new Promise((resolve) => other.close(resolve))
  const server = site.start('retry', args)
  await server.says(/ ready /)
  assert.equal(await server.end('SIGTERM'), 0)
})
