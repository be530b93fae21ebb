/**
 * Images on a node, without a server's help: archives in its directory before the first pod, cut off, torn and mended; by hand with
 * `skerry image`; and registries as `registries.yaml` says.
 */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { Pod } from '../../src/api/gen/types.ts'
import { pathsOf } from '../../src/cli/paths.ts'
import { askAgent } from '../../src/cli/wire/node-status.ts'
import { cannotRunContainers } from '../kit/containerd.ts'
import { busyboxArchive, eventually, ran, Site, SKERRY, type Ran } from './site.ts'

const NODE = 'gw-1'

describe('images brought to a node', { skip: cannotRunContainers() }, () => {
  let site: Site
  let archive: Buffer
  const directory = (): string => join(site.data(NODE), 'agent/images')
  const own = async (name: string): Promise<Buffer> => {
    const path = await busyboxArchive(site.dir, name, 'sleep 600')
    const bytes = readFileSync(path)
    rmSync(path)
    return bytes
  }
  /** skerry on the node's machine, for the node. */
  const skerry = (...args: string[]): Promise<Ran> => ran(SKERRY, args, { env: { ...process.env, SKERRY_DATA_DIR: site.data(NODE) } })
  const images = async (): Promise<string> => (await skerry('image', 'list')).out
  const place = (name: string, bytes: Buffer): void => {
    // As a copy that is made beside and then named.
    writeFileSync(join(site.dir, 'copying'), bytes)
    renameSync(join(site.dir, 'copying'), join(directory(), name))
  }

  before(async () => {
    site = await Site.create('nimg', [NODE])
    await site.startServer()
    archive = await own('first:v1')
  })
  after(async () => assert.deepEqual(await site?.close(), []))

  test('what lies in the directory is there before the first pod, from tar, gzip and zstd', async () => {
    mkdirSync(directory(), { recursive: true })
    place('first.tar', archive)
    place('second.tar.gz', gzipSync(await own('second:v1')))
    place('third.tar.zst', zstdCompressSync(await own('third:v1')))
    await site.apply(['first', 'second', 'third'].map((n) => pod(n, `${n}:v1`)).join('---'))
    await site.join(NODE)
    await site.kubectl('wait', '--for=condition=Ready', 'pod/first', 'pod/second', 'pod/third', '--timeout=60s')
    const { items } = await site.get<{ items: { reason: string; message: string }[] }>('events')
    assert.deepEqual(items.filter((e) => /Pulling|NotOnServer|Failed/.test(e.reason)).map((e) => e.message), [], 'nobody was asked for them')
    const list = await images()
    for (const n of ['first', 'second', 'third']) assert.match(list, new RegExp(`docker.io/library/${n}:v1 .* yes`))
  })

  test('a half copied archive is told and taken when it is whole, while the node runs', async () => {
    const bytes = await own('torn:v1')
    const packed = gzipSync(bytes)
    writeFileSync(join(directory(), 'torn.tar'), bytes.subarray(0, bytes.length - 20_000))
    writeFileSync(join(directory(), 'packed.tar.gz'), packed.subarray(0, packed.length >> 1))
    await eventually('both to be told', () => /torn\.tar.*it is torn or not wholly copied yet/.test(site.log(NODE)) && /packed\.tar\.gz.*it is torn or not wholly copied yet/.test(site.log(NODE)))
    assert.doesNotMatch(await images(), /torn:v1/)
    rmSync(join(directory(), 'packed.tar.gz'))
    writeFileSync(join(directory(), 'torn.tar'), bytes)
    await eventually('the whole one', async () => /torn:v1 .* yes/.test(await images()))
  })

  test('by hand: imported, kept, listed, removed; mistakes are told', async () => {
    writeFileSync(join(site.dir, 'hand.tar'), await own('hand:v1'))
    const brought = await skerry('image', 'import', join(site.dir, 'hand.tar'))
    assert.deepEqual([brought.code, brought.out], [0, 'imported docker.io/library/hand:v1\n'], brought.err)
    assert.match(await images(), /docker\.io\/library\/hand:v1 .* yes/)
    await site.apply(pod('hand', 'hand:v1'))
    await site.kubectl('wait', '--for=condition=Ready', 'pod/hand', '--timeout=40s')
    await site.kubectl('delete', 'pod', 'hand', '--wait')
    assert.deepEqual([(await skerry('image', 'remove', 'hand:v1')).out, /hand:v1/.test(await images())], ['removed hand:v1\n', false])
    assert.match((await skerry('image', 'remove', 'first:v1')).err, /it comes from ".*first\.tar": remove that file first/)
    assert.match((await skerry('image', 'import', '/nowhere.tar')).err, /file "\/nowhere\.tar" does not exist/)
    copyFileSync('/bin/busybox', join(site.dir, 'program.tar'))
    assert.notEqual((await skerry('image', 'import', join(site.dir, 'program.tar'))).code, 0)
    assert.match((await ran(SKERRY, ['image', 'list', '--node', '--data-dir', join(site.dir, 'nobody')])).err, /start `skerry agent`, or name its --data-dir/)
  })

  test('power lost and no server: what was brought while the machine was off runs with what it knew', async () => {
    await site.kubectl('set', 'image', 'pod/first', 'main=fourth:v1')
    await eventually('the node to look for an image that is nowhere', async () => /ErrImagePull|ImagePullBackOff/.test(JSON.stringify((await site.get<Pod>('pod', 'first')).status?.containerStatuses)), 60_000)
    await site.kill('server', 'SIGTERM')
    await site.losePower(NODE)
    place('fourth.tar', await own('fourth:v1'))
    site.startAgent(NODE)
    await eventually('the pod with the image that was brought', async () => (await askAgent(pathsOf(site.data(NODE)))).pods.some((p) => p.name === 'default/first' && p.ready), 60_000)
    assert.match(await images(), /docker\.io\/library\/fourth:v1 .* yes/)
    await site.startServer()
    await site.nodeReady(NODE)
  })
})

const pod = (name: string, image: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  nodeName: ${NODE}
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: '${image}', imagePullPolicy: IfNotPresent}]
`
