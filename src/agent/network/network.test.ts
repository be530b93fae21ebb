import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { after, before, describe, test } from 'node:test'
import { setLogSink } from '../../base/log.ts'
import { cannotRunContainers, Instance } from '../../../test/kit/containerd.ts'
import { until } from '../../../test/kit/until.ts'
import { SECURITY } from '../../../test/suites/runtime.ts'
import { command, tryCommand } from '../containerd/command.ts'

const skip = cannotRunContainers() || ((await tryCommand('nft', ['list', 'tables'])).code === 0 ? false : 'needs nft')
const IMAGE = 'docker.io/library/net:1'
const CIDR = '10.199.5.0/24'

describe('pod network', { skip }, () => {
  let i: Instance
  let pod: { sandbox: string; id: string }
  let podIP: string
  const exec = async (script: string): Promise<string> => {
    const r = await i.own.runtime.streams.execSync(pod.id, ['/bin/sh', '-c', script], 10)
    return `${String(r.stdout)}${String(r.stderr)}`.trim()
  }
  before(async () => {
    setLogSink(() => {})
    i = await Instance.make('net', CIDR)
    await i.boot()
    await i.image(IMAGE, 'trap "exit 0" TERM; nc -ll -p 7 -e /bin/cat & while :; do sleep 0.1; done')
    pod = await i.pod(IMAGE, { security: { ...SECURITY, addCapabilities: ['NET_ADMIN'] } })
    podIP = (await i.own.runtime.sandboxes.ips(pod.sandbox))[0] as string
    await untilAnswered(podIP)
  })
  after(() => i.remove())

  test('the node has the first address before any pod, and keeps it when configured again', async () => {
    assert.equal(i.network.gateway, '10.199.5.1')
    await i.network.configure(CIDR)
    assert.match(await command('ip', ['addr', 'show', 'dev', i.own.paths.bridge]), /inet 10\.199\.5\.1\/24/)
    assert.equal(await ask('10.199.5.1', podIP, 7), 'ping')
  })

  test('a pod reaches a server of the node on the bridge', async () => {
    const server = createServer((s) => s.end('from the node')).listen(0, '10.199.5.1')
    await once(server, 'listening')
    assert.equal(await exec(`nc 10.199.5.1 ${(server.address() as AddressInfo).port} </dev/null`), 'from the node')
    server.close()
  })

  test('a host port works by the node’s address, by 127.0.0.1, and from the pod itself; until it is withdrawn', async () => {
    const address = Object.entries(networkInterfaces()).flatMap(([name, list]) => (name.startsWith('sk-') ? [] : list ?? [])).find((a) => a.family === 'IPv4' && !a.internal)?.address
    const hostPort = 30_000 + (process.pid % 2000)
    await i.network.setHostPorts([{ protocol: 'TCP', hostIP: '', hostPort, podIP, containerPort: 7 }])
    assert.equal(await ask(undefined, '127.0.0.1', hostPort), 'ping')
    if (address !== undefined) {
      assert.equal(await ask(undefined, address, hostPort), 'ping')
      assert.equal(await exec(`echo hairpin | nc -w 2 ${address} ${hostPort}`), 'hairpin')
    }
    await i.network.setHostPorts([])
    await assert.rejects(ask(undefined, '127.0.0.1', hostPort), /ECONNREFUSED/)
  })

  test('a pod leaves the node under the node’s address', async () => {
    const ns = `sk-out-${process.pid}`
    const [near, far] = [`skn${process.pid}`, `skf${process.pid}`]
    await command('ip', ['netns', 'add', ns])
    try {
      await command('ip', ['link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', ns])
      await command('ip', ['addr', 'add', '10.198.5.1/30', 'dev', near])
      await command('ip', ['link', 'set', near, 'up'])
      await command('ip', ['-n', ns, 'addr', 'add', '10.198.5.2/30', 'dev', far])
      await command('ip', ['-n', ns, 'link', 'set', far, 'up'])
      const server = 'require("net").createServer(s => { s.end(s.remoteAddress); process.exitCode = 0; s.on("close", () => process.exit()) }).listen(9)'
      const seen = command('nsenter', [`--net=/run/netns/${ns}`, process.execPath, '-e', server], { timeoutMs: 10_000 })
      let told = ''
      for (let tries = 0; told === '' && tries < 50; tries++) {
        told = await exec('nc -w 1 10.198.5.2 9 </dev/null 2>/dev/null')
        if (told === '') await new Promise((r) => setTimeout(r, 50))
      }
      await seen
      assert.match(told, /10\.198\.5\.1$/)
    } finally {
      await command('ip', ['netns', 'del', ns])
      await tryCommand('ip', ['link', 'del', near])
    }
  })

  test('what a pod sends under a foreign address is dropped and counted', async () => {
    const dropped = async (): Promise<number> => Number(/saddr != \S+ counter packets (\d+)/.exec(await command('nft', ['list', 'table', 'ip', i.own.paths.nftTable]))?.[1])
    await exec('busybox ping -c 1 -W 1 10.199.5.1')
    assert.equal(await dropped(), 0)
    await exec('busybox ip addr add 198.51.100.7/32 dev eth0; busybox ping -c 1 -W 1 -I 198.51.100.7 10.199.5.1')
    assert.equal(await dropped(), 1)
  })

  test('a bridge that somebody deleted is made again, and pods that run have their line to it', async () => {
    await command('ip', ['link', 'delete', i.own.paths.bridge])
    await i.network.configure(CIDR)
    assert.equal(await untilAnswered(podIP), 'ping')
    const hostPort = 32_000 + (process.pid % 700)
    await i.network.setHostPorts([{ protocol: 'TCP', hostIP: '', hostPort, podIP, containerPort: 7 }])
    assert.equal(await exec(`echo hairpin | nc -w 2 10.199.5.1 ${hostPort}`), 'hairpin')
    await i.network.setHostPorts([])
  })

  test('a flushed table is put back by the next call, a changed CIDR replaces the address', async () => {
    await command('nft', ['delete', 'table', 'ip', i.own.paths.nftTable])
    await i.network.setHostPorts([])
    assert.match(await command('nft', ['list', 'table', 'ip', i.own.paths.nftTable]), /masquerade/)
    await i.network.configure('10.199.6.0/24')
    const shown = await command('ip', ['addr', 'show', 'dev', i.own.paths.bridge])
    assert.match(shown, /inet 10\.199\.6\.1\/24/)
    assert.doesNotMatch(shown, /10\.199\.5\.1/)
  })

  test('cleanup leaves no bridge and no table', async () => {
    await i.own.runtime.sandboxes.remove(pod.sandbox)
    await i.network.cleanup()
    assert.notEqual((await tryCommand('ip', ['link', 'show', i.own.paths.bridge])).code, 0)
    assert.notEqual((await tryCommand('nft', ['list', 'table', 'ip', i.own.paths.nftTable])).code, 0)
    await i.network.cleanup()
  })
})

/** What the pod's echo server answers once it does. */
async function untilAnswered(podIP: string): Promise<string> {
  return await until('an answer of the pod', () => ask('10.199.5.1', podIP, 7).then((said) => said !== '' && said, () => undefined), 30_000)
}

/** What an echo server answers to `ping`. */
async function ask(local: string | undefined, host: string, port: number): Promise<string> {
  const socket = connect({ host, port, ...(local !== undefined && { localAddress: local }), timeout: 2000 })
  try {
    socket.write('ping')
    const [data] = (await once(socket, 'data')) as [Buffer]
    return String(data)
  } finally {
    socket.destroy()
  }
}
