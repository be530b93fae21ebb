import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { kernelFigures, numberIn } from './kernel-figures.ts'

/** By name and what is in its labels. */
async function figures(unified: boolean, files: Readonly<Record<string, string>>): Promise<Record<string, number>> {
  const list = await kernelFigures({ unified, read: async (file) => files[file] ?? '' })
  return Object.fromEntries(list.map((f) => [[f.name.replace('container_', ''), ...Object.values(f.labels)].join(' '), f.value]))
}

const SHARED = {
  cpu_user_seconds_total: 12, cpu_system_seconds_total: 3, memory_cache: 8192, memory_rss: 4096, memory_mapped_file: 100, memory_swap: 0, memory_kernel_usage: 50,
  memory_usage_bytes: 20_000, memory_max_usage_bytes: 30_000, memory_failcnt: 7, oom_events_total: 2,
  'memory_failures_total pgfault container': 5, 'memory_failures_total pgmajfault container': 1, threads: 9, threads_max: 0,
  spec_memory_limit_bytes: 67_108_864, spec_memory_swap_limit_bytes: 0, spec_cpu_period: 100_000, spec_cpu_quota: 50_000, spec_cpu_shares: 512,
  cpu_cfs_periods_total: 10, cpu_cfs_throttled_periods_total: 4, cpu_cfs_throttled_seconds_total: 1.5,
  'fs_reads_total 259:0': 2, 'fs_reads_bytes_total 259:0': 1024, 'fs_writes_total 259:0': 3, 'fs_writes_bytes_total 259:0': 2048,
}
const V1 = {
  'cpuacct/cpuacct.stat': 'user 1200\nsystem 300\n',
  'memory/memory.stat': 'cache 1\nrss 2\npgfault 5\npgmajfault 1\ntotal_cache 8192\ntotal_rss 4096\ntotal_mapped_file 100\ntotal_swap 0\ntotal_pgfault 6\ntotal_pgmajfault 2\n',
  'memory/memory.kmem.usage_in_bytes': '50\n', 'memory/memory.usage_in_bytes': '20000\n', 'memory/memory.max_usage_in_bytes': '30000\n', 'memory/memory.failcnt': '7\n',
  'memory/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n', 'memory/memory.limit_in_bytes': '67108864\n', 'memory/memory.memsw.limit_in_bytes': '9223372036854771712\n',
  'pids/pids.current': '9\n', 'pids/pids.max': 'max\n', 'cpu/cpu.cfs_period_us': '100000\n', 'cpu/cpu.cfs_quota_us': '50000\n', 'cpu/cpu.shares': '512\n',
  'cpu/cpu.stat': 'nr_periods 10\nnr_throttled 4\nthrottled_time 1500000000\n',
  'blkio/blkio.throttle.io_serviced_recursive': '259:0 Read 2\n259:0 Write 3\n259:0 Total 5\nTotal 5\n',
  'blkio/blkio.throttle.io_service_bytes': '259:0 Read 1024\n259:0 Write 2048\n259:0 Total 3072\nTotal 3072\n',
}
const V2 = {
  'cpu.stat': 'usage_usec 15000000\nuser_usec 12000000\nsystem_usec 3000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n',
  'memory.stat': 'anon 4096\nfile 8192\nkernel 50\nfile_mapped 100\npgfault 5\npgmajfault 1\n',
  'memory.swap.current': '0\n', 'memory.current': '20000\n', 'memory.peak': '30000\n', 'memory.events': 'low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\n', 'memory.max': '67108864\n', 'memory.swap.max': 'max\n',
  'pids.current': '9\n', 'pids.max': 'max\n', 'cpu.max': '50000 100000\n', 'cpu.weight': '20\n',
  'io.stat': '259:0 rbytes=1024 wbytes=2048 rios=2 wios=3 dbytes=0 dios=0\n',
}

describe('what the kernel counts of a cgroup', () => {
  test('has the same names from cgroup v1 and v2', async () => {
    assert.deepEqual(await figures(false, V1), { ...SHARED, 'memory_failures_total pgfault hierarchy': 6, 'memory_failures_total pgmajfault hierarchy': 2 })
    // 20 is what a runtime makes of 512 shares, and less than that on the way back.
    assert.deepEqual(await figures(true, V2), { ...SHARED, spec_cpu_shares: 500, 'memory_failures_total pgfault hierarchy': 5, 'memory_failures_total pgmajfault hierarchy': 1 })
  })

  test('leaves out what is not there, and throttling of what has no limit', async () => {
    assert.deepEqual(await figures(true, {}), {})
    assert.deepEqual(await figures(true, { 'cpu.max': 'max 100000\n', 'cpu.stat': 'nr_periods 0\n' }), { spec_cpu_period: 100_000 })
    assert.deepEqual(await figures(false, { 'cpu/cpu.cfs_quota_us': '-1\n', 'cpu/cpu.stat': 'nr_periods 0\n' }), {})
  })

  test('counts processes and what they have open', async () => {
    const { processes, file_descriptors: open = 0 } = await figures(true, { 'cgroup.procs': `${process.pid}\n` })
    assert.equal(processes, 1)
    assert.ok(open > 2)
  })

  test('no limit is 0, what is no number is not told', () => {
    assert.deepEqual([numberIn('max'), numberIn('9223372036854771712\n'), numberIn(''), numberIn('x'), numberIn('a 1\nb 2\n', 'b'), numberIn('a 1\n', 'b'), numberIn('-1')], [0, 0, undefined, undefined, 2, undefined, -1])
  })
})
