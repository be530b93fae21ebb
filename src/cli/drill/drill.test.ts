import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AgentStatus, PodState } from '../wire/node-status.ts'
import { back, expected } from './drill.ts'
import { cutRules, peersOf } from './line.ts'
import { lockHolder, serviceOf } from './running.ts'

const pod = (uid: string, more: Partial<PodState> = {}): PodState => ({ name: `default/${uid}`, uid, ready: true, restarts: true, containers: [`c-${uid}`], ...more })
const status = (pods: PodState[], devices: AgentStatus['devices'] = []): AgentStatus => ({ node: 'n', pid: 1, connected: true, servers: [], pods, devices })

test('expected back are Ready pods that restart, and devices that were online', () => {
  const before = status([pod('a'), pod('job', { restarts: false }), pod('sick', { ready: false })], [{ name: 'd/1', state: 'online' }, { name: 'd/2', state: 'offline' }])
  assert.deepEqual(expected(before), { pods: [before.pods[0]], devices: [before.devices[0]] })
})

test('a pod is back when it is Ready in new containers, not when its old state is remembered', () => {
  const before = status([pod('a'), pod('b'), pod('c')], [{ name: 'd/1', state: 'online' }])
  const now = status([pod('a', { containers: ['new'] }), pod('b'), pod('c', { containers: ['new2'], ready: false })], [{ name: 'd/1', state: 'unknown' }])
  assert.deepEqual([...back(before, now)], ['pod default/a'])
  assert.deepEqual([...back(before, status([pod('x', { name: 'default/a' })], [{ name: 'd/1', state: 'online' }]))], ['device d/1'], 'a pod of the same name is another pod')
  assert.deepEqual([...back(before, status([pod('a', { containers: [] })]))], [])
})

test('a lock names a process only while that very process lives', () => {
  const stat = `7 (a) b) S ${Array.from({ length: 18 }, (_, i) => i).join(' ')} 4711 0`
  assert.equal(lockHolder('7 4711@boot\n', () => stat, 'boot'), 7)
  assert.equal(lockHolder('7 4711@boot', () => stat, 'another'), undefined)
  assert.equal(lockHolder('7 4712@boot', () => stat, 'boot'), undefined)
  assert.equal(lockHolder('7 4711@boot', () => stat.replace(') S', ') Z'), 'boot'), undefined)
  for (const text of ['', 'x 1@boot', '-1 4711@boot']) assert.equal(lockHolder(text, () => '', 'boot'), undefined)
})

test('the service manager is found by the agent’s cgroup', () => {
  assert.deepEqual(serviceOf('0::/system.slice/skerry-agent.service\n', true, false)?.stop, ['systemctl', 'stop', 'skerry-agent.service'])
  assert.equal(serviceOf('0::/user.slice/session-1.scope\n', true, false), undefined)
  assert.deepEqual(serviceOf('', false, true)?.start, ['rc-service', 'skerry-agent', 'start'])
  assert.equal(serviceOf('0::/system.slice/skerry-agent.service', false, false), undefined)
})

test('the rules cut both ways, for both kinds of address, and end by themselves', async () => {
  const peers = await peersOf(['https://10.1.2.3:6443', 'http://[2001:db8::1]', 'https://192.0.2.7'])
  assert.deepEqual(peers, [{ address: '10.1.2.3', port: 6443 }, { address: '2001:db8::1', port: 80 }, { address: '192.0.2.7', port: 443 }])
  const rules = cutRules('skerry_drill_x', peers, 300)
  assert.match(rules, /elements = \{ 10\.1\.2\.3 \. 6443 timeout 300s, 192\.0\.2\.7 \. 443 timeout 300s \}/)
  assert.match(rules, /elements = \{ 2001:db8::1 \. 80 timeout 300s \}/)
  assert.match(rules, /hook output .*ip daddr \. tcp dport @peers4 drop/)
  assert.match(rules, /hook input .*ip6 saddr \. tcp sport @peers6 drop/)
  await assert.rejects(peersOf(['https://no.such.name.invalid:6443']), { code: 'unavailable', message: /no\.such\.name\.invalid.*power-loss/ })
})
