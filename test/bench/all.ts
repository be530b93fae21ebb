/**
 * All figures: `bin/node test/bench/all.ts` runs every section and rewrites the generated part of `docs/figures.md`, section by
 * section, so that what was measured stays when a later one fails. As root, on a machine that does nothing else.
 *   --only NAME   only this section (repeat); the others keep what they had
 *   --quick       small counts, printed only: shows that the benchmarks work
 *   --print       full counts, printed only
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { setLogSink, textSink } from '../../src/base/log.ts'
import { ROOT } from '../../tools/files.ts'
import { api, store, tunnel } from './children.ts'
import { demo } from './demo.ts'
import { devicesLive } from './devices-live.ts'
import { place, sectionText } from './figures.ts'
import { fleet } from './fleet.ts'
import { idle } from './idle.ts'
import { FULL, load, machine, QUICK, type Effort, type Figures } from './measure.ts'
import { pods } from './pods.ts'
import { starts } from './starts.ts'

const SECTIONS: Readonly<Record<string, { readonly title: string; readonly run: (effort: Effort) => Promise<Figures> }>> = {
  starts: { title: 'Starts', run: starts },
  pods: { title: 'Pods', run: pods },
  idle: { title: 'Idle', run: idle },
  fleet: { title: 'A server with 20 nodes', run: fleet },
  devices: { title: 'Devices', run: devicesLive },
  demo: { title: 'The demo', run: demo },
  tunnel: { title: 'The node’s connection', run: tunnel },
  store: { title: 'Store', run: store },
  api: { title: 'API', run: api },
}
/** Above this many waiting processes the neighbours are measured too. */
const QUIET = 0.7
const PAGE = join(ROOT, 'docs/figures.md')

const { values } = parseArgs({ options: { only: { type: 'string', multiple: true }, quick: { type: 'boolean', default: false }, print: { type: 'boolean', default: false } } })
const chosen = values.only ?? Object.keys(SECTIONS)
const unknown = chosen.filter((name) => !(name in SECTIONS))
if (unknown.length > 0) {
  console.error(`bench: --only "${unknown.join(', ')}" is not one of ${Object.keys(SECTIONS).join(', ')}`)
  process.exit(2)
}
setLogSink(textSink('error'))
const failed: string[] = []
console.log(`machine: ${machine()}, load ${load()}`)
if (load() > QUIET) console.log(`bench: the load average is ${load()}, over ${QUIET}: these figures show other work too`)
for (const name of chosen) {
  const section = SECTIONS[name]
  if (!section) continue
  const before = load()
  const begin = performance.now()
  try {
    const figures = await section.run(values.quick ? QUICK : FULL)
    const text = sectionText(section.title, figures, { machine: machine(), load: before, date: new Date().toISOString().slice(0, 16).replace('T', ' ') })
    console.log(`\n${text}\n(${name}: ${Math.round((performance.now() - begin) / 1000)} s)`)
    if (!values.quick && !values.print) writeFileSync(PAGE, place(readFileSync(PAGE, 'utf8'), Object.keys(SECTIONS), name, text))
  } catch (error) {
    failed.push(name)
    console.error(`\nbench: section ${name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  }
}
if (failed.length > 0) console.error(`bench: failed: ${failed.join(', ')}; repeat with ${failed.map((f) => `--only ${f}`).join(' ')}`)
process.exit(failed.length > 0 ? 1 : 0)
