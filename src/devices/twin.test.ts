import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { EMPTY_TWIN, toDeliver, withDelivered, withDesired, withRefused, withReported, withRestart, type Twin } from './twin.ts'

/** One step of the world: the spec changes (perhaps seen late), the device takes, fails, restarts, says something. */
const step = fc.oneof(
  fc.record({ op: fc.constant('spec' as const), a: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }), b: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }) }),
  fc.record({ op: fc.constant('stale' as const), back: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ op: fc.constant('take' as const), which: fc.nat(3), answer: fc.boolean() }),
  fc.record({ op: fc.constant('fail' as const) }),
  fc.record({ op: fc.constant('late' as const), which: fc.nat(5) }),
  fc.record({ op: fc.constant('restart' as const) }),
  fc.record({ op: fc.constant('say' as const), property: fc.constantFrom('a', 'b'), value: fc.integer(), back: fc.nat(3) }),
)

test('over any history: no desired value is lost, none regresses, and with the device there the twin converges', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (history) => {
      let twin: Twin = EMPTY_TWIN
      let generation = 0
      let order = 0
      const specs: Map<string, unknown>[] = [new Map()]
      const device = new Map<string, unknown>()
      const taken: { property: string; version: number }[] = []
      const take = (which: number, answer: boolean): void => {
        const due = toDeliver(twin)
        const d = due[which % Math.max(1, due.length)]
        if (!d) return
        device.set(d.property, d.value)
        twin = withDelivered(twin, d.property, d.version)
        if (answer) twin = withReported(twin, d.property, d.value, 0, ++order)
        taken.push(d)
      }
      for (const s of history) {
        const before = twin
        if (s.op === 'spec') {
          const wanted = new Map<string, unknown>()
          if (s.a !== undefined) wanted.set('a', s.a)
          if (s.b !== undefined) wanted.set('b', s.b)
          specs.push(wanted)
          twin = withDesired(twin, wanted, ++generation)
        } else if (s.op === 'stale' && generation > s.back) {
          twin = withDesired(twin, specs[generation - s.back] as Map<string, unknown>, generation - s.back)
          assert.equal(twin, before, 'an older spec changes nothing')
        } else if (s.op === 'take') take(s.which, s.answer)
        else if (s.op === 'late') {
          const late = taken.at(-1 - s.which)
          if (late) twin = withDelivered(twin, late.property, late.version)
          for (const p of Object.keys(twin.properties)) assert.ok((twin.properties[p]?.delivered ?? 0) >= (before.properties[p]?.delivered ?? 0))
        } else if (s.op === 'restart') {
          device.clear()
          taken.length = 0 // what a former session answers is not listened to
          twin = withRestart(twin)
        } else if (s.op === 'say') {
          const mine = s.back === 0 ? ++order : Math.max(0, order - s.back)
          twin = withReported(twin, s.property, s.value, 0, mine)
          assert.ok((twin.properties[s.property]?.reported?.order ?? -1) >= (before.properties[s.property]?.reported?.order ?? -1), 'reported never goes back')
        }
        const now = specs[generation] as Map<string, unknown>
        for (const p of ['a', 'b']) assert.deepEqual(twin.properties[p]?.desired?.value, now.get(p), 'what is wanted is what the newest spec says')
      }
      for (let i = 0; i < 10 && toDeliver(twin).length > 0; i++) take(0, true)
      assert.deepEqual(toDeliver(twin), [])
      for (const [p, wanted] of specs[generation] as Map<string, unknown>) assert.equal(device.get(p), wanted, `${p} is on the device`)
    }),
    { numRuns: 300 },
  )
})

test('a refused value is not tried again until it changes, and a restart tries it again', () => {
  let twin = withDesired(EMPTY_TWIN, new Map([['a', 5]]), 1)
  twin = withRefused(twin, 'a', 1, 'too much')
  assert.deepEqual(toDeliver(twin), [])
  assert.deepEqual(toDeliver(withDesired(twin, new Map([['a', 4]]), 2)), [{ property: 'a', value: 4, version: 2 }])
  assert.equal(toDeliver(withRestart(twin)).length, 1)
})
