/** `skerry agent drill offline-reboot|power-loss|clock`: what this node's promise is worth, in seconds. */
import { AppError } from '../../base/errors.ts'
import { DATA_DIR, dataDirOf, type Command } from '../command.ts'
import { pathsOf } from '../paths.ts'

export const drillCommand: Command = {
  name: 'agent drill',
  usage: 'offline-reboot|power-loss|clock',
  help: 'take power (and line, or clock) from this node, and time how everything comes back',
  flags: [
    DATA_DIR,
    { name: 'yes', type: 'boolean', help: "really do it: all pods of this node end for some seconds", default: false },
    { name: 'timeout', type: 'number', value: 'SECONDS', help: 'longest wait for pods and devices to be back', default: 120 },
    { name: 'output', type: 'string', value: 'FORMAT', help: 'text or json', default: 'text' },
  ],
  async run({ settings, args, signal, print }) {
    const [name] = args
    const { DRILLS, runDrill } = await import('../drill/drill.ts')
    const drill = DRILLS.find((d) => d === name)
    if (drill === undefined || args.length > 1) throw new AppError('invalid', `drill: "${args.join(' ')}" is not one of ${DRILLS.join(', ')}`)
    const output = String(settings['output'])
    if (!['text', 'json'].includes(output)) throw new AppError('invalid', `drill: --output is "${output}", expected text or json`)
    const timeout = Number(settings['timeout'])
    if (!(timeout >= 1 && timeout <= 3600)) throw new AppError('invalid', `drill: --timeout ${String(settings['timeout'])} is not between 1 and 3600 seconds`)
    if (process.getuid?.() !== 0) throw new AppError('forbidden', `drill: user id ${process.getuid?.()} is not root, and it ends and starts containers: run it with sudo`)
    if (settings['yes'] !== true) throw new AppError('conflict', `drill ${drill}: it ends all pods of this node and starts them again, some seconds each: say --yes if that is well now`)
    const text = output === 'text'
    const result = await runDrill({
      paths: pathsOf(dataDirOf(settings)),
      drill,
      timeoutMs: timeout * 1000,
      signal,
      tell: ({ what, ms }) => text && print(`${(ms / 1000).toFixed(2).padStart(7)} s  ${what}`),
    })
    const { pods, devices, backMs, missing, node } = result
    if (!text) print(JSON.stringify(result))
    else print(`${result.ok ? 'passed' : 'FAILED'}: ${drill} on node ${node}: ${pods.back}/${pods.expected} pods and ${devices.back}/${devices.expected} devices back in ${(backMs / 1000).toFixed(1)} s${missing.length === 0 ? '' : `; missing: ${missing.join(', ')}`}`)
    return result.ok ? 0 : 1
  },
}
