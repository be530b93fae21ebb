import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { playHistories } from '../../../test/suites/api-history.ts'
import { systemClock } from '../../base/clock.ts'
import { createMemoryStore, openSqliteStore } from '../../store/mod.ts'

const timeout = 600_000

test('every history of writes, watches, pages, restarts and compactions is what the model says', { timeout }, () => playHistories(async () => [createMemoryStore()], 10))

test('on the store of one server as well', { timeout }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'skerry-history-'))
  let n = 0
  try {
    await playHistories(async () => [await openSqliteStore({ path: join(directory, `${n++}.db`), clock: systemClock })], 5)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
