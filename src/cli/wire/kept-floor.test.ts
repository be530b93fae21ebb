import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { setLogSink } from '../../base/log.ts'
import { keptFloor } from './kept-floor.ts'

const T = Date.UTC(2026, 10, 23)
const HOUR = 3_600_000

test('the time that a server said is the least there is, also after a boot in 1970, until the clock is right', async () => {
  const said: string[] = []
  const former = setLogSink((line) => void said.push(JSON.stringify(line)))
  const directory = await mkdtemp(join(tmpdir(), 'skerry-floor-'))
  const path = join(directory, 'clock')
  try {
    const machine = new FakeClock(T)
    const first = await keptFloor(path, machine)
    assert.equal(first.clock.now(), T, 'nothing is known: the clock of the machine counts')
    first.raise(T - 2000)
    assert.equal(first.clock.now(), T)
    await machine.advance(HOUR)
    first.raise(T + 2 * HOUR)
    assert.equal(first.clock.now(), T + 2 * HOUR, 'the server is ahead')
    await machine.advance(1000)
    assert.equal(first.clock.now(), T + 2 * HOUR + 1000, 'and time goes on from there')
    first.raise(T + HOUR + 2000)
    assert.equal(first.clock.now(), T + 2 * HOUR + 1000, 'not back for a server that is a little behind another')
    await first.close()

    const boot = new FakeClock(5 * 60_000)
    const second = await keptFloor(path, boot)
    assert.equal(second.clock.now(), T + 2 * HOUR + 1000)
    assert.ok(said.some((line) => line.includes("the machine's clock is behind the last known time")), said.join('\n'))
    await boot.advance(HOUR)
    assert.equal(second.clock.now(), T + 3 * HOUR + 1000)
    await second.close()
    assert.equal(Number(await readFile(path, 'utf8')), T + 2 * HOUR + 1000, 'what no server said is not kept')

    const drawer = new FakeClock(T + 400 * 24 * HOUR)
    assert.equal((await keptFloor(path, drawer)).clock.now(), T + 400 * 24 * HOUR, 'a clock that is ahead may be right')
    for (const damage of ['', 'soon', '-5', '1e99', '\u0000\u0000']) {
      await writeFile(path, damage)
      assert.equal((await keptFloor(path, new FakeClock(1000))).clock.now(), 1000, JSON.stringify(damage))
    }
    const odd = await keptFloor(path, new FakeClock(T))
    for (const ms of [Number.NaN, 0, Date.UTC(2300)]) odd.raise(ms)
    assert.equal(odd.clock.now(), T, 'a server that is out of its mind')
  } finally {
    setLogSink(former)
    await rm(directory, { recursive: true })
  }
})

test('a server whose clock was years ahead and is set right takes the floor back with it', async () => {
  const former = setLogSink(() => undefined)
  const directory = await mkdtemp(join(tmpdir(), 'skerry-floor-'))
  const path = join(directory, 'clock')
  try {
    const floor = await keptFloor(path, new FakeClock(T))
    floor.raise(Date.UTC(2040))
    assert.equal(floor.clock.now(), Date.UTC(2040))
    floor.raise(T)
    assert.equal(floor.clock.now(), T)
    await floor.close()
    assert.equal((await keptFloor(path, new FakeClock(0))).clock.now(), T)
  } finally {
    setLogSink(former)
    await rm(directory, { recursive: true })
  }
})

test('it is written once an hour, however often a server speaks', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-floor-'))
  const path = join(directory, 'clock')
  try {
    const machine = new FakeClock(T)
    const floor = await keptFloor(path, machine)
    const read = async (): Promise<number> => Number(await readFile(path, 'utf8').catch(() => 0))
    floor.raise(T)
    for (let i = 0; i < 100 && (await read()) !== T; i++) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(await read(), T, 'the first one at once')
    for (let i = 1; i < 60; i++) {
      await machine.advance(60_000)
      floor.raise(T + i * 60_000)
    }
    assert.equal(await read(), T)
    await machine.advance(60_000)
    floor.raise(T + HOUR)
    await floor.close()
    assert.equal(await read(), T + HOUR)
  } finally {
    await rm(directory, { recursive: true })
  }
})
