import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { UserInfo } from '../api/contract.ts'
import { FakeClock } from '../base/clock.ts'
import { Metrics } from '../base/metrics.ts'
import { FlowControl, levelOf, listWidth, MAX_WAIT_MS, type Leave } from './flow.ts'

const user = (name: string, ...groups: string[]): UserInfo => ({ name, groups: ['system:authenticated', ...groups] })
const NODE = user('system:node:n', 'system:nodes')
const never = new AbortController().signal
const seatsOf = (u: UserInfo): number => levelOf(u)?.seats ?? Infinity

/** A control whose entered requests stay inside until they are let go. */
function start(): { flow: FlowControl; clock: FakeClock; inside: [name: string, leave: Leave][]; refused: unknown[]; come: (u: UserInfo, width?: number, signal?: AbortSignal) => void } {
  const clock = new FakeClock()
  const flow = new FlowControl(clock, new Metrics())
  const inside: [string, Leave][] = []
  const refused: unknown[] = []
  const come = (u: UserInfo, width = 1, signal = never): void => void flow.enter(u, width, { signal }).then((leave) => inside.push([u.name, leave]), (error: unknown) => refused.push(error))
  return { flow, clock, inside, refused, come }
}

test('callers have the levels of Kubernetes, masters have none', () => {
  assert.equal(levelOf(user('root', 'system:masters')), undefined)
  assert.deepEqual([NODE, user('system:kube-scheduler'), user('alice'), { name: 'system:anonymous', groups: ['system:unauthenticated'] }].map((u) => levelOf(u)?.name), ['node-high', 'system', 'workload-low', 'catch-all'])
  assert.deepEqual([0, 500, 501, 1_000_000].map(listWidth), [1, 1, 2, 10])
})

test('a flood fills its own level and queue, is then refused, and keeps no one else waiting', async () => {
  const { inside, refused, come } = start()
  for (let i = 0; i < 1_000; i++) come(user('flood'), 10)
  come(NODE)
  come(user('root', 'system:masters'))
  await turn()
  assert.deepEqual(inside.map(([name]) => name).filter((n) => n !== 'flood'), ['system:node:n', 'root'])
  const seated = inside.length - 2
  assert.equal(seated, seatsOf(user('flood')) / 10)
  assert.equal(refused.length, 1_000 - seated - 100)
  const { status } = refused[0] as { status: { code: number; details: { retryAfterSeconds: number } } }
  assert.deepEqual([status.code, status.details.retryAfterSeconds], [429, 1])
})

test('users of one level take turns: who comes after a flood is next, not last', async () => {
  const { inside, come } = start()
  const seats = seatsOf(user('flood'))
  for (let i = 0; i < seats + 90; i++) come(user('flood'))
  come(user('alice'))
  come(user('bob'))
  await turn()
  for (let i = 0; i < 3; i++) inside.shift()?.[1]()
  await turn()
  await turn()
  assert.deepEqual(inside.slice(-3).map(([name]) => name), ['flood', 'alice', 'bob'])
})

test('who waits too long is refused, who goes away is forgotten, and neither holds a seat', async () => {
  const { clock, inside, refused, come } = start()
  const alice = user('alice')
  const gone = new AbortController()
  for (let i = 0; i < seatsOf(alice); i++) come(alice)
  come(alice, 1, gone.signal)
  come(alice)
  await turn()
  gone.abort(new Error('gone'))
  await turn()
  assert.equal((refused[0] as Error).message, 'gone')
  await clock.advance(MAX_WAIT_MS)
  assert.equal((refused[1] as { status: { code: number } }).status.code, 429)
  for (const [, leave] of inside.splice(0)) {
    leave()
    leave()
  }
  for (let i = 0; i < seatsOf(alice); i++) come(alice)
  await turn()
  assert.equal(inside.length, seatsOf(alice))
})
