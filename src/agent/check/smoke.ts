/** The check's proofs: a real container by runc, a real overlay mount, real rules and links in a namespace that goes at once. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { messageOf } from '../../base/errors.ts'
import { tryCommand, type CommandResult } from '../containerd/command.ts'
import { tinyElf, words } from '../containerd/tiny-elf.ts'
import { parseCidr } from '../network/cidr.ts'
import { nftRules } from '../network/rules.ts'
import { fail, pass, type CheckRow } from './facts.ts'

/** The status our tiny container ends with, which nothing else gives. */
const STATUS = 42

/** `exit(42)`. */
function exitProgram(arch: string): Buffer {
  return tinyElf(arch, {
    // mov edi, 42; mov eax, 60 (exit); syscall
    x64: Buffer.from([0xbf, STATUS, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
    // mov x0, #42; mov x8, #93 (exit); svc #0
    arm64: words([0xd2800540, 0xd2800ba8, 0xd4000001]),
  })
}

/** Runs a container with its own namespaces, a memory limit and seccomp left alone. */
export async function runcRow(runc: string): Promise<CheckRow> {
  const name = 'run a container'
  const id = `skerry-check-${process.pid}`
  const dir = await mkdtemp(join(tmpdir(), 'skerry-check-'))
  try {
    await mkdir(join(dir, 'rootfs/proc'), { recursive: true })
    await writeFile(join(dir, 'rootfs/exit'), exitProgram(process.arch), { mode: 0o755 })
    await writeFile(join(dir, 'config.json'), JSON.stringify(spec(id)))
    const result = await tryCommand(runc, ['--root', join(dir, 'state'), 'run', '--bundle', dir, id], { timeoutMs: 20_000 })
    if (result.code === STATUS) return pass(name, 'ran and ended as told')
    return fail(name, saidBy(result), hint(result.stderr))
  } catch (error) {
    return fail(name, messageOf(error), hint(messageOf(error)))
  } finally {
    await tryCommand(runc, ['--root', join(dir, 'state'), 'delete', '--force', id]).catch(() => {})
    await rm(dir, { recursive: true, force: true })
  }
}

function spec(id: string): object {
  return {
    ociVersion: '1.0.2',
    process: { terminal: false, user: { uid: 0, gid: 0 }, args: ['/exit'], cwd: '/', noNewPrivileges: true },
    root: { path: 'rootfs', readonly: true },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: {
      cgroupsPath: `/${id}`,
      resources: { memory: { limit: 32 << 20 } },
      namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
    },
  }
}

function hint(said: string): string {
  if (/cgroup/i.test(said)) return 'see the row cgroups; inside a container: give it a writable /sys/fs/cgroup'
  if (/permitted|permission/i.test(said)) return 'run as root on the machine itself, not in an unprivileged container'
  return 'try it by hand: runc spec && runc run test; the message tells what the kernel refused'
}

/** Mounts an overlay where containerd will; the data directory's own file system decides. */
export async function overlayRow(directory: string): Promise<CheckRow> {
  const name = 'overlayfs'
  const dir = await mkdtemp(join(directory, '.skerry-check-'))
  try {
    for (const sub of ['lower', 'upper', 'work', 'merged']) await mkdir(join(dir, sub))
    const options = `lowerdir=${dir}/lower,upperdir=${dir}/upper,workdir=${dir}/work`
    const result = await tryCommand('mount', ['-t', 'overlay', 'overlay', '-o', options, join(dir, 'merged')])
    if (result.code !== 0) return fail(name, saidBy(result), `modprobe overlay; or ${directory} is on a file system that cannot carry it (NFS, overlay itself): use --data-dir on ext4 or xfs`)
    await tryCommand('umount', [join(dir, 'merged')])
    return pass(name, `mounts at ${directory}`)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** Our own rules, loaded into a network namespace of their own. */
export async function nftRow(nft: string): Promise<CheckRow> {
  const hostPorts = [{ protocol: 'TCP', hostIP: '', hostPort: 80, podIP: '10.0.0.2', containerPort: 80 }] as const
  const input = nftRules({ table: 'skerry_check', bridge: 'sk-check', cidr: parseCidr('10.0.0.0/24'), hostPorts })
  const result = await tryCommand('unshare', ['--net', nft, '-f', '-'], { input })
  if (result.code === 0) return pass('nftables', 'takes our rules')
  return fail('nftables', saidBy(result), 'a kernel with nf_tables, nft_nat, nft_masq, nft_fib_ipv4: modprobe -a nf_tables nft_masq nft_nat nft_fib_ipv4, or install the distribution’s own kernel')
}

/** A bridge and a pair of links, in a network namespace of their own. */
export async function linksRow(ip: string): Promise<CheckRow> {
  for (const args of [['link', 'add', 'sk-check', 'type', 'bridge'], ['link', 'add', 'sk-a', 'type', 'veth', 'peer', 'name', 'sk-b']]) {
    const result = await tryCommand('unshare', ['--net', ip, ...args])
    if (result.code !== 0) return fail('bridge and veth', saidBy(result), 'modprobe -a bridge veth; a kernel without them cannot connect pods')
  }
  return pass('bridge and veth', 'the kernel makes both')
}

function saidBy(result: CommandResult): string {
  return `exit code ${result.code}: ${(result.stderr.trim() || result.stdout.trim()).split('\n').slice(-3).join(' ').slice(0, 300)}`
}
