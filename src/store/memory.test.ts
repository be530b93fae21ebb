import { storeSuite } from '../../test/suites/store.ts'
import { createMemoryStore } from './memory.ts'

storeSuite('memory', async (options) => createMemoryStore(options))
