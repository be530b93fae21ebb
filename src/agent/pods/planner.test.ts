import assert from 'node:assert/strict'
import test from 'node:test'
import type { Pod } from '../../api/gen/types.ts'
import type { Container, Sandbox } from '../../cri/mod.ts'
import { nextDelay, restartAt } from './backoff.ts'
import { ANNOTATION_DELAY, ANNOTATION_HASH, hashOf } from './names.ts'
import { plan, stepOf, type PlanInput } from './planner.ts'

const NOW = 1_000_000
const box: Sandbox = { id: 's1', name: 'p', namespace: 'd', uid: 'u', attempt: 0, state: 'ready', createdAtMs: 1, labels: {}, annotations: {} }
const spec = { name: 'main', image: 'app' }

function container(over: Partial<Container> = {}): Container {
  return {
    id: 'c1', sandboxId: 's1', name: 'main', attempt: 0, state: 'running', image: 'app', imageRef: '', createdAtMs: 1, startedAtMs: NOW - 5000, finishedAtMs: 0,
    exitCode: 0, reason: '', message: '', labels: {}, annotations: { [ANNOTATION_HASH]: hashOf(spec), [ANNOTATION_DELAY]: '0' }, ...over,
  }
}

function decide(over: Partial<PlanInput> = {}, pod: Partial<Pod['spec']> = {}, meta: object = {}): string[] {
  const input: PlanInput = {
    pod: { metadata: { uid: 'u', name: 'p', namespace: 'd', ...meta }, spec: { containers: [spec], ...pod } } as Pod,
    gone: false,
    observed: { sandboxes: [box], containers: [] },
    now: NOW,
    busy: new Set(),
    holds: new Map(),
    prepared: true,
    networkReady: true,
    started: () => true,
    unhealthy: () => undefined,
    ...over,
  }
  return plan(input).actions.map((a) => (a.type === 'start' ? `start ${a.name} #${a.attempt} ${a.delayMs}` : stepOf(a)))
}

test('volumes come before the sandbox, the sandbox before containers', () => {
  assert.deepEqual(decide({ prepared: false, observed: { sandboxes: [], containers: [] } }), ['prepare'])
  assert.deepEqual(decide({ observed: { sandboxes: [], containers: [] } }), ['sandbox'])
  assert.deepEqual(decide(), ['start main #0 0'])
})

test('volumes that will follow without fail hold up containers, not the sandbox', () => {
  const early = { prepared: false, placed: true, busy: new Set(['prepare']) }
  assert.deepEqual(decide({ ...early, observed: { sandboxes: [], containers: [] } }), ['sandbox'])
  assert.deepEqual(decide(early), [])
  assert.deepEqual(decide({ ...early, placed: false, observed: { sandboxes: [], containers: [] } }), [])
})

test('a pod waits for the pod network unless it is on the host network', () => {
  const none = { observed: { sandboxes: [], containers: [] }, networkReady: false }
  assert.deepEqual(decide(none), [])
  assert.deepEqual(decide(none, { hostNetwork: true }), ['sandbox'])
})

test('the containers of a pod start in the order of the spec, each when the one before has started or failed to', () => {
  const two = { containers: [spec, { name: 'side', image: 'app' }, { name: 'third', image: 'app' }] }
  const running = { observed: { sandboxes: [box], containers: [container()] } }
  assert.deepEqual(decide({}, two), ['start main #0 0'])
  assert.deepEqual(decide({ busy: new Set(['container:main']) }, two), [])
  assert.deepEqual(decide({ ...running, busy: new Set(['container:main']) }, two), [], 'its postStart hook runs')
  assert.deepEqual(decide(running, two), ['start side #0 0'])
  assert.deepEqual(decide({ holds: new Map([['container:main', NOW + 1]]) }, two), ['start side #0 0'])
  const ended = container({ state: 'exited', exitCode: 1, finishedAtMs: NOW })
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [ended] }, busy: new Set(['container:side']) }, two), ['start main #1 10000'], 'a later one that pulls its image holds up nothing before it')
})

test('a sandbox of a former pod network is replaced with all that runs in it', () => {
  const moved = (): boolean => true
  const running = { observed: { sandboxes: [box], containers: [container()] } }
  assert.deepEqual(decide({ ...running, moved }), ['kill:c1'])
  assert.deepEqual(decide({ moved, busy: new Set(['container:main']) }), [], 'a start may yet bring one to life')
  assert.deepEqual(decide({ moved }), ['stop:s1'])
  assert.deepEqual(decide({ moved, observed: { sandboxes: [{ ...box, state: 'not-ready' }], containers: [] } }), ['sandbox'])
})

test('a running container is adopted: nothing to do', () => {
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [container()] } }), [])
})

test('a step under way or on hold is not planned', () => {
  assert.deepEqual(decide({ busy: new Set(['container:main']) }), [])
  assert.deepEqual(decide({ holds: new Map([['container:main', NOW + 1]]) }), [])
})

test('restart policies decide about an ended container', () => {
  const ended = (exitCode: number) => ({ observed: { sandboxes: [box], containers: [container({ state: 'exited', exitCode, finishedAtMs: NOW - 1 })] } })
  assert.deepEqual(decide(ended(0)), ['start main #1 10000'])
  assert.deepEqual(decide(ended(1), { restartPolicy: 'OnFailure' }), ['start main #1 10000'])
  assert.deepEqual(decide(ended(0), { restartPolicy: 'OnFailure' }), ['stop:s1'])
  assert.deepEqual(decide(ended(1), { restartPolicy: 'Never' }), ['stop:s1'])
})

test('crash backoff doubles to five minutes and starts afresh after ten minutes of running', () => {
  const ended = (delay: number, ran: number): Container =>
    container({ state: 'exited', exitCode: 1, startedAtMs: NOW - ran, finishedAtMs: NOW, annotations: { [ANNOTATION_DELAY]: String(delay) } })
  assert.equal(restartAt(ended(0, 10), NOW), NOW)
  assert.equal(restartAt(ended(40_000, 10), NOW), NOW + 40_000)
  assert.equal(nextDelay(ended(40_000, 10)), 80_000)
  assert.equal(nextDelay(ended(200_000, 10)), 300_000)
  assert.equal(restartAt(ended(300_000, 601_000), NOW), NOW)
  assert.equal(nextDelay(ended(300_000, 601_000)), 10_000)
})

test('a clock that is set back holds up nothing: what waited by the former time is done', () => {
  const ended = container({ state: 'exited', exitCode: 1, finishedAtMs: NOW + 1e9, startedAtMs: NOW + 1e9 - 5, annotations: { [ANNOTATION_HASH]: hashOf(spec), [ANNOTATION_DELAY]: '20000' } })
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [ended] } }), ['start main #1 40000'])
  assert.deepEqual(decide({ holds: new Map([['container:main', NOW + 1e9]]) }), ['start main #0 0'])
  assert.deepEqual(decide({ holds: new Map([['container:main', NOW + 300_000]]) }), [])
  const justNow = { ...ended, startedAtMs: NOW - 5, finishedAtMs: NOW + 0.7 }
  assert.equal(restartAt(justNow, NOW), NOW + 20_000, 'a part of a millisecond is no jump')
})

test('containers of a dead sandbox end before a new sandbox is made', () => {
  const dead = { ...box, state: 'not-ready' as const }
  assert.deepEqual(decide({ observed: { sandboxes: [dead], containers: [container()] } }), ['kill:c1'])
  assert.deepEqual(decide({ observed: { sandboxes: [dead], containers: [container({ state: 'exited', finishedAtMs: NOW })] } }), ['sandbox'])
})

test('a new sandbox starts containers with the next number, at once', () => {
  const old = container({ sandboxId: 's0', attempt: 4, state: 'exited', exitCode: 137, finishedAtMs: NOW - 1 })
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [old] } }), ['start main #5 0'])
})

test('deletion stops main containers first, then sidecars in reverse, then the sandbox, then finishes', () => {
  const inits = { initContainers: [{ name: 's1', image: 'x', restartPolicy: 'Always' }, { name: 's2', image: 'x', restartPolicy: 'Always' }] }
  const gone = { deletionTimestamp: 'now', deletionGracePeriodSeconds: 5 }
  const side = (name: string): Container => container({ id: name, name })
  const see = (sandboxes: Sandbox[], containers: Container[], busy: string[] = []) => decide({ observed: { sandboxes, containers }, busy: new Set(busy) }, inits, gone)
  assert.deepEqual(see([box], [container(), side('s1'), side('s2')]), ['kill:c1'])
  assert.deepEqual(see([box], [side('s1'), side('s2')]), ['kill:s2'])
  assert.deepEqual(see([box], []), ['stop:s1'])
  assert.deepEqual(see([{ ...box, state: 'not-ready' }], [], ['stop:s1']), [])
  assert.deepEqual(see([{ ...box, state: 'not-ready' }], []), ['finish'])
})

test('a failed init container of a pod that never restarts ends the pod', () => {
  const failed = container({ name: 'i', state: 'exited', exitCode: 1, finishedAtMs: NOW, annotations: { [ANNOTATION_HASH]: hashOf({ name: 'i', image: 'app' }) } })
  const pod = { restartPolicy: 'Never', initContainers: [{ name: 'i', image: 'app' }] }
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [failed] } }, pod), ['stop:s1'])
})

test('init containers whose remains were cleaned away do not run again beside a main container', () => {
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [container()] } }, { initContainers: [{ name: 'i', image: 'app' }] }), [])
})

test('dead containers beyond the newest two of a name are removed', () => {
  const old = [0, 1, 2].map((attempt) => container({ id: `c${attempt}`, attempt, state: 'exited', finishedAtMs: NOW }))
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [...old, container({ id: 'c3', attempt: 3 })] } }), ['remove:c1', 'remove:c0'])
})

test('an ephemeral container starts beside what runs or does not yet, once, and is never started again', () => {
  const debug = { ephemeralContainers: [{ name: 'debug', image: 'busybox' }] }
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [container()] } }, debug), ['start debug #0 0'])
  const init = { ...debug, initContainers: [{ name: 'init', image: 'app' }] }
  assert.deepEqual(decide({}, init), ['start debug #0 0', 'start init #0 0'], 'it does not wait for init containers, nor they for it')
  const ended = container({ id: 'c2', name: 'debug', state: 'exited', exitCode: 1, finishedAtMs: NOW - 1 })
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [container(), ended] } }, debug), [])
  const input: PlanInput = {
    pod: { metadata: { uid: 'u' }, spec: { containers: [spec], ...debug }, status: { ephemeralContainerStatuses: [{ name: 'debug', containerID: 'containerd://gone' }] } } as unknown as Pod,
    gone: false, observed: { sandboxes: [box], containers: [container()] }, now: NOW, busy: new Set(), holds: new Map(), prepared: true, networkReady: true, started: () => true, unhealthy: () => undefined,
  }
  assert.deepEqual(plan(input).actions, [], 'not after a reboot either')
})

test('a pod that has ended does not wait for who looks into it', () => {
  const done = container({ state: 'exited', exitCode: 0, finishedAtMs: NOW - 1 })
  const debug = container({ id: 'c2', name: 'debug' })
  assert.deepEqual(decide({ observed: { sandboxes: [box], containers: [done, debug] } }, { restartPolicy: 'Never', ephemeralContainers: [{ name: 'debug', image: 'busybox' }] }), ['kill:c2'])
})

test('sidecars share the grace that the main containers left over, two seconds at least', () => {
  const side = { name: 'side', image: 'app', restartPolicy: 'Always' }
  const grace = (endingSeconds: number): number | undefined => {
    const input: PlanInput = {
      pod: { metadata: { uid: 'u', name: 'p', namespace: 'd', deletionTimestamp: 't', deletionGracePeriodSeconds: 30 }, spec: { initContainers: [side], containers: [spec] } } as Pod,
      gone: false, observed: { sandboxes: [box], containers: [container({ name: 'side' })] }, now: NOW, busy: new Set(), holds: new Map(), prepared: true, networkReady: true,
      started: () => true, unhealthy: () => undefined, endingSeconds,
    }
    const [action] = plan(input).actions
    return action?.type === 'kill' ? action.graceSeconds : undefined
  }
  assert.deepEqual([grace(0), grace(12), grace(29), grace(90)], [30, 18, 2, 2])
})
