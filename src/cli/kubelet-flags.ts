/** The settings of a kubelet that a node has too, under the kubelet's names; `agent/node/kubelet-settings.ts` reads their values. */
import { AppError } from '../base/errors.ts'
import type { Flag, Settings } from './config.ts'

export const KUBELET_FLAGS: readonly Flag[] = [
  { name: 'eviction-hard', type: 'string', value: 'LIMITS', help: 'pods go at once when less is left: memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available (default: memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%)' },
  { name: 'eviction-soft', type: 'string', value: 'LIMITS', help: 'the same, when less was left for the time of --eviction-soft-grace-period' },
  { name: 'eviction-soft-grace-period', type: 'string', value: 'TIMES', help: 'like memory.available=1m30s; needed for each limit of --eviction-soft' },
  { name: 'eviction-max-pod-grace-period', type: 'string', value: 'SECONDS', help: 'most grace of a pod that goes for a soft limit (default: 0)' },
  { name: 'eviction-minimum-reclaim', type: 'string', value: 'AMOUNTS', help: 'like nodefs.available=500Mi: how far beyond a limit the node must get before it is relieved' },
  { name: 'eviction-pressure-transition-period', type: 'string', value: 'TIME', help: 'how long a pressure condition stays after its last sign (default: 5m)' },
  { name: 'image-gc-high-threshold', type: 'string', value: 'PERCENT', help: 'unused images go when the disk is fuller than this; 100 never (default: 85)' },
  { name: 'image-gc-low-threshold', type: 'string', value: 'PERCENT', help: '... until it is at this (default: 80)' },
  { name: 'minimum-image-ttl-duration', type: 'string', value: 'TIME', help: 'an unused image younger than this stays (default: 2m)' },
  { name: 'image-maximum-gc-age', type: 'string', value: 'TIME', help: 'an image unused for so long goes, however empty the disk is; 0 never (default: 0)' },
  { name: 'container-log-max-size', type: 'string', value: 'SIZE', help: 'a container log larger than this is rotated (default: 10Mi)' },
  { name: 'container-log-max-files', type: 'string', value: 'N', help: 'files of a container log, the current one included (default: 5)' },
  { name: 'serialize-image-pulls', type: 'string', value: 'BOOL', help: 'one pull at a time (default: false)' },
  { name: 'max-parallel-image-pulls', type: 'string', value: 'N', help: 'most pulls at a time (default: 3)' },
  { name: 'shutdown-grace-period', type: 'string', value: 'TIME', help: 'when the machine goes down, as systemd-logind or a SIGPWR says, pods have so long to end; 0 leaves them running (default: 0)' },
  { name: 'shutdown-grace-period-critical-pods', type: 'string', value: 'TIME', help: 'the part of it that is kept for critical pods (default: 0)' },
  { name: 'kubelet-arg', type: 'list', value: 'KEY=VALUE', help: "one of these in K3s' form, like eviction-hard=memory.available<200Mi (repeat)" },
]

const NAMES: readonly string[] = KUBELET_FLAGS.filter((f) => f.type === 'string').map((f) => f.name)

/** What was given, by name; `kubelet-arg` counts over a flag of that name. @throws AppError `invalid` for one that a node has not got */
export function kubeletGiven(settings: Settings): Readonly<Record<string, string | undefined>> {
  const found: Record<string, string | undefined> = Object.fromEntries(NAMES.map((name) => [name, settings[name] as string | undefined]))
  for (const line of (settings['kubelet-arg'] ?? []) as readonly string[]) {
    const m = /^-{0,2}([a-z-]+)=(.*)$/s.exec(line.trim())
    if (!m || !NAMES.includes(m[1] as string)) throw new AppError('invalid', `read settings: --kubelet-arg "${line}" is not one this node has: known are ${NAMES.join(', ')}`)
    found[m[1] as string] = m[2] as string
  }
  return found
}
