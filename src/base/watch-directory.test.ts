import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from '../../test/kit/until.ts'
import { watchDirectory } from './watch-directory.ts'

test('a directory is watched until the signal aborts; one that cannot be is told, not thrown', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-watch-'))
  const stop = new AbortController()
  const seen: (string | null)[] = []
  const failures: unknown[] = []
  try {
    watchDirectory(directory, stop.signal, (name) => seen.push(name), (error) => failures.push(error))
    await until('the news', () => {
      writeFileSync(join(directory, 'a'), String(seen.length))
      return seen.includes('a')
    })
    watchDirectory(join(directory, 'nowhere'), stop.signal, () => undefined, (error) => failures.push(error))
    assert.deepEqual(failures.map((e) => (e as NodeJS.ErrnoException).code), ['ENOENT'])
  } finally {
    stop.abort()
    rmSync(directory, { recursive: true })
  }
})
