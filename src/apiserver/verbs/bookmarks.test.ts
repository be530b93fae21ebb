import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import { ADMIN, startHarness } from '../../../test/kit/api-harness.ts'

const CM = '/api/v1/namespaces/default/configmaps'

test('a bookmark comes each minute while anything changes, and none that would say nothing new', async () => {
  const clock = new FakeClock()
  await using h = await startHarness({ clock })
  await clock.advance(400_000) // What a server sets right after its start is done.
  const made = await h.call('POST', CM, { metadata: { name: 'a' } })
  const from = String(made.body.metadata.resourceVersion)
  const heard: string[] = []
  const listen = async (user = ADMIN): Promise<() => Promise<void>> => {
    const w = await h.watch(`${CM}?watch=1&allowWatchBookmarks=true&resourceVersion=${from}&timeoutSeconds=3600`, user)
    const done = (async () => {
      for (let e = await w.next(); e; e = await w.next()) heard.push(`${e.type} ${e.object.metadata.resourceVersion}`)
    })()
    return async () => {
      await w.end()
      await done
    }
  }
  const end = await listen()
  await clock.advance(300_000)
  assert.deepEqual(heard, [], 'five quiet minutes')
  const other = String((await h.call('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'other' } })).body.metadata.resourceVersion)
  await clock.advance(120_000)
  assert.deepEqual(heard, [`BOOKMARK ${other}`], 'what happened elsewhere is told once')
  const own = String((await h.call('POST', CM, { metadata: { name: 'b' } })).body.metadata.resourceVersion)
  await clock.advance(120_000)
  assert.deepEqual(heard.slice(1), [`ADDED ${own}`], 'an event says its revision itself')
  await end()
})

test('a node, whose line is metered, has one in ten minutes', async () => {
  const clock = new FakeClock()
  await using h = await startHarness({ clock })
  const user = { name: 'system:node:n', groups: ['system:nodes', 'system:authenticated'] }
  const node = await h.call('POST', '/api/v1/nodes', { metadata: { name: 'n' } })
  const w = await h.watch(`/api/v1/nodes?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dn&resourceVersion=${node.body.metadata.resourceVersion}&timeoutSeconds=3600`, user)
  assert.equal(w.status, 200)
  let marks = 0
  const done = (async () => {
    for (let e = await w.next(); e; e = await w.next()) marks += Number(e.type === 'BOOKMARK')
  })()
  for (let minute = 0; minute < 20; minute++) {
    await h.call('POST', CM, { metadata: { name: `m-${minute}` } })
    await clock.advance(60_000)
  }
  await w.end()
  await done
  assert.equal(marks, 2)
})
