import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { Pod } from '../../api/gen/types.ts'
import type { Running, Summary } from './summary.ts'
import { cadvisorPage, parseInterfaces, wholeSummary } from './whole.ts'

const DEV = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 5000      50    1    2    0     0          0         0     7000      70    3    4    0     0       0          0
`
const time = '2026-01-01T00:00:00Z'
const cpu = { time, usageNanoCores: 1, usageCoreNanoSeconds: 2_500_000_000 }
const memory = { time, workingSetBytes: 4096 }
const summary: Summary = {
  node: { nodeName: 'n1', startTime: time, cpu, memory },
  pods: [{ podRef: { name: 'web', namespace: 'default', uid: 'u1' }, startTime: time, containers: [{ name: 'main', startTime: time, cpu, memory, rootfs: { time, usedBytes: 1000 } }], cpu, memory }],
  windowMs: 1000,
}

test('interfaces are read, the loopback left out', () => {
  assert.deepEqual(parseInterfaces(DEV), [{ name: 'eth0', rxBytes: 5000, rxPackets: 50, rxErrors: 1, rxDropped: 2, txBytes: 7000, txPackets: 70, txErrors: 3, txDropped: 4 }])
  assert.deepEqual(parseInterfaces(''), [])
})

test('a pod has its volumes, logs and what it wrote to the disk; a page of cAdvisor names all of it', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-whole-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  for (const d of ['scratch', 'logs/main']) mkdirSync(join(dir, d), { recursive: true })
  writeFileSync(join(dir, 'scratch/file'), 'x'.repeat(50_000))
  writeFileSync(join(dir, 'logs/main/0.log'), 'x'.repeat(10_000))
  const places = async () => ({ pod: { spec: { containers: [{ name: 'main' }] } } as Pod, volumes: [{ name: 'scratch', path: join(dir, 'scratch'), owned: true }, { name: 'gone', path: join(dir, 'gone'), owned: true }], logs: join(dir, 'logs'), pid: process.pid })
  const whole = (await wholeSummary(summary, places)) as { pods: { volume: { name: string; usedBytes: number; inodesUsed: number }[]; containers: { logs: { usedBytes: number } }[]; 'ephemeral-storage': { usedBytes: number } }[] }
  const [pod] = whole.pods
  assert.ok(pod)
  assert.deepEqual(pod.volume.map((v) => [v.name, v.usedBytes >= 50_000 && v.usedBytes < 70_000, v.inodesUsed]), [['scratch', true, 2]])
  const logs = pod.containers[0]?.logs.usedBytes ?? 0
  assert.ok(logs >= 10_000 && logs < 20_000)
  assert.equal(pod['ephemeral-storage'].usedBytes, (pod.volume[0]?.usedBytes ?? 0) + logs + 1000)
  const running: Running[] = [{ id: 'c1', name: 'main', image: 'busy', startedAtMs: 0, pod: { namespace: 'default', name: 'web', uid: 'u1' } }]
  const asked: string[] = []
  const tree = {
    parentOf: (uid: string, qos: string) => `/kubepods/${qos}/pod${uid}`,
    files: async (path: string) => ({ unified: true, read: async (file: string) => (asked.push(path), file === 'memory.stat' ? 'anon 4096\nfile 8192\n' : '') }),
  }
  const page = await cadvisorPage(summary, running, { cores: 4, memory: 1024 }, places, tree)
  assert.ok(page.startsWith('# HELP machine_cpu_cores Number of logical CPU cores.\n# TYPE machine_cpu_cores gauge\nmachine_cpu_cores 4 1767225600000\n'), page.slice(0, 200))
  assert.ok(page.includes('container_cpu_usage_seconds_total{container="main",id="/podu1/c1",image="busy",name="c1",namespace="default",pod="web",cpu="total"} 2.5 1767225600000\n'))
  assert.ok(page.includes('container_fs_usage_bytes{container="main",id="/podu1/c1",image="busy",name="c1",namespace="default",pod="web"} 1000 1767225600000\n'))
  assert.equal(page.match(/^# TYPE container_memory_working_set_bytes gauge$/gm)?.length, 1)
  assert.ok(page.includes('container_memory_rss{container="main",id="/podu1/c1",image="busy",name="c1",namespace="default",pod="web"} 4096 1767225600000\n'))
  assert.deepEqual([...new Set(asked)], ['/', '/kubepods/BestEffort/podu1', '/kubepods/BestEffort/podu1/c1'])
})
