import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HttpRequest, HttpResponse } from '../../apiserver/mod.ts'
import { GROUP_MASTERS, type UserInfo } from '../../api/contract.ts'
import { compactRoute } from './store-routes.ts'

test('administrators alone have the store compacted, and hear how much that gave', async () => {
  const done: string[] = []
  let bytes = 9_000
  const handler = compactRoute({
    stats: async () => ({ syncs: 0, commits: 0, writes: 0, revision: 42, compacted: 0, bytes }),
    compact: async (revision) => void done.push(`compact ${revision}`),
    reclaim: async () => {
      done.push('reclaim')
      bytes = 1_000
    },
  })
  const ask = async (method: string, user: UserInfo | undefined): Promise<{ status: number; body: Record<string, unknown> }> => {
    let status = 0
    let text = ''
    const res = { writeHead: (code: number) => (status = code), end: (t: string) => (text = t) }
    await handler({ method } as HttpRequest, res as unknown as HttpResponse, { user, path: '', query: new URLSearchParams() })
    return { status, body: JSON.parse(text) as Record<string, unknown> }
  }
  const admin = { name: 'a', groups: [GROUP_MASTERS] }
  assert.equal((await ask('POST', { name: 'bob', groups: ['system:authenticated'] })).status, 403)
  assert.equal((await ask('POST', undefined)).status, 403)
  assert.ok((await ask('GET', admin)).status >= 400)
  assert.deepEqual(done, [])
  assert.deepEqual(await ask('POST', admin), { status: 200, body: { before: 9_000, after: 1_000 } })
  assert.deepEqual(done, ['compact 42', 'reclaim'])
})
