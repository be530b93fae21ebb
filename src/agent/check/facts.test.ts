import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cgroupRow, clockRow, diskRow, forwardRow, hostNameRow, kernelRow, seccompRow, versionRow, type CgroupFacts } from './facts.ts'

const PI: CgroupFacts = {
  v2Controllers: 'cpuset cpu io pids\n',
  procCgroups: '#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t80\t0\ncpu\t0\t80\t1\npids\t0\t80\t1\n',
  v1Mounted: ['cgroup.controllers'],
  kernelCommandLine: 'console=tty1 root=/dev/mmcblk0p2 cgroup_disable=memory\n',
  model: 'Raspberry Pi 4 Model B Rev 1.5\0',
  cmdlineFile: '/boot/firmware/cmdline.txt',
}

test('a Raspberry Pi without memory cgroups is told the exact words, file and command', () => {
  const row = cgroupRow(PI)
  assert.equal(row.ok, false)
  assert.equal(row.level, 'error')
  assert.equal(row.seen, 'v2 without memory; Raspberry Pi 4 Model B Rev 1.5')
  assert.match(row.fix, /add cgroup_memory=1 cgroup_enable=memory to the one line of \/boot\/firmware\/cmdline\.txt and reboot/)
  assert.match(row.fix, /sudo sed -i '1 s\/\$\/ cgroup_memory=1 cgroup_enable=memory\/' \/boot\/firmware\/cmdline\.txt && sudo reboot/)
  assert.match(cgroupRow({ ...PI, cmdlineFile: '/boot/cmdline.txt' }).fix, /'1 s.*' \/boot\/cmdline\.txt/)
})

test('a PC is told GRUB’s way, and which word switched it off', () => {
  const row = cgroupRow({ ...PI, model: '', cmdlineFile: undefined })
  assert.match(row.seen, /cgroup_disable=memory/)
  assert.match(row.fix, /take cgroup_disable=memory off GRUB_CMDLINE_LINUX/)
  assert.match(cgroupRow({ ...PI, model: '', cmdlineFile: undefined, kernelCommandLine: 'quiet' }).fix, /add cgroup_enable=memory/)
})

test('complete cgroups pass in both versions, missing ones do not', () => {
  assert.equal(cgroupRow({ ...PI, v2Controllers: 'cpuset cpu io memory pids' }).ok, true)
  const v1 = { ...PI, v2Controllers: undefined, procCgroups: PI.procCgroups.replace('80\t0', '80\t1') }
  assert.equal(cgroupRow({ ...v1, v1Mounted: ['cpu,cpuacct', 'memory', 'pids'] }).ok, true)
  assert.equal(cgroupRow({ ...v1, v1Mounted: ['cpu,cpuacct', 'memory'] }).seen, 'v1 without pids')
  assert.match(cgroupRow({ ...v1, v1Mounted: [] }).seen, /nothing is mounted/)
})

test('a clock before the software or far after it is a warning with a command, never an error', () => {
  const built = Date.UTC(2026, 0, 1)
  assert.equal(clockRow(built + 1000, built).ok, true)
  for (const wrong of [0, Date.UTC(2025, 0, 1), Date.UTC(2099, 0, 1)]) {
    const row = clockRow(wrong, built)
    assert.deepEqual([row.ok, row.level], [false, 'warning'])
    assert.match(row.seen, new RegExp(`^${new Date(wrong).getUTCFullYear()}`))
    assert.match(row.fix, /timedatectl/)
  }
})

test('little space or few inodes fail with what is free; file systems that count no inodes pass', () => {
  const disk = { path: '/d', freeBytes: 8 * 1024 ** 3, totalInodes: 1e6, freeInodes: 5e5 }
  assert.equal(diskRow(disk).ok, true)
  assert.match(diskRow({ ...disk, freeBytes: 100 << 20 }).seen, /^100 MiB/)
  assert.equal(diskRow({ ...disk, freeBytes: 1 << 30 }).level, 'warning')
  assert.match(diskRow({ ...disk, freeInodes: 12 }).fix, /10000 free inodes/)
  assert.equal(diskRow({ ...disk, totalInodes: 0, freeInodes: 0 }).ok, true)
})

test('versions are read out of what programs print', () => {
  const row = (text: string, least: string): [boolean, string] => {
    const r = versionRow('x', text, least, 'apt-get install x')
    return [r.ok, r.seen]
  }
  assert.deepEqual(row('containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3', '1.6'), [true, '1.6.20~ds1'])
  assert.deepEqual(row('nftables v1.0.6 (Lester Gooch #5)', '0.9'), [true, '1.0.6'])
  assert.deepEqual(row('ip utility, iproute2-6.1.0, libbpf 1.1.0', '5.0'), [true, '6.1.0'])
  assert.deepEqual(row('containerd 1.4.13', '1.6'), [false, '1.4.13'])
  assert.equal(row('no idea', '1.6')[0], false)
})

test('kernel, seccomp, host name and a foreign firewall', () => {
  assert.equal(kernelRow('6.1.0-18-amd64').ok, true)
  assert.equal(kernelRow('4.19.0').level, 'warning')
  assert.deepEqual([kernelRow('3.10.0').ok, kernelRow('3.10.0').level], [false, 'error'])
  assert.equal(seccompRow('Name:\tnode\nSeccomp:\t0\n').ok, true)
  assert.equal(seccompRow('Name:\tnode\n').ok, false)
  assert.equal(hostNameRow('pi-worker-01').ok, true)
  for (const bad of ['localhost', 'my_pi', '-x']) assert.match(hostNameRow(bad).seen, new RegExp(bad))
  const chains = 'table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n'
  assert.match(forwardRow(chains).seen, /table ip filter drops/)
  assert.equal(forwardRow(chains.replace('drop', 'accept')).ok, true)
})
