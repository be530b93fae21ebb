import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeIdentity } from './node-identity.ts'
import { NodeServers } from './node-servers.ts'

function setUp(): { servers: NodeServers; kept: string[][] } {
  let identity: NodeIdentity = { node: 'n', server: 'https://given:6443', keyPem: '', certPem: '', caPem: '', config: { clusterCidr: '', serviceCidr: '', version: '' } }
  const kept: string[][] = []
  const servers = new NodeServers(
    () => identity,
    async (told) => {
      kept.push([...told])
      identity = { ...identity, servers: told }
    },
  )
  return { servers, kept }
}

test('a node knows the address it was given and those it was told, and keeps what is news', async () => {
  const { servers, kept } = setUp()
  assert.deepEqual(servers.all(), ['https://given:6443'])
  await servers.learn(['https://one:6443', 'https://two:6443', 'two:6443', 'ftp://two'])
  await servers.learn(['https://two:6443', 'https://one:6443'])
  await servers.learn([])
  assert.deepEqual(kept, [['https://one:6443', 'https://two:6443']])
  assert.deepEqual(servers.all(), ['https://given:6443', 'https://one:6443', 'https://two:6443'])
})

test('what goes beside the link tries the linked server first', async () => {
  const { servers } = setUp()
  await servers.learn(['https://one:6443', 'https://two:6443'])
  assert.equal(servers.current, 'https://given:6443')
  servers.linked('https://two:6443')
  assert.deepEqual(servers.preferred(), ['https://two:6443', 'https://given:6443', 'https://one:6443'])
  assert.equal(servers.current, 'https://two:6443')
})
