import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { storeSuite } from '../../test/suites/store.ts'
import { openSqliteStore } from './sqlite.ts'

const directory = mkdtempSync(join(tmpdir(), 'skerry-store-'))
after(() => rmSync(directory, { recursive: true }))
let n = 0

storeSuite('sqlite', (options) => openSqliteStore({ path: join(directory, `${n++}.db`), ...options }))
