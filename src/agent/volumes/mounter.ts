/** Mounts by the system's own `mount` and `umount`; what is mounted is read from the kernel, not remembered. */
import { execFile } from 'node:child_process'
import { mkdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Mounter } from '../ports.ts'

const run = promisify(execFile)

export const systemMounter: Mounter = {
  async tmpfs(path, sizeBytes) {
    if ((await mountsUnder(path)).includes(path)) return
    await mkdir(path, { recursive: true, mode: 0o777 })
    const size = sizeBytes > 0 ? `,size=${Math.ceil(sizeBytes)}` : ''
    await run('mount', ['-t', 'tmpfs', '-o', `nosuid,nodev,mode=1777${size}`, 'tmpfs', path], { timeout: 10_000 })
  },
  async hugePages(path, pageBytes) {
    if ((await mountsUnder(path)).includes(path)) return
    await mkdir(path, { recursive: true, mode: 0o777 })
    await run('mount', ['-t', 'hugetlbfs', '-o', `nosuid,nodev,mode=1777,pagesize=${pageBytes}`, 'nodev', path], { timeout: 10_000 })
  },
  async readOnly(path, { type, source, options }) {
    if ((await mountsUnder(path)).includes(path)) return
    await mkdir(path, { recursive: true, mode: 0o755 })
    const all = [...options.filter((o) => o !== 'rw'), 'ro', 'nosuid', 'nodev', 'noexec']
    if (type !== 'bind') return void (await run('mount', ['-t', type, '-o', [...new Set(all)].join(','), source, path], { timeout: 10_000 }))
    // A bind takes its flags only when it is mounted once more.
    await run('mount', ['--bind', source, path], { timeout: 10_000 })
    await run('mount', ['-o', 'remount,bind,ro,nosuid,nodev,noexec', path], { timeout: 10_000 })
  },
  async unmountUnder(path) {
    // The innermost first: paths that are longer lie deeper.
    for (const at of (await mountsUnder(path)).sort((a, b) => b.length - a.length)) await run('umount', ['-l', at], { timeout: 10_000 })
  },
}

async function mountsUnder(path: string): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  return table
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, o: string) => String.fromCharCode(parseInt(o, 8))))
    .filter((at) => at === path || at.startsWith(`${path}/`))
}
