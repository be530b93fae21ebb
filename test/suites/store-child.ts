/**
 * A process that writes to an SQLite store and says what was acknowledged, for tests that kill it, watch its system calls
 * or make them slow or failing. Usage: `store-child.ts <file> <mode>`.
 */
import { writeSync } from 'node:fs'
import { AppError } from '../../src/base/errors.ts'
import { setLogSink } from '../../src/base/log.ts'
import { openSqliteStore } from '../../src/store/mod.ts'

const [path = '', mode = ''] = process.argv.slice(2)
/** Says a line at once; waits when the reader is behind. */
function say(text: string): void {
  for (let rest = Buffer.from(`${text}\n`); rest.length > 0; ) {
    try {
      rest = rest.subarray(writeSync(1, rest))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}
setLogSink(() => {})
const store = await openSqliteStore({ path })

switch (mode) {
  // Twenty writes, one after the other.
  case 'sequence':
    for (let i = 0; i < 20; i++) say(`ack ${await store.put(`/k/${i}`, 'x'.repeat(500), 0)}`)
    say(`stats ${JSON.stringify(await store.stats())}`)
    break
  // Sixteen writers until the end of the world; each key is put, changed and deleted, and history is compacted meanwhile.
  case 'flood': {
    const run = String(process.pid)
    const writer = async (w: number): Promise<void> => {
      for (let i = 0; ; i++) {
        const key = `/${run}/${w}/${i}`
        const first = await store.put(key, `first ${i}`, 0)
        say(`put ${key} ${first} first ${i}`)
        if (i % 3 === 0) continue
        const second = await store.put(key, `second ${i} ${'x'.repeat(i % 900)}`, first)
        say(`put ${key} ${second} second ${i} ${'x'.repeat(i % 900)}`)
        if (i % 3 === 1) continue
        say(`delete ${key} ${await store.delete(key, second)}`)
        if (i % 50 === 2) await store.compact(first)
      }
    }
    await Promise.all(Array.from({ length: 16 }, (_, w) => writer(w)))
    break
  }
  // Writes on a slow disk: how long was the event loop away, and how long did a read take?
  case 'slow': {
    await store.put('/read', 'x', 0)
    let [gap, read, last] = [0, 0, performance.now()]
    const timer = setInterval(() => {
      const now = performance.now()
      gap = Math.max(gap, now - last)
      last = now
      void store.get('/read').then(() => (read = Math.max(read, performance.now() - now)))
    }, 1)
    const begin = performance.now()
    for (let i = 0; i < 4; i++) await store.put(`/slow/${i}`, 'x', 0)
    clearInterval(timer)
    say(JSON.stringify({ gap, read, perPut: (performance.now() - begin) / 4 }))
    break
  }
  // Writes while the disk fails now and then.
  case 'faulty':
    for (let i = 0; i < 12; i++) {
      const outcome = await store.put(`/k/${i}`, 'x', 0).then(
        () => 'ok',
        (e: unknown) => (e instanceof AppError ? e.code : String(e)),
      )
      const kept = (await store.get(`/k/${i}`)).entry !== undefined
      say(`${outcome} ${kept ? 'kept' : 'absent'}`)
    }
    break
}
await store[Symbol.asyncDispose]()
