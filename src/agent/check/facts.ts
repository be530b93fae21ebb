/**
 * What the check decides about facts read from the machine; pure, so that a Raspberry Pi's mistakes are tested anywhere.
 * Each function gives one row: what was seen and, when it is wrong, the exact way out. Used by `check.ts`.
 */

export interface CheckRow {
  readonly name: string
  readonly ok: boolean
  /** How bad a failing row is: `error` keeps pods from running, `warning` bites later. */
  readonly level: 'error' | 'warning'
  readonly seen: string
  /** What to do, as a command where there is one; empty when the row is fine. */
  readonly fix: string
}

/** A row that is fine. */
export function pass(name: string, seen: string): CheckRow {
  return { name, ok: true, level: 'error', seen, fix: '' }
}

/** A row that is not. */
export function fail(name: string, seen: string, fix: string, level: CheckRow['level'] = 'error'): CheckRow {
  return { name, ok: false, level, seen, fix }
}

/** @param release as `uname -r` */
export function kernelRow(release: string): CheckRow {
  const [major = 0, minor = 0] = release.split('.').map((n) => Number.parseInt(n, 10))
  if (major > 5 || (major === 5 && minor >= 4)) return pass('kernel', release)
  if (major > 4 || (major === 4 && minor >= 19)) return fail('kernel', release, 'it works; 5.4 or newer is what we test: apt-get full-upgrade, then reboot', 'warning')
  return fail('kernel', release, 'needs 4.19 or newer: upgrade the operating system')
}

export interface CgroupFacts {
  /** Contents of /sys/fs/cgroup/cgroup.controllers; undefined when cgroup v2 is not mounted there. */
  readonly v2Controllers: string | undefined
  /** Contents of /proc/cgroups. */
  readonly procCgroups: string
  /** Names of the directories in /sys/fs/cgroup, for version 1. */
  readonly v1Mounted: readonly string[]
  /** Contents of /proc/cmdline. */
  readonly kernelCommandLine: string
  /** Contents of /proc/device-tree/model, empty on a PC. */
  readonly model: string
  /** The Raspberry Pi's file with the kernel command line, where there is one. */
  readonly cmdlineFile: string | undefined
}

/** The controllers a pod's limits need. */
const CONTROLLERS = ['memory', 'cpu', 'pids'] as const

/** The controllers pods need, in either version of cgroups; the fix is the machine's own: Raspberry Pi or GRUB. */
export function cgroupRow(f: CgroupFacts): CheckRow {
  const name = 'cgroups'
  const v2 = f.v2Controllers?.trim().split(/\s+/)
  if (v2 === undefined && f.v1Mounted.length === 0) {
    return fail(name, 'nothing is mounted at /sys/fs/cgroup', 'boot with systemd, or: mount -t cgroup2 none /sys/fs/cgroup')
  }
  const enabled = new Set(f.procCgroups.split('\n').map((l) => l.split(/\s+/)).filter((c) => c[3] === '1').map((c) => c[0]))
  const missing = CONTROLLERS.filter((c) => (v2 ? !v2.includes(c) : !(enabled.has(c) && f.v1Mounted.some((d) => d.split(',').includes(c)))))
  const version = v2 ? 'v2' : 'v1'
  if (missing.length === 0) return pass(name, `${version} with ${CONTROLLERS.join(', ')}`)
  const seen = `${version} without ${missing.join(', ')}`
  if (!missing.includes('memory')) return fail(name, seen, 'a kernel with CONFIG_CGROUP_SCHED and CONFIG_CGROUP_PIDS: install the distribution’s own kernel')
  if (/Raspberry Pi/.test(f.model) || f.cmdlineFile !== undefined) {
    const file = f.cmdlineFile ?? '/boot/firmware/cmdline.txt'
    return fail(name, `${seen}; ${f.model.replace(/\0/g, '') || 'no model'}`, `add cgroup_memory=1 cgroup_enable=memory to the one line of ${file} and reboot: sudo sed -i '1 s/$/ cgroup_memory=1 cgroup_enable=memory/' ${file} && sudo reboot`)
  }
  const disabled = /\bcgroup_disable=\S*memory\S*/.exec(f.kernelCommandLine)?.[0]
  if (disabled !== undefined) return fail(name, `${seen}; the kernel was started with ${disabled}`, `take ${disabled} off GRUB_CMDLINE_LINUX in /etc/default/grub, then: sudo update-grub && sudo reboot`)
  return fail(name, seen, 'add cgroup_enable=memory to GRUB_CMDLINE_LINUX in /etc/default/grub, then: sudo update-grub && sudo reboot')
}

/** @param status /proc/self/status */
export function seccompRow(status: string): CheckRow {
  return /^Seccomp:/m.test(status)
    ? pass('seccomp', 'in the kernel')
    : fail('seccomp', 'not in the kernel', 'a kernel with CONFIG_SECCOMP_FILTER: install the distribution’s own kernel; until then pods need seccompProfile Unconfined')
}

/** @param builtMs when this software was made; no honest clock is before it */
export function clockRow(nowMs: number, builtMs: number): CheckRow {
  const seen = new Date(nowMs).toISOString()
  const fix = 'set it: timedatectl set-ntp true, or without a network: date -s "2026-01-31 12:00"; pods run all the same, joining a server needs a right clock'
  if (nowMs < builtMs) return fail('clock', `${seen}, before this software was made`, fix, 'warning')
  if (nowMs > builtMs + 20 * 365 * 86_400_000) return fail('clock', `${seen}, twenty years after this software was made`, fix, 'warning')
  return pass('clock', seen)
}

export interface DiskFacts {
  readonly path: string
  readonly freeBytes: number
  readonly totalInodes: number
  readonly freeInodes: number
}

const MIB = 1 << 20

/** Room for images and pods: under 512 MiB or 10000 inodes is an error, under 2 GiB a warning. */
export function diskRow(d: DiskFacts): CheckRow {
  const free = Math.floor(d.freeBytes / MIB)
  const seen = `${free} MiB and ${d.totalInodes === 0 ? 'any number of' : d.freeInodes} inodes free at ${d.path}`
  const fix = `free some: du -xh ${d.path} | sort -h | tail; or move it: --data-dir on a larger disk`
  if (free < 512) return fail('disk', seen, `512 MiB is the least; ${fix}`)
  // File systems that make inodes as needed (btrfs) report none at all.
  if (d.totalInodes > 0 && d.freeInodes < 10_000) return fail('disk', seen, `10000 free inodes is the least, images are many small files; ${fix}`)
  if (free < 2048) return fail('disk', seen, `2 GiB is comfortable; ${fix}`, 'warning')
  return pass('disk', seen)
}

/** @param host the machine's name, which becomes the Node's */
export function hostNameRow(host: string): CheckRow {
  const node = host.toLowerCase()
  return node.length <= 63 && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(node) && node !== 'localhost'
    ? pass('host name', host)
    : fail('host name', `"${host}"`, 'give the node a name of its own: --node-name NAME (lower-case letters, digits, dashes), or hostnamectl set-hostname NAME', 'warning')
}

/** @param chains what `nft list chains` prints */
export function forwardRow(chains: string): CheckRow {
  let table = ''
  for (const line of chains.split('\n')) {
    const t = /^table (.+) \{/.exec(line)
    if (t) table = t[1] as string
    if (/hook forward .*policy drop/.test(line)) {
      return fail('forwarding', `table ${table} drops what is forwarded`, `allow pods through that firewall: nft insert rule ${table} forward iifname "sk-*" accept, the same with oifname; with Docker installed use chain DOCKER-USER`, 'warning')
    }
  }
  return pass('forwarding', 'no firewall of this machine drops it')
}

/** @param text what the program prints as its version. @param least e.g. `1.6` */
export function versionRow(name: string, text: string, least: string, aptLine: string): CheckRow {
  const version = /(?<![\d.])(\d+)\.(\d+)(?:\.\d+)?[^\s,]*/.exec(text)
  const [major = 0, minor = 0] = least.split('.').map(Number)
  if (!version) return fail(name, `no version in "${text.trim().slice(0, 80)}"`, aptLine, 'warning')
  const new_ = Number(version[1]) > major || (Number(version[1]) === major && Number(version[2]) >= minor)
  return new_ ? pass(name, version[0]) : fail(name, version[0], `needs ${least} or newer: ${aptLine}`)
}
