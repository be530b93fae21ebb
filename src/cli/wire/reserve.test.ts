import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { giveUpReserve, RESERVE_BYTES, reservePath, takeReserve } from './reserve.ts'

// What a server does with it on a disk that is full: test/e2e/server-disk.test.ts.

test('the reserve is made whole, also from a part, and stays where there is room', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-reserve-'))
  try {
    const path = reservePath(dir)
    assert.equal(await giveUpReserve(dir), false, 'there is none')
    assert.equal(await takeReserve(dir), true)
    assert.deepEqual([statSync(path).size, statSync(path).mode & 0o777], [RESERVE_BYTES, 0o600])
    truncateSync(path, 10_000)
    assert.equal(await takeReserve(dir), true)
    assert.equal(statSync(path).size, RESERVE_BYTES)
    assert.ok(statSync(path).blocks * 512 >= RESERVE_BYTES, 'it has its room')
    assert.equal(await giveUpReserve(dir), false)
    assert.ok(existsSync(path))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})

test('a disk that refuses is no failure', { skip: !existsSync('/dev/full') && 'needs /dev/full' }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-reserve-'))
  try {
    mkdirSync(dirname(reservePath(dir)))
    symlinkSync('/dev/full', reservePath(dir))
    assert.equal(await takeReserve(dir), false)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
