/**
 * `registries.yaml` on a node with real registries, one with TLS of its own CA and a login: taken up while pods run, mirrors with and without other
 * names, and a mistake that changes nothing.
 */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Node, Pod } from '../../src/api/gen/types.ts'
import { createCa, createKey, issue } from '../../src/base/pki.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { cannotRunRegistry, LOGIN, push, registryConfig } from '../kit/registry.ts'
import { busyboxArchive, eventually, Site } from './site.ts'

const NODE = 'gw-1'

describe('registries.yaml', { skip: cannotRunContainers() || cannotRunRegistry() }, () => {
  let site: Site
  let closed: string
  let ca: string
  const config = (text: string): void => writeFileSync(join(site.data(NODE), 'agent/registries.yaml'), text)
  const entry = (): string => `  "${closed}":
    auth: {username: ${LOGIN.username}, password: ${LOGIN.password}}
    tls: {ca_file: ${ca}}
`
  const runs = (name: string): Promise<string> => site.kubectl('wait', '--for=condition=Ready', `pod/${name}`, '--timeout=40s')
  const container = async (name: string): Promise<string | undefined> => (await site.get<Pod>('pod', name)).status?.containerStatuses?.[0]?.containerID
  const waiting = async (name: string): Promise<string> => (await site.get<Pod>('pod', name)).status?.containerStatuses?.[0]?.state?.waiting?.message ?? ''

  before(async () => {
    site = await Site.create('regs', [NODE])
    const host = site.lab.server
    closed = `${host.address}:7643`
    const storage = join(site.dir, 'storage')
    mkdirSync(storage, { recursive: true })
    const own = await createCa({ cn: 'CA of the registry', years: 1 })
    const key = await createKey()
    const cert = await issue({ ca: own, publicKeyPem: key.publicKeyPem, cn: 'registry', sans: { ip: [host.address] }, usage: 'server', days: 1 })
    ca = join(site.dir, 'ca.pem')
    for (const [name, text] of [['ca.pem', own.certPem], ['registry.pem', cert], ['registry.key', key.keyPem]] as const) writeFileSync(join(site.dir, name), text, { mode: 0o600 })
    const open = registryConfig(site.dir, 'open', { address: `${host.address}:7680`, storage })
    const tls = registryConfig(site.dir, 'closed', { address: closed, storage, login: true, tls: { cert: join(site.dir, 'registry.pem'), key: join(site.dir, 'registry.key') } })
    site.start('open', host, 'docker-registry', ['serve', open])
    site.start('closed', host, 'docker-registry', ['serve', tls])
    await eventually('the registry', async () => (await fetch(`http://${host.address}:7680/v2/`)).ok)
    const archive = await busyboxArchive(site.dir, 'app:v1', 'sleep 600')
    for (const name of ['app', 'cache/team/app']) await push(`http://${host.address}:7680`, name, 'v1', archive)
    await site.startServer()
    await site.skerry('image', 'import', await busyboxArchive(site.dir, 'served:v1', 'sleep 600'))
    await site.join(NODE)
    await site.apply(pod('served', 'served:v1'))
    await runs('served')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('a registry with a CA of its own and a login: refused without, pulled from once the file is there; nothing else restarts', async () => {
    const before = await container('served')
    await site.apply(pod('direct', `${closed}/app:v1`))
    await eventually('the refusal', async () => /certificate|x509/.test(await waiting('direct')))
    config(`configs:\n${entry()}`)
    await runs('direct')
    assert.equal(await container('served'), before)
  })

  test('a mirror of another registry, beside the server as the mirror of all', async () => {
    config(`mirrors:\n  quay.example: {endpoint: ["https://${closed}"]}\nconfigs:\n${entry()}`)
    await eventually('the file to be read', () => /registries read.*quay\.example/.test(site.log(NODE)))
    await site.skerry('image', 'import', '--name', 'quay.example/own:v1', await busyboxArchive(site.dir, 'own:v1', 'sleep 600'))
    await site.apply([pod('mirrored', 'quay.example/app:v1'), pod('own', 'own:v1')].join('---'))
    await runs('mirrored')
    await runs('own')
  })

  test('other names on the mirror, for any registry', async () => {
    config(`mirrors:\n  "*":\n    endpoint: ["https://${closed}"]\n    rewrite: {"^(team/.*)": "cache/$1"}\nconfigs:\n${entry()}`)
    await eventually('the file to be read', () => /registries read.*\*/.test(site.log(NODE)))
    await site.apply(pod('renamed', 'ghcr.example/team/app:v1'))
    await runs('renamed')
    await site.apply(pod('nowhere', 'ghcr.example/team/none:v1'))
    await eventually('the failure', async () => /not found|no such host|lookup/.test(await waiting('nowhere')), 60_000)
  })

  test('a mistake is told with file, key and value, and pulls go on as before', async () => {
    config('mirrors:\n  docker.io: {endpoint: "https://a"}\n')
    await eventually('the mistake to be told', () => /mirrors\."docker\.io"\.endpoint in ".*\/agent\/registries\.yaml" is "https:\/\/a", expected a list/.test(site.log(NODE).replaceAll('\\"', '"')))
    const onNode = async (status: string, message: RegExp): Promise<boolean> => {
      const told = (await site.get<Node>('node', NODE)).status?.conditions?.find((c) => c.type === 'InvalidRegistries')
      if (told?.status === status && message.test(told.message ?? '')) return true
      throw new Error(JSON.stringify(told))
    }
    await eventually('the mistake to stand on the node', () => onNode('True', /expected a list/), 60_000)
    await site.apply(pod('after', 'other.example/team/app:v1'))
    await runs('after')
    config('mirrors: {}\n')
    await eventually('the mistake to be over', () => onNode('False', /as their file says/), 120_000)
  })
})

const pod = (name: string, image: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  nodeName: ${NODE}
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: '${image}', imagePullPolicy: Always}]
`
