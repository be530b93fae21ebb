import { logSuite } from '../../test/suites/log.ts'
import { createMemoryLog } from './memory-log.ts'

logSuite('memory log', async () => ({ open: async (options) => createMemoryLog(options) }))
