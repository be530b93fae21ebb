import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { cannotRunContainers } from '../../../test/kit/containerd.ts'
import { checkNode, formatCheck } from './check.ts'
import { runcRow } from './smoke.ts'

const skip = cannotRunContainers()

test('this machine passes, every row says what was seen, and nothing is left behind', { skip }, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'skerry-check-test-'))
  try {
    const rows = await checkNode({ dataDir: dir })
    assert.deepEqual(rows.filter((r) => !r.ok && r.level === 'error'), [], formatCheck(rows))
    for (const row of rows) assert.ok(row.seen.length > 0 && row.ok === (row.fix === ''), row.name)
    assert.ok(rows.some((r) => r.name === 'run a container' && r.ok))
    assert.deepEqual(readdirSync(dir), [])
    assert.equal(existsSync(`/sys/fs/cgroup/memory/skerry-check-${process.pid}`), false)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})

test('a taken port is named with how to find its owner', async () => {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const dir = await mkdtemp(join(tmpdir(), 'skerry-check-test-'))
  try {
    const row = (await checkNode({ dataDir: dir, ports: [port] })).find((r) => r.name === `port ${port}`)
    assert.deepEqual([row?.ok, row?.seen], [false, 'taken'])
    assert.match(row?.fix ?? '', new RegExp(`sport = :${port}`))
  } finally {
    server.close()
    await rm(dir, { recursive: true, force: true })
  }
})

test('a runtime that cannot run containers fails with its own words', async () => {
  const row = await runcRow('/bin/false')
  assert.equal(row.ok, false)
  assert.match(row.seen, /exit code 1/)
  assert.notEqual(row.fix, '')
})
