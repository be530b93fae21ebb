import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { lockDirectory } from './lock.ts'

const startTime = (pid: number): string => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return `${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}@${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`
}

test('a lock is refused while its process lives, and taken over from a dead, a reborn and a zombie one', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-lock-'))
  const path = join(dir, 'lock')
  // A shell that does not wait for its child: once that ends it is a zombie.
  const holder = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const zombie = Number(await new Promise<string>((resolve) => holder.stdout.once('data', (d: Buffer) => resolve(d.toString()))))
    writeFileSync(path, `${zombie} ${startTime(zombie)}`)
    await assert.rejects(lockDirectory(path, 'agent'), new RegExp(`start agent: process ${zombie} already uses this data directory`))
    process.kill(zombie, 'SIGKILL')
    while (!/\) Z /.test(readFileSync(`/proc/${zombie}/stat`, 'utf8'))) await new Promise((resolve) => setTimeout(resolve, 5))
    const unlock = await lockDirectory(path, 'agent')
    assert.equal(readFileSync(path, 'utf8'), `${process.pid} ${startTime(process.pid)}`)
    assert.deepEqual(readdirSync(dir), ['lock'], 'nothing beside the lock')
    await unlock()
    writeFileSync(path, `${holder.pid} 1@another-boot`)
    await (await lockDirectory(path, 'agent'))()
    writeFileSync(path, '')
    await (await lockDirectory(path, 'agent'))()
    assert.deepEqual(readdirSync(dir), [])
  } finally {
    holder.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  }
})

test('a directory whose disk is full is locked at the spare place', { skip: !existsSync('/dev/full') && 'needs /dev/full' }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skerry-lock-'))
  try {
    // What is written first goes to a device that is always full.
    symlinkSync('/dev/full', join(dir, `lock.${process.pid}`))
    const unlock = await lockDirectory(join(dir, 'lock'), 'agent', join(dir, 'spare'))
    assert.equal(readFileSync(join(dir, 'spare'), 'utf8'), `${process.pid} ${startTime(process.pid)}`)
    assert.equal(existsSync(join(dir, 'lock')), false)
    await unlock()
    assert.deepEqual(readdirSync(dir), [])
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
