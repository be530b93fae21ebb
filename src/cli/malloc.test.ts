import assert from 'node:assert/strict'
import test from 'node:test'
import { keepMallocOurs } from './malloc.ts'

test('what the launcher preloaded is not handed on, what others did is', () => {
  const after = (env: Record<string, string>): Record<string, string | undefined> => {
    keepMallocOurs(env)
    return env
  }
  const jemalloc = '/usr/lib/x86_64-linux-gnu/libjemalloc.so.2'
  assert.deepEqual(after({ LD_PRELOAD: jemalloc, MALLOC_CONF: 'narenas:1', PATH: '/bin' }), { PATH: '/bin' })
  assert.deepEqual(after({ LD_PRELOAD: `/lib/faketime.so:${jemalloc}` }), { LD_PRELOAD: `/lib/faketime.so:${jemalloc}` })
  assert.deepEqual(after({ LD_PRELOAD: '/lib/faketime.so', MALLOC_CONF: 'narenas:9' }), { LD_PRELOAD: '/lib/faketime.so', MALLOC_CONF: 'narenas:9' })
  assert.deepEqual(after({}), {})
})
