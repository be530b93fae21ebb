import assert from 'node:assert/strict'
import { test } from 'node:test'
import { topicTemplate, TopicTrie } from './topics.ts'

test('a template is a filter and gives names to what it leaves open', () => {
  const t = topicTemplate('cameras/{device}/frame/{epoch}/{frame}', { device: 'cam-1' })
  assert.equal(t.filter, 'cameras/cam-1/frame/+/+')
  assert.deepEqual(t.meta('cameras/cam-1/frame/e7/42'), { epoch: 'e7', frame: '42' })
})

test('templates that no broker takes are refused with the part that is wrong', () => {
  for (const [template, part] of [['a/#/b', '#'], ['a/b+', 'b+'], ['a/{b', '{b'], ['', '']] as const) {
    assert.throws(() => topicTemplate(template), { code: 'invalid', message: new RegExp(`part ${JSON.stringify(part).replace(/[+{]/g, '\\$&')}`) })
  }
})

test('filters match as MQTT says', () => {
  const trie = new TopicTrie<string>()
  const removes = ['a/b', 'a/+', 'a/#', '#', '+/b', '+'].map((f) => trie.add(f, f))
  const match = (topic: string): string[] => trie.match(topic).sort()
  assert.deepEqual(match('a/b'), ['#', '+/b', 'a/#', 'a/+', 'a/b'])
  assert.deepEqual(match('a'), ['#', '+', 'a/#'])
  assert.deepEqual(match('a/b/c'), ['#', 'a/#'])
  assert.deepEqual(match('$SYS/b'), [])
  for (const remove of removes) remove()
  assert.deepEqual(match('a/b'), [])
})
