/**
 * The red-light camera from end to end, on machines made of network namespaces: see the README beside. `--once` runs the
 * story, cleans up and prints one JSON object as its last line; without it everything stays up to be looked at.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { buildAppImages } from './images.ts'
import { chapter, seconds, sleep, step, tell } from './tell.ts'
import { lockDirectory } from '../../../src/cli/wire/lock.ts'
import { World } from './world.ts'
import * as story from './story.ts'

const { values: args } = parseArgs({
  options: { once: { type: 'boolean', default: false }, seed: { type: 'string' }, cycles: { type: 'string' }, 'keep-data': { type: 'boolean', default: false }, name: { type: 'string', default: 'skd' }, block: { type: 'string', default: '251' } },
})
/** Another name and network block let a second demo run beside the first. */
const DIR = args.name === 'skd' ? '/var/lib/skerry-demo' : `/var/lib/skerry-demo-${args.name}`
const seed = args.seed === undefined ? randomInt(1, 1_000_000) : Number(args.seed)
if (!Number.isSafeInteger(seed)) {
  console.error(`demo: --seed "${args.seed}" is not a whole number`)
  process.exit(2)
}
// The story with its outages takes about ten cycles; the cameras play on a little so that the last step has traffic too.
const cycles = Number(args.cycles ?? (args.once ? 14 : 500))

if (!/^[a-z]{1,4}$/.test(args.name) || !(Number(args.block) > 0 && Number(args.block) < 255)) {
  console.error(`demo: --name "${args.name}" must be 1 to 4 letters, --block "${args.block}" between 1 and 254`)
  process.exit(2)
}
let unlock = async (): Promise<void> => {}
try {
  unlock = await lockDirectory(`${DIR}.lock`, 'demo')
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : String(error)}; or run a second one with --name abc --block 252`)
  process.exit(1)
}
let world: World | undefined
let failed = false
const stop = async (code: number): Promise<never> => {
  await world?.close(args['keep-data'] || failed)
  await unlock()
  process.exit(code)
}
process.on('SIGINT', () => void stop(130))
process.on('SIGTERM', () => void stop(143))

try {
  chapter(`Skerry: red-light cameras at three crossings, seed ${seed}`)
  const images = await step('building the app images v1 and v2 on this machine', () => buildAppImages())
  world = await step('making five machines: a server, and four nodes behind NAT', () => World.create({ dir: DIR, name: args.name, block: Number(args.block) }))
  const w = world
  const result = await story.run(w, { seed, cycles, images })
  if (args.once) {
    const wrong = story.verdict(result)
    await step('stopping and cleaning up', () => w.close(wrong.length > 0))
    if (wrong.length > 0) tell(`the logs stay in ${DIR}/logs`)
    world = undefined
    await unlock()
    console.log(JSON.stringify({ ...result, seconds: Math.round(seconds()) }))
    process.exit(wrong.length === 0 ? 0 : 1)
  }
  chapter('It stays up. Try:')
  tell(`export KUBECONFIG=${w.kubeconfig}`)
  tell('dist/clients/kubectl get devices,pods,nodes -o wide')
  tell(`dist/clients/kubectl patch device cam-1 --type json -p '[{"op":"replace","path":"/spec/properties/1/desired/value","value":"8"}]'`)
  tell(`open ${w.url}/pages/default/violations/ and sign in with: dist/clients/kubectl create token reviewer`)
  tell(`bin/skerry image list --data-dir ${DIR}/server`)
  tell(`logs: ${DIR}/logs; press Ctrl-C to stop and clean up`)
  for (;;) await sleep(60_000)
} catch (error) {
  failed = true
  console.error(`\ndemo: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  console.error(`demo: the logs stay in ${DIR}/logs`)
  await stop(1)
}
