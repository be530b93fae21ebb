/**
 * Lines as they are on the edge: slow and lossy, flapping, with a new address, behind a proxy, with a hole for large packets.
 * The node stays one node, its pods run on, and what people ask of it works.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pod } from '../../src/api/gen/types.ts'
import { ROOT } from '../../tools/files.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, LAB, ran, Site, SKERRY } from './site.ts'

const NODE = 'ro-1'
/** Knows its server by name. */
const NAMED = 'ro-2'
const SERVER_NAME = 'server.roaming.test'
const sha = (data: Buffer): string => createHash('sha256').update(data).digest('hex')

describe('a node that roams', { skip: cannotRunContainers() }, () => {
  let site: Site
  const containers = async (): Promise<string[]> => (await site.get<{ items: Pod[] }>('pods')).items.map((p) => `${p.metadata?.name} ${p.status?.containerStatuses?.[0]?.containerID}`).sort()
  const ready = (timeoutMs: number): Promise<unknown> => eventually('the node Ready', () => site.kubectl('wait', '--for=condition=Ready', `node/${NODE}`, '--timeout=5s'), timeoutMs)
  /** Rules in the node's own network namespace; none takes them away. */
  const rules = async (text: string): Promise<void> => {
    const file = join(site.dir, 'rules.nft')
    writeFileSync(file, `table ip roam {}\ndelete table ip roam\n${text === '' ? '' : `table ip roam {\n${text}\n}\n`}`)
    const r = await site.on(NODE, 'nft', ['-f', file])
    assert.equal(r.code, 0, r.err)
  }
  /** A file of that size there and back by `kubectl cp`. */
  const copies = async (bytes: number): Promise<void> => {
    const [from, to] = [join(site.dir, 'there'), join(site.dir, 'back')]
    writeFileSync(from, randomBytes(bytes))
    await site.kubectl('cp', from, 'keeper:/tmp/file')
    await site.kubectl('cp', 'keeper:/tmp/file', to)
    assert.equal(sha(readFileSync(to)), sha(readFileSync(from)))
  }
  /** Until a request goes all the way to the node and back. */
  const answers = (timeoutMs: number): Promise<unknown> => eventually('exec', async () => (await site.kubectl('exec', 'keeper', '--request-timeout=5s', '--', 'echo', 'here')) === 'here\n', timeoutMs)

  before(async () => {
    site = await Site.create('roaming', [NODE, NAMED])
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'keeper', `trap 'exit 0' TERM; while :; do echo tick; sleep 1 & wait $!; done`))
    await site.join(NODE)
    await site.apply(manifest('keeper'))
    await site.kubectl('wait', '--for=condition=Ready', 'pod/keeper', '--timeout=60s')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('a line of 300 ms that loses one packet in twenty: pods start, exec, logs and copies work, the node is not taken for lost', async (t) => {
    const before = await containers()
    const server = site.lab.server.address
    const relay = site.start('relay', site.lab.host(NODE), process.execPath, [join(ROOT, 'test/kit/slow-relay.ts'), '7443', server, '6443', '150', '40000'])
    await eventually('the slow line', () => site.log('relay').includes('up'))
    await rules(`
      chain nat { type nat hook output priority -100; ip daddr ${server} tcp dport 6443 tcp sport != 40000-40999 redirect to :7443; }
      chain out { type filter hook output priority 0; oifname "eth0" tcp dport 6443 numgen random mod 20 0 drop; }
      chain in { type filter hook input priority 0; iifname "eth0" tcp sport 6443 numgen random mod 20 0 drop; }`)
    await site.kill(NODE)
    site.startAgent(NODE)
    const start = performance.now()
    await answers(60_000)
    t.diagnostic(`a request answered ${Math.round(performance.now() - start)} ms after the agent's start`)
    const since = Date.now()
    await site.apply(manifest('late'))
    await site.kubectl('wait', '--for=condition=Ready', 'pod/late', '--timeout=60s')
    await copies(1 << 20)
    assert.match(await site.kubectl('logs', 'keeper', '--tail=3', '--timestamps'), /^(\S+ tick\n){3}$/)
    while (Date.now() - since < 50_000) {
      await ready(1)
      await answers(60_000)
    }
    assert.doesNotMatch(await site.kubectl('get', 'events', '-A', '-o', 'custom-columns=R:.reason,T:.lastTimestamp'), /NodeNotReady/)
    await site.kubectl('delete', 'pod', 'late', '--wait', '--timeout=30s')
    await rules('')
    relay.kill('SIGKILL')
    await answers(60_000)
    assert.deepEqual(await containers(), before)
  })

  test('a line that comes and goes every two seconds: the node is back when it stays', async (t) => {
    const before = await containers()
    for (let i = 0; i < 5; i++) {
      await site.lab.cut(NODE)
      await sleep(2000)
      await site.lab.mend(NODE)
      await sleep(2000)
    }
    const start = performance.now()
    await answers(60_000)
    t.diagnostic(`answers ${Math.round(performance.now() - start)} ms after the last break`)
    assert.deepEqual(await containers(), before)
  })

  test('another address of the machine: a new connection within seconds, the same node', async (t) => {
    const before = await containers()
    const { device, address } = site.lab.host(NODE)
    const next = address.replace(/2$/, '6')
    const gateway = address.replace(/2$/, '5')
    await run('ip', 'addr', 'add', `${gateway}/30`, 'dev', device)
    for (const args of [['addr', 'add', `${next}/30`, 'dev', 'eth0'], ['addr', 'del', `${address}/30`, 'dev', 'eth0'], ['route', 'replace', 'default', 'via', gateway]]) {
      const r = await site.on(NODE, 'ip', args)
      assert.equal(r.code, 0, r.err)
    }
    const start = performance.now()
    await answers(60_000)
    t.diagnostic(`answers ${Math.round(performance.now() - start)} ms after the change`)
    await eventually('the new address in the Node', async () => (await site.kubectl('get', 'node', NODE, '-o', 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')) === next, 360_000, 1000)
    assert.deepEqual(await containers(), before)
  })

  test('a path on which large packets vanish without a word: what is large arrives all the same', async (t) => {
    const breaks = site.log(NODE).match(/no link to the server/g)?.length ?? 0
    // Else the kernel hands on many packets as one, and no rule sees their size.
    await site.on(NODE, 'ip', ['link', 'set', 'dev', 'eth0', 'gso_max_segs', '1'])
    await site.on('server', 'ip', ['link', 'set', 'dev', 'eth0', 'gso_max_segs', '1'])
    const { device } = site.lab.host(NODE)
    const table = `${LAB.name}_hole`
    await nft(`table ip ${table} {
      chain forward { type filter hook forward priority -10; iifname "${device}" ip length > 1100 drop; oifname "${device}" ip length > 1100 drop; }
    }`)
    try {
      const start = performance.now()
      await copies(1 << 20)
      t.diagnostic(`a megabyte there and back in ${Math.round(performance.now() - start)} ms`)
      assert.equal(site.log(NODE).match(/no link to the server/g)?.length ?? 0, breaks, 'over one connection')
    } finally {
      await nft(`delete table ip ${table}`)
    }
  })

  test('a LAN: a server told to notices a silent node after 10 s; two of its addresses are known to the node', async (t) => {
    const before = await containers()
    assert.equal(await site.kill('server', 'SIGTERM'), 0)
    const { address } = site.lab.server
    await site.startServer('--no-agent', '--bind-address', '0.0.0.0', '--node-monitor-grace-period', '10s', '--advertise-address', address, '--advertise-address', address.replace(/2$/, '6'), '--advertise-address', SERVER_NAME)
    await answers(60_000)
    await ready(60_000)
    await site.lab.cut(NODE)
    const start = performance.now()
    await eventually('the node Unknown', async () => (await site.kubectl('get', 'node', NODE, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')) === 'Unknown', 35_000)
    t.diagnostic(`Unknown ${Math.round(performance.now() - start)} ms after the line was cut`)
    assert.match(await site.kubectl('get', 'node', NODE, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].message}'), /no link to the server for 10 s/)
    await site.lab.mend(NODE)
    await ready(60_000)
    await answers(60_000)
    assert.deepEqual(await containers(), before)
  })

  for (const [what, out] of [
    ['forgets its connections', 'drop'],
    ['gives them other ports', 'tcp sport set tcp sport map @ports'],
  ] as const) {
    test(`a NAT that ${what}: new ones within the time of detection`, async (t) => {
      const before = await containers()
      const { address } = site.lab.server
      const ports = await eventually('link and session open', async () => {
        const open = await site.on(NODE, 'ss', ['-Htn', 'state', 'established', `dst ${address}:6443`])
        const found = [...open.out.matchAll(/:(\d+) +\S+:6443/g)].map((m) => Number(m[1]))
        if (found.length < 2) throw new Error(`${open.out}${open.err}`)
        return found
      }, 60_000)
      await rules(`
        map ports { type inet_service : inet_service; elements = { ${ports.map((p, i) => `${p} : ${20_000 + i}`).join(', ')} }; }
        map back { type inet_service : inet_service; elements = { ${ports.map((p, i) => `${20_000 + i} : ${p}`).join(', ')} }; }
        set old { type inet_service; elements = { ${ports.join(', ')} }; }
        chain out { type filter hook output priority -310; ip daddr ${address} tcp dport 6443 tcp sport @old ${out}; }
        chain in { type filter hook prerouting priority -310; ip saddr ${address} tcp sport 6443 tcp dport @old drop; tcp sport 6443 tcp dport @back tcp dport set tcp dport map @back; }`)
      const start = performance.now()
      await answers(60_000)
      t.diagnostic(`answers ${Math.round(performance.now() - start)} ms after the NAT ${what}`)
      await rules('')
      await ready(60_000)
      assert.deepEqual(await containers(), before)
    })
  }

  test('a server that is reached through a proxy only', async () => {
    const { address } = site.lab.host(NODE)
    const gateway = address.replace(/2$/, '1')
    let tunnels = 0
    const proxy = createServer((_req, res) => void res.writeHead(405).end())
    proxy.on('connect', (req, near) => {
      tunnels++
      const [host = '', port = ''] = (req.url ?? '').split(':')
      const far = connect(Number(port), host, () => near.write('HTTP/1.1 200 OK\r\n\r\n'))
      near.pipe(far).pipe(near)
      near.on('error', () => far.destroy())
      far.on('error', () => near.destroy())
    })
    await new Promise<void>((resolve) => proxy.listen(0, gateway, resolve))
    try {
      const { port } = proxy.address() as { port: number }
      await rules(`chain out { type filter hook output priority 0; ip daddr ${site.lab.server.address} drop; }`)
      await site.kill(NODE)
      site.start(NODE, site.lab.host(NODE), join(ROOT, 'bin/skerry'), ['agent', '--server', site.url, '--node-name', NODE, '--data-dir', site.data(NODE)], { ...process.env, HTTPS_PROXY: `http://${gateway}:${port}` })
      await answers(60_000)
      await copies(100_000)
      assert.ok(tunnels >= 2, `${tunnels} connections through the proxy`)
    } finally {
      await site.kill(NODE)
      proxy.closeAllConnections()
      proxy.close()
      await rules('')
    }
  })

  test('the server moves to another address: nodes find it by those it told them, or by its name', async (t) => {
    const { device, address } = site.lab.server
    const next = address.replace(/2$/, '6')
    const gateway = address.replace(/2$/, '5')
    const hosts = join(site.dir, 'hosts')
    writeFileSync(hosts, `${address} ${SERVER_NAME}\n`)
    const token = (await site.skerry('token', 'create', '--node', NAMED)).trim()
    // A file of hosts of its own, seen by this node alone; mounts of the machine reach it, its own stay with it.
    const start = ['--mount', '--propagation', 'slave', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"', hosts]
    site.start(NAMED, site.lab.host(NAMED), 'unshare', [...start, SKERRY, 'agent', '--server', `https://${SERVER_NAME}:6443`, '--node-name', NAMED, '--data-dir', site.data(NAMED), '--token', token])
    site.startAgent(NODE)
    await site.nodeReady(NAMED)
    await answers(60_000)
    const before = await containers()

    // The old address is gone with all that was connected to it; kubectl, on the machine, goes to the new one.
    await run('ip', 'addr', 'add', `${gateway}/30`, 'dev', device)
    writeFileSync(hosts, `${next} ${SERVER_NAME}\n`)
    for (const args of [['addr', 'add', `${next}/30`, 'dev', 'eth0'], ['addr', 'del', `${address}/30`, 'dev', 'eth0'], ['route', 'replace', 'default', 'via', gateway]]) {
      const r = await site.on('server', 'ip', args)
      assert.equal(r.code, 0, r.err)
    }
    const moved = performance.now()
    const kubectl = (...args: string[]): Promise<string> => site.kubectl('--server', `https://${next}:6443`, ...args)
    for (const node of [NODE, NAMED]) {
      await eventually(`node ${node}`, async () => (await kubectl('get', '--raw', `/api/v1/nodes/${node}/proxy/healthz`, '--request-timeout=5s')).trim() === 'ok', 90_000)
      t.diagnostic(`node ${node} answers ${Math.round(performance.now() - moved)} ms after the server's move`)
    }
    assert.equal(await kubectl('exec', 'keeper', '--', 'echo', 'here'), 'here\n')
    const now = (JSON.parse(await kubectl('get', 'pods', '-o', 'json')) as { items: Pod[] }).items.map((p) => `${p.metadata?.name} ${p.status?.containerStatuses?.[0]?.containerID}`).sort()
    assert.deepEqual(now, before)
  })
})

/** Rules on the machine between node and server. */
async function nft(rules: string): Promise<void> {
  const r = await ran('nft', ['-f', '-'], { input: rules })
  assert.equal(r.code, 0, r.err)
}

async function run(command: string, ...args: string[]): Promise<void> {
  const r = await ran(command, args)
  assert.equal(r.code, 0, r.err)
}

const manifest = (name: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: keeper}]
`
