/**
 * A test reporter that shows failures and skips with their reasons, one line a file, and the usual closing counts.
 * Files with failures are also written to the file that `SKERRY_FAILED_FILES` names, a line each.
 */
import { appendFileSync } from 'node:fs'
import type { TestEvent } from 'node:test/reporters'

/** Used by node:test through --test-reporter. */
export default async function* quiet(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const failures: string[] = []
  const list = process.env['SKERRY_FAILED_FILES']
  for await (const event of source) {
    switch (event.type) {
      case 'test:fail': {
        if (list !== undefined && event.data.file !== undefined) appendFileSync(list, `${event.data.file}\n`)
        const cause = event.data.details.error.cause ?? event.data.details.error
        // A suite that fails because a test in it did: that one is told. Its hooks may fail as well.
        const { failureType } = event.data.details.error as { failureType?: string }
        if (failureType !== 'subtestsFailed') failures.push(`✖ ${event.data.name} (${event.data.file}:${event.data.line})\n  ${String(cause instanceof Error ? cause.stack : cause).replaceAll('\n', '\n  ')}\n`)
        break
      }
      case 'test:pass':
        if (event.data.skip !== undefined) yield `﹣ ${event.data.name} # SKIP ${String(event.data.skip)}\n`
        break
      case 'test:stderr':
      case 'test:stdout':
        failures.push(event.data.message)
        if (failures.length > 2000) failures.splice(0, 1000)
        break
      case 'test:diagnostic':
        yield `ℹ ${event.data.message}\n`
        break
      case 'test:interrupted':
        for (const { name, file } of event.data.tests) yield `✖ not over when told to stop: ${name} (${file})\n`
        break
      case 'test:summary':
        if (event.data.file !== undefined && !event.data.success) yield `✖ ${event.data.file}\n`
        break
      default:
    }
  }
  if (failures.some((f) => f.startsWith('✖'))) yield failures.join('')
}
