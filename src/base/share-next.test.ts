import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shareNext } from './share-next.ts'

test('who asks while one is under way shares the next one, which begins after that', async () => {
  const asked: PromiseWithResolvers<number>[] = []
  const share = shareNext(() => {
    const question = Promise.withResolvers<number>()
    asked.push(question)
    return question.promise
  })
  const first = share()
  const [second, third] = [share(), share()]
  assert.equal(asked.length, 1, 'one at a time')
  asked[0]?.resolve(1)
  assert.equal(await first, 1)
  // However close to the end of the first one somebody asks: it is not the first one's answer.
  const late = share()
  await Promise.resolve()
  assert.equal(asked.length, 2)
  const after = share()
  asked[1]?.resolve(2)
  assert.deepEqual(await Promise.all([second, third, late]), [2, 2, 2])
  await Promise.resolve()
  assert.equal(asked.length, 3)
  asked[2]?.reject(new Error('away'))
  await assert.rejects(after, /away/)
  const again = share()
  asked[3]?.resolve(4)
  assert.equal(await again, 4, 'a failure ends nothing')
  const alone = share()
  assert.equal(asked.length, 5, 'with none under way it is asked at once')
  asked[4]?.resolve(5)
  assert.equal(await alone, 5)
})

test('no answer is of before it was asked for, at any moment of asking', async () => {
  let time = 0
  const share = shareNext(async () => {
    const began = ++time
    for (let i = 0; i < began % 4; i++) await Promise.resolve()
    if (began % 5 === 0) throw new Error(String(began))
    return began
  })
  const ask = async (): Promise<void> => {
    for (let i = 0; i < 200; i++) {
      const before = time
      const began = await share().catch((error: Error) => Number(error.message))
      assert.ok(began > before, `${began} began after ${before}`)
      for (let j = 0; j < (i * 7) % 5; j++) await Promise.resolve()
    }
  }
  await Promise.all(Array.from({ length: 8 }, ask))
  assert.ok(time < 1_200, `${time} questions for 1600 answers`)
})
