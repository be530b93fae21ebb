/**
 * `skerry agent --check`: what this machine has and lacks for running pods, row by row, with the exact fix. Reads facts
 * and proves what can be proved by doing it; leaves nothing behind. A row that cannot be checked fails with the reason.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { hostname, release } from 'node:os'
import { dirname } from 'node:path'
import { messageOf } from '../../base/errors.ts'
import { APT_LINE, CNI_PLUGINS, findCniPlugins } from '../containerd/binaries.ts'
import { findProgram, SYSTEM_PATH, tryCommand } from '../containerd/command.ts'
import { cgroupRow, clockRow, diskRow, fail, forwardRow, hostNameRow, kernelRow, pass, seccompRow, versionRow, type CheckRow } from './facts.ts'
import { linksRow, nftRow, overlayRow, runcRow } from './smoke.ts'

export type { CheckRow } from './facts.ts'

export interface CheckOptions {
  /** As `--data-dir`; made when missing, as the agent would. */
  readonly dataDir: string
  /** Directories searched for programs before the system's. @default none */
  readonly binDirs?: readonly string[]
  /** TCP ports that must be free, e.g. a server's 6443. @default none */
  readonly ports?: readonly number[]
}

/** All rows, in the order a reader should mend them. Never throws. */
export async function checkNode(options: CheckOptions): Promise<readonly CheckRow[]> {
  const path = [...(options.binDirs ?? []), ...SYSTEM_PATH]
  const root = process.getuid?.() === 0
  const rows: CheckRow[] = [
    kernelRow(release()),
    root ? pass('root', 'yes') : fail('root', `user ${process.getuid?.() ?? '?'}`, 'run it with sudo'),
    cgroupRow({
      v2Controllers: read('/sys/fs/cgroup/cgroup.controllers'),
      procCgroups: read('/proc/cgroups') ?? '',
      v1Mounted: existsSync('/sys/fs/cgroup') ? readdirSync('/sys/fs/cgroup') : [],
      kernelCommandLine: read('/proc/cmdline') ?? '',
      model: read('/proc/device-tree/model') ?? '',
      cmdlineFile: ['/boot/firmware/cmdline.txt', '/boot/cmdline.txt'].find((f) => existsSync(f)),
    }),
    seccompRow(read('/proc/self/status') ?? ''),
    bridgeFilterRow(),
  ]
  const add = async (name: string, row: () => Promise<CheckRow>): Promise<void> => {
    rows.push(await row().catch((error: unknown) => fail(name, `could not be checked: ${messageOf(error)}`, root ? 'see the message' : 'run it with sudo')))
  }
  /** What is proved by doing it, which only root may. */
  const prove = (name: string, row: () => Promise<CheckRow>): Promise<void> =>
    add(name, root ? row : async () => fail(name, 'not tried without root', 'run it with sudo', 'warning'))
  for (const [name, least, args] of PROGRAMS) await add(name, () => programRow(name, least, args, path))
  const cni = findCniPlugins(options.binDirs)
  rows.push(cni === undefined ? fail('CNI plugins', `${CNI_PLUGINS.join(', ')} not found`, APT_LINE) : pass('CNI plugins', cni))
  const [nft, ip, runc] = ['nft', 'ip', 'runc'].map((name) => findProgram(name, path))
  if (nft) await prove('nftables', () => nftRow(nft))
  if (nft) await prove('forwarding', async () => forwardRow((await tryCommand(nft, ['list', 'chains'])).stdout))
  if (ip) await prove('bridge and veth', () => linksRow(ip))
  await prove('overlayfs', async () => {
    await mkdir(options.dataDir, { recursive: true, mode: 0o711 })
    return overlayRow(options.dataDir)
  })
  if (runc) await prove('run a container', () => runcRow(runc))
  await add('disk', async () => {
    const at = existing(options.dataDir)
    const s = await statfs(at)
    return diskRow({ path: at, freeBytes: s.bavail * s.bsize, totalInodes: s.files, freeInodes: s.ffree })
  })
  // This file was written when the software was made or unpacked: a clock before it is wrong.
  rows.push(clockRow(Date.now(), statSync(new URL(import.meta.url)).mtimeMs), hostNameRow(hostname()))
  for (const port of options.ports ?? []) await add(`port ${port}`, () => portRow(port))
  return rows
}

/** Rows as a table for people; failing ones with their fix on a line of its own. */
export function formatCheck(rows: readonly CheckRow[]): string {
  const width = Math.max(...rows.map((r) => r.name.length))
  return rows.map((r) => {
    const mark = r.ok ? 'ok     ' : r.level === 'error' ? 'FAILED ' : 'warning'
    return `${mark}  ${r.name.padEnd(width)}  ${r.seen}\n${r.ok ? '' : `${' '.repeat(9)}${' '.repeat(width)}  -> ${r.fix}\n`}`
  }).join('')
}

const PROGRAMS: readonly (readonly [name: string, least: string, args: readonly string[]])[] = [
  ['containerd', '1.6', ['--version']],
  ['containerd-shim-runc-v2', '1.6', ['-v']],
  ['ctr', '1.6', ['--version']],
  ['runc', '1.0', ['--version']],
  ['nft', '0.9', ['--version']],
  ['ip', '5.0', ['-V']],
]

async function programRow(name: string, least: string, args: readonly string[], path: readonly string[]): Promise<CheckRow> {
  const program = findProgram(name, path)
  if (program === undefined) return fail(name, `not in ${path.join(':')}`, APT_LINE)
  const { stdout, stderr } = await tryCommand(program, args)
  const row = versionRow(name, `${stdout}${stderr}`.replace(name, ''), least, APT_LINE)
  return { ...row, seen: `${row.seen} at ${program}` }
}

/** Pods on one bridge reach Services of pods on the same bridge only with it. */
function bridgeFilterRow(): CheckRow {
  const value = read('/proc/sys/net/bridge/bridge-nf-call-iptables')
  return value !== undefined
    ? pass('br_netfilter', 'loaded')
    : fail('br_netfilter', 'not loaded', "modprobe br_netfilter && echo br_netfilter > /etc/modules-load.d/skerry.conf", 'warning')
}

function portRow(port: number): Promise<CheckRow> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      const seen = error.code === 'EADDRINUSE' ? 'taken' : error.message
      resolve(fail(`port ${port}`, seen, `see who has it: ss -ltnp 'sport = :${port}'; stop that, or give another: --port`))
    })
    server.listen(port, () => server.close(() => resolve(pass(`port ${port}`, 'free'))))
  })
}

/** The directory itself or the nearest one above it that exists. */
function existing(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : existing(dirname(path))
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // Absent is an answer here.
    return undefined
  }
}
