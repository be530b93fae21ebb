import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from './errors.ts'
import { readBody, readJson, type BodySource } from './read-body.ts'

function request(chunks: readonly string[], length?: number): BodySource & { taken: number } {
  const source = {
    taken: 0,
    headers: { ...(length !== undefined && { 'content-length': String(length) }) },
    async *[Symbol.asyncIterator]() {
      for (const c of chunks) {
        source.taken++
        yield Buffer.from(c)
      }
    },
  }
  return source
}

test('a body within the limit comes whole', async () => {
  assert.equal(String(await readBody(request(['ab', '', 'cd'], 4), 4)), 'abcd')
  assert.deepEqual(await readJson(request(['{"a"', ':1}']), 100), { a: 1 })
})

test('an announced length over the limit is refused unread, a liar’s as soon as it shows', async () => {
  const honest = request(['x'.repeat(9)], 9)
  await assert.rejects(readBody(honest, 8, 'take record'), (e) => e instanceof AppError && e.code === 'too-large' && e.message === 'take record: 9 bytes are over 8')
  assert.equal(honest.taken, 0)
  const liar = request(['xxxx', 'xxxx', 'x', 'x'], 1)
  await assert.rejects(readBody(liar, 8), /9 bytes are over 8/)
  assert.equal(liar.taken, 3)
})

test('what is not JSON is said as such', async () => {
  for (const text of ['', '{', 'nul']) await assert.rejects(readJson(request([text]), 100, 'set fps'), (e) => e instanceof AppError && e.code === 'invalid' && e.message === 'set fps: it is not JSON')
})
