/** Nodes with a wrong clock, a borrowed name, images that are not there, and a cut line: what the user sees, and that nothing is lost. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openSealing } from '../../src/agent/mod.ts'
import { loadNodeIdentity } from '../../src/cli/wire/node-identity.ts'
import { busyboxImage, cannotRunContainers } from '../kit/containerd.ts'
import { Site, type Running } from '../kit/processes.ts'
import { until } from '../kit/until.ts'

const FAKETIME = [process.arch === 'arm64' ? 'aarch64' : 'x86_64'].map((arch) => `/usr/lib/${arch}-linux-gnu/faketime/libfaketimeMT.so.1`)[0] as string
const skip = cannotRunContainers() || (!existsSync(FAKETIME) && 'needs libfaketime: apt-get install -y faketime')
/** A clock that is off by so much, for one process; what counts time (timers) stays right, as on a real machine. */
const clockOff = (days: string): Record<string, string> => ({ LD_PRELOAD: FAKETIME, FAKETIME: days, FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_DONT_RESET: '1' })

const pod = (name: string, node: string, image: string, policy: string, more = ''): string => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name} }
spec:
  nodeName: ${node}
  terminationGracePeriodSeconds: 1
  containers: [{ name: main, image: "${image}", imagePullPolicy: ${policy}${more} }]
`

describe('nodes', { skip }, () => {
  let site: Site
  const agents = new Map<string, Running>()

  before(async () => {
    site = await Site.create({ name: 'bi-node', port: 7530, lab: { name: 'bi', block: 248, hosts: ['n1', 'ahead', 'behind', 'gw', 'gw2'] } })
    await site.startServer()
    const archive = join(site.dir, 'app.tar')
    await busyboxImage('docker.io/library/bi-app:v1', 'echo started; while :; do sleep 1; done', archive)
    assert.equal((await site.skerry('image', 'import', archive)).code, 0)
    const start = async (name: string, env?: Record<string, string>): Promise<void> => void agents.set(name, site.agent(name, { token: await site.token('--node', name), ...(env && { env }) }))
    await start('n1')
    await start('ahead', clockOff('+365d'))
    await start('behind', clockOff('-365d'))
    await site.kubectlUntil(/ahead +Ready[^]*behind +Ready[^]*n1 +Ready/, ['get', 'nodes'])
    const applied = await site.apply(
      [
        ...['ahead', 'behind', 'n1'].map((n) => pod(`app-${n}`, n, 'bi-app:v1', 'IfNotPresent')),
        pod('missing', 'n1', 'bi-none:v9', 'IfNotPresent'),
        pod('never', 'n1', 'bi-none:v9', 'Never'),
        pod('bad-name', 'n1', 'UPPER/Case:v1', 'IfNotPresent'),
        // Ends by itself now and then, so that its image is asked for again.
        pod('always', 'n1', 'bi-app:v1', 'Always', ', command: [/bin/sh, -c, "echo began; sleep 12"]'),
      ].join(''),
    )
    assert.equal(applied.code, 0, applied.err)
  })
  after(() => site?.close())

  const events = (name: string, what: RegExp, timeoutMs?: number): Promise<string> => site.kubectlUntil(what, ['events', '--for', `pod/${name}`], timeoutMs)

  describe('with a wrong clock', { concurrency: 2 }, () => {
    for (const [name, days, dates] of [['ahead', '+365d', 'expired'], ['behind', '-365d', 'not-yet-valid']] as const) {
      test(`a node whose clock is a year ${name === 'ahead' ? 'ahead' : 'behind'} joins, runs pods, keeps its link, comes back, and shows it`, async () => {
        await site.kubectlUntil(new RegExp(`app-${name} +1/1 +Running`), ['get', 'pods'])
        assert.match(agents.get(name)?.said ?? '', /the clock of this machine is off; set it, or let NTP do so/)
        assert.match(agents.get(name)?.said ?? '', new RegExp(`clock and server certificate disagree; going on.*dates=${dates}`))
        const words = `clock of this node is 365 days ${name === 'ahead' ? 'ahead of' : 'behind'} the server's: set it, or let NTP do so`
        await site.kubectlUntil(new RegExp(`ClockSkew +True .*${words}[^]*Warning +ClockSkew .*${words}`), ['describe', 'node', name])
        assert.match((await site.kubectl('logs', `app-${name}`)).out, /started/, 'over the link')

        const started = /"containerID": *"([^"]+)"/.exec((await site.kubectl('get', 'pod', `app-${name}`, '-o', 'json')).out)?.[1]
        await agents.get(name)?.end('SIGTERM')
        agents.set(name, site.agent(name, { env: clockOff(days) }))
        await agents.get(name)?.says(/tunnel\.link: connected/)
        await site.kubectlUntil(/sh|busybox/, ['exec', `app-${name}`, '--', 'cat', '/proc/1/comm'])
        const now = /"containerID": *"([^"]+)"/.exec((await site.kubectl('get', 'pod', `app-${name}`, '-o', 'json')).out)?.[1]
        assert.equal(now, started, 'the container was not touched')
      })
    }
  })

  test('an image that is nowhere, must not be pulled, or has no name that could be: Events say what and the way out', async () => {
    await events('missing', /NotOnServer .*Image "bi-none:v9" is not on the server, asking its registry docker\.io; `skerry image import` brings it to the server/)
    await events('never', /ErrImageNeverPull .*"bi-none:v9" is not present with pull policy of Never: set imagePullPolicy to IfNotPresent, and bring the image to the server with `skerry image import`/)
    await events('bad-name', /InspectFailed .*"UPPER\/Case:v1": .*name "UPPER\/Case" is not lower-case letters, digits and separators: correct the container's image/)
    assert.match((await site.kubectl('get', 'pods')).out, /^bad-name +0\/1 +InvalidImageName/m)
    assert.match((await site.kubectl('get', 'pods')).out, /^never +0\/1 +ErrImageNeverPull/m)
    await site.kubectlUntil(/^missing +0\/1 +(ErrImagePull|ImagePullBackOff)/m, ['get', 'pods'], 60_000)
    await events('missing', /Warning +Failed .*Failed to pull image "bi-none:v9": .*: bring it to the server with `skerry image import`, or correct its name/)
    await site.kubectlUntil(/^missing +0\/1 +ImagePullBackOff/m, ['get', 'pods'])
    const { out } = await site.kubectl('get', 'pod', 'missing', '-o', 'jsonpath={.status.containerStatuses[0].state.waiting.message}')
    assert.match(out, /^Back-off pulling image "bi-none:v9": ErrImagePull: failed to pull .*`skerry image import`/)
  })

  test('results that are garbage are refused by the node to its pod, and by the server to its node; good ones arrive once', async () => {
    const hand = async (body: string, path = 'streams/seen/records'): Promise<string> => {
      const head = `POST /collect/v1/${path} HTTP/1.1\\r\\nHost: n\\r\\nConnection: close\\r\\nContent-Length: ${Buffer.byteLength(body)}\\r\\n\\r\\n`
      const script = `to=\${SKERRY_COLLECT_URL#http://}; to=\${to%%/*}; { printf '${head}'; printf '%s' '${body}'; sleep 1; } | nc \${to%:*} \${to#*:}`
      return (await site.kubectl('exec', 'app-n1', '--', 'sh', '-c', script)).out
    }
    assert.match(await hand('{"id":"a","data":{"n":1}}'), /^HTTP\/1\.1 202 /)
    assert.match(await hand('garbage'), /^HTTP\/1\.1 400 [^]*not JSON/)
    assert.match(await hand('{"id":"b","dat":{}}'), /400 [^]*field \\"dat\\" is not known, there are id, time, data, attachments; your own go into data/)
    assert.match(await hand('{"id":"b","time":"late"}'), /400 [^]*time is \\"late\\", use RFC 3339 or milliseconds since 1970/)
    assert.match(await hand('{"id":"b"}', 'streams/No_Name/records'), /400 [^]*stream is \\"No_Name\\", use 1 to 63 lower-case letters/)

    const { seal } = await openSealing({ directory: join(site.dir, 'n1/agent'), keyFile: undefined })
    const identity = await loadNodeIdentity(join(site.dir, 'n1'), seal)
    assert.ok(identity)
    const ingest = (body: string, headers: Record<string, string>): Promise<string> =>
      new Promise((resolve, reject) => {
        const req = request(`${site.url}/collect/v1/ingest`, { method: 'POST', key: identity.keyPem, cert: identity.certPem, ca: identity.caPem, headers }, (res) => {
          let text = `${res.statusCode} `
          res.on('data', (c: Buffer) => (text += c.toString())).on('end', () => resolve(text))
        })
        req.on('error', reject).end(body)
      })
    assert.match(await ingest('x', {}), /^400 .*header x-skerry-epoch is \\"\\", want the id of the spool/)
    assert.match(await ingest('no batch at all', { 'x-skerry-epoch': 'e1' }), /^400 .*take batch/)

    assert.match(await hand('{"id":"c","data":{"n":2}}'), /^HTTP\/1\.1 202 /)
    assert.match(await hand('{"id":"a","data":{"n":1}}'), /^HTTP\/1\.1 202 /, 'the same again is fine')
    await site.kubectl('create', 'serviceaccount', 'reader')
    await site.kubectl('create', 'clusterrolebinding', 'reader', '--clusterrole=cluster-admin', '--serviceaccount=default:reader')
    const token = (await site.kubectl('create', 'token', 'reader')).out.trim()
    const ids = async (): Promise<string[]> => (JSON.parse((await site.call('GET', '/collect/v1/namespaces/default/streams/seen/records', token)).body) as { items: { id: string }[] }).items.map((r) => r.id)
    await until('both records', async () => (await ids()).includes('c'), 60_000)
    assert.deepEqual(await ids(), ['a', 'c'])
  })

  // Beside each other: they are about different nodes, and the first one waits for most of its time.
  describe('with a cut line, and with a borrowed name', { concurrency: 2 }, () => {
    test('cut off: a deleted pod stays Terminating and goes on return; Always starts the image that is present, with an Event', async () => {
      await site.kubectlUntil(/^always +1\/1 +Running/m, ['get', 'pods'])
      const restarts = async (): Promise<number> => Number(/"restartCount": *(\d+)/.exec((await site.kubectl('get', 'pod', 'always', '-o', 'json')).out)?.[1] ?? -1)
      const before = await restarts()
      const cutAt = Date.now()
      await site.lab.cut('n1')
      assert.equal((await site.kubectl('delete', 'pod', 'app-n1', '--wait=false')).code, 0)
      // Told once the server has noticed; its container that ends meanwhile is started again by the node alone.
      await site.kubectlUntil(/node 'n1': it is not connected; its agent must run and reach this server/, ['logs', 'app-n1', '--tail=1', '--request-timeout=3s'], 60_000)
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, cutAt + 15_000 - Date.now())))
      assert.match((await site.kubectl('get', 'pods')).out, /^app-n1 +1\/1 +Terminating/m, 'its node has not said that it is gone')
      await site.lab.mend('n1')
      await site.kubectlUntil(/NotFound/, ['get', 'pod', 'app-n1'])
      await events('always', /Warning +RegistryUnreachable .*No registry can be reached for image "bi-app:v1", starting the one present on this machine/)
      assert.ok((await restarts()) > before, 'it was started while cut off')
    })

    test('a name belongs to its machine: a second one is refused until it is approved, then the first one is; revoke ends a link', async () => {
      // The short token names no CA: the machine joins, and is told what that means.
      const long = await site.token('--node', 'gw')
      const first = site.agent('gw', { token: long.slice(long.indexOf('::') + 2) })
      await first.says(/the token pins no CA, so this server is trusted unseen; use the long token/)
      await site.kubectlUntil(/^gw +Ready/m, ['get', 'nodes'])
      await site.apply(pod('app-gw', 'gw', 'bi-app:v1', 'IfNotPresent'))
      await site.kubectlUntil(/^app-gw +1\/1 +Running/m, ['get', 'pods'])

      const second = (token: string, name = 'gw'): Running => site.agent(name, { token, host: 'gw2', data: 'gw2' })
      const refused = async (agent: Running, words: RegExp): Promise<void> => {
        assert.equal(await agent.ended, 1)
        assert.match(agent.said, words)
      }
      await refused(second(long), /token '\w{6}' was used already, by node 'gw', and is good for one; make another with `skerry token create`/)
      await refused(second(long, 'other'), /token '\w{6}' is only for node 'gw'; use that name, or make another token/)
      const other = await site.token()
      await refused(second(other), /another machine has this name \(machine id '\w{12}…\/tmp\/bi-node\/gw', yours is '\w{12}…\/tmp\/bi-node\/gw2'\); choose another name, or if this one replaces it run `skerry node approve gw` and join again/)
      await refused(second(`${other.slice(0, -3)}zzz`), /token '\w{6}' is not known to this server \(wrong, revoked or expired\); make one with `skerry token create`/)
      await refused(second(other.replace(/^S10......../, 'S10deadbeef')), /the token pins deadbeef[0-9a-f]{56}, the server has [0-9a-f]{64}; .*make a token with `skerry token create` on the server to be joined/)
      await refused(second(other.slice(0, 40)), /read join token: it has no '\.' between id and secret|it was cut off/)
      await refused(second(other, 'Gate_Way'), /node name 'Gate_Way' is not made of lower-case letters.*give another --node-name/)
      const brief = await site.token('--ttl', '1s')
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      await refused(second(brief), /token '\w{6}' (expired at|is not known to this server \(wrong, revoked or expired\)).*make one with `skerry token create`/)
      await site.kubectlUntil(/^gw +Ready/m, ['get', 'nodes'])

      assert.match((await site.skerry('node', 'approve', 'gw')).out, /node gw approved: the next machine that joins with a token under this name gets it/)
      const taken = second(other)
      await taken.says(/pods are served/)
      await first.says(/no link to the server.*another machine has taken over the name \\?"gw/)
      await site.kubectlUntil(/^gw +Ready/m, ['get', 'nodes'])
      // The new machine does what the name is bound to.
      await site.kubectlUntil(/started/, ['logs', 'app-gw'])
      await first.end('SIGTERM')

      assert.equal((await site.skerry('node', 'revoke', 'gw')).code, 0)
      await refused(taken, /it was revoked on its server, so its pods were ended and its local store was wiped: run `skerry node approve gw` there and join again with a token/)
      assert.match((await site.kubectl('logs', 'app-gw')).err, /node 'gw': it is not connected/)
    })
  })
})
