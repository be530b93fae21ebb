import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { FakeClock } from '../../base/clock.ts'
import type { KubeObject } from '../../api/meta.ts'
import { createSeal } from '../seal/sealing.ts'
import { Remembered } from './remembered.ts'
import { readRequest, type LocalRequest } from './request.ts'

const SLICES = '/apis/discovery.k8s.io/v1/namespaces/a/endpointslices'
const slice = (name: string, value = 'x'): KubeObject => ({ kind: 'EndpointSlice', apiVersion: 'discovery.k8s.io/v1', metadata: { name, namespace: 'a', labels: { app: 'x' }, annotations: { value } } })
const list = (...items: KubeObject[]): string => JSON.stringify({ kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', metadata: { resourceVersion: '5' }, items })
const line = (type: string, object: object): string => `${JSON.stringify({ type, object })}\n`

describe('what the server said is remembered', () => {
  let directory = ''
  let clock: FakeClock
  let remembered: Remembered
  const seal = createSeal(Buffer.alloc(32, 1))
  const make = (): Remembered => new Remembered({ directory, clock, seal })
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skerry-remembered-'))
    clock = new FakeClock()
    remembered = make()
  })
  afterEach(() => rm(directory, { recursive: true }))

  const ask = (url: string): LocalRequest => readRequest('GET', url) as LocalRequest
  /** An answer that comes byte by byte. */
  const answer = (url: string, text: string, status = 200): void => {
    const follower = remembered.follow(ask(url), status, 'application/json')
    for (const byte of Buffer.from(text)) follower?.add(Buffer.of(byte))
    follower?.end()
  }
  /** What is known, by its names and values; undefined when nothing is. */
  const known = async (url: string, by = remembered): Promise<string | undefined> => {
    const { resource, query } = ask(url)
    const [k] = await by.known(resource as NonNullable<typeof resource>, query)
    return k && k.cache.list().map((o) => `${o.metadata?.name}=${o.metadata?.annotations?.['value'] ?? ''}`).join(' ')
  }

  test('a list answers for itself, for parts of it and for its objects, also after a restart; not for more', async () => {
    answer(SLICES, list(slice('web'), slice('db')))
    for (const url of [SLICES, `${SLICES}?labelSelector=app%3Dx`, `${SLICES}/web`, `${SLICES}?watch=1`]) {
      assert.equal(await known(url), 'web=x db=x', url)
      assert.equal(await known(url, make()), 'web=x db=x', url)
    }
    for (const url of ['/apis/discovery.k8s.io/v1/endpointslices', SLICES.replace('/a/', '/b/'), SLICES.replace('/v1/', '/v1beta1/'), '/api/v1/namespaces/a/endpoints']) assert.equal(await known(url), undefined, url)
    answer(`${SLICES}?labelSelector=app%3Dy`, list())
    assert.equal(await known(SLICES), 'web=x db=x', 'an answer to a narrower question is none to a wider one')
    assert.equal(await known(`${SLICES}?labelSelector=app%3Dy`), '')
  })

  test('a list in pages is known when the last one has come', async () => {
    const page = (next: string, ...items: KubeObject[]): string => JSON.stringify({ ...(JSON.parse(list(...items)) as object), metadata: { resourceVersion: '5', ...(next === '' ? {} : { continue: next }) } })
    answer(`${SLICES}?limit=1`, page('t1', slice('a')))
    assert.equal(await known(SLICES), undefined)
    answer(`${SLICES}?limit=1&continue=t1`, page('t2', slice('b')))
    answer(`${SLICES}?limit=1&continue=other`, page('', slice('z')))
    assert.equal(await known(SLICES), undefined, 'the last page of a list whose first was not seen')
    answer(`${SLICES}?limit=1&continue=t2`, page('', slice('c')))
    assert.equal(await known(SLICES), 'a=x b=x c=x')
    assert.equal(await known(`${SLICES}?limit=1`), 'a=x b=x c=x')
  })

  test('what was told in another form answers the same question in that form, with its pages put together', async () => {
    const told = async (form: string, url = SLICES): Promise<unknown> => {
      const { resource, query } = ask(url)
      return (await remembered.told(resource as NonNullable<typeof resource>, query, form))?.document
    }
    const page = (next: string, ...rows: string[]): string => JSON.stringify({ kind: 'Table', metadata: { resourceVersion: '5', ...(next === '' ? {} : { continue: next }) }, ...(rows[0] === 'a' ? { columnDefinitions: [{ name: 'Name' }] } : {}), rows: rows.map((r) => ({ cells: [r] })) })
    answer(`${SLICES}?limit=1`, page('t1', 'a'))
    assert.equal(await told('Table'), undefined)
    answer(`${SLICES}?limit=1&continue=t1`, page('', 'b'))
    const table = { kind: 'Table', metadata: {}, columnDefinitions: [{ name: 'Name' }], rows: [{ cells: ['a'] }, { cells: ['b'] }] }
    assert.deepEqual(await told('Table', `${SLICES}?limit=500`), table)
    for (const url of [`${SLICES}?labelSelector=a%3Db`, `${SLICES}?includeObject=Object`, `${SLICES}/a`]) assert.equal(await told('Table', url), undefined, url)
    assert.equal(await told('PartialObjectMetadataList'), undefined)
    assert.equal(await known(SLICES), undefined, 'nothing can be made of it for who asks for the objects')

    const metadata = { kind: 'PartialObjectMetadataList', metadata: {}, items: [{ metadata: { name: 'a' } }] }
    answer(SLICES, JSON.stringify(metadata))
    assert.deepEqual([await told('PartialObjectMetadataList'), await told('Table')], [metadata, table])
    answer(`${SLICES}/a`, JSON.stringify({ kind: 'PartialObjectMetadata', metadata: { name: 'a' } }))
    assert.deepEqual(await told('PartialObjectMetadata', `${SLICES}/a`), { kind: 'PartialObjectMetadata', metadata: { name: 'a' } })
    answer(`${SLICES}/a`, '{"kind":"Status"}', 404)
    assert.equal(await told('PartialObjectMetadata', `${SLICES}/a`), undefined)
    answer(SLICES, list(slice('web')))
    answer(`${SLICES}?watch=1&resourceVersion=5`, line('MODIFIED', { kind: 'Table', rows: [] }))
    assert.equal(await known(SLICES), 'web=x', 'kubectl get --watch says nothing against it')
  })

  test('one object answers for itself until the server says that it is gone', async () => {
    answer(`${SLICES}/web`, JSON.stringify(slice('web')))
    assert.equal(await known(`${SLICES}/web`), 'web=x')
    assert.equal(await known(SLICES), undefined)
    answer(`${SLICES}/web`, '{"kind":"Status"}', 404)
    assert.equal(await known(`${SLICES}/web`), undefined)
  })

  test('a watch keeps its list up to date', async () => {
    answer(SLICES, list(slice('web'), slice('db')))
    answer(`${SLICES}?watch=1&resourceVersion=5`, line('MODIFIED', slice('web', 'y')) + line('DELETED', slice('db')) + line('ADDED', slice('api')))
    assert.equal(await known(SLICES), 'web=y api=x')
    assert.equal(await known(SLICES, make()), 'web=y api=x')
  })

  test('a watch that lists is an answer once its list is whole', async () => {
    const url = `${SLICES}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`
    answer(url, line('ADDED', slice('web')))
    assert.equal(await known(SLICES), undefined)
    const end = line('BOOKMARK', { kind: 'EndpointSlice', metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } } })
    answer(url, line('ADDED', slice('web')) + end + line('ADDED', slice('late')))
    assert.equal(await known(SLICES), 'web=x late=x')
    answer(`${SLICES}?watch=1`, line('ADDED', slice('web')))
    assert.equal(await known(SLICES), 'web=x', 'without a revision a watch begins with all there is')
  })

  test('the newest answer counts', async () => {
    answer(SLICES, list(slice('web')))
    await remembered.flush()
    await clock.advance(1000)
    answer('/apis/discovery.k8s.io/v1/endpointslices', list(slice('web', 'new')))
    assert.equal(await known(SLICES), 'web=new')
  })

  test('not remembered: parts of a list, what passes quickly, and what is too large', async () => {
    answer(SLICES, JSON.stringify({ kind: 'EndpointSliceList', metadata: { continue: 'more' }, items: [slice('web')] }))
    for (const kind of ['Table', 'Status']) answer(SLICES, JSON.stringify({ kind, items: [slice('web')] }))
    answer('/apis/coordination.k8s.io/v1/namespaces/a/leases', list(slice('web')))
    answer(SLICES, '{"kind":"EndpointSli')
    await remembered.flush()
    assert.deepEqual(await readdir(directory), [])
    answer(SLICES, list(slice('web')))
    assert.equal(await known(SLICES), 'web=x')
    const follower = remembered.follow(ask(SLICES), 200, 'application/json')
    for (let i = 0; i < 3; i++) follower?.add(Buffer.alloc(1 << 20, 32))
    follower?.end()
    assert.equal(await known(SLICES), undefined, 'what was known of it is out of date')
  })

  test('on disk it is sealed, bounded, written once for many changes; damage means not known', async () => {
    answer(SLICES, list(slice('web', 'secret-value')))
    await remembered.flush()
    const [file = ''] = await readdir(directory)
    const before = await readFile(join(directory, file))
    assert.ok(!before.includes('secret-value'))
    answer(SLICES, list(slice('web', 'secret-value')))
    answer(`${SLICES}?watch=1&resourceVersion=5`, line('MODIFIED', slice('web', 'y')))
    assert.deepEqual(await readFile(join(directory, file)), before, 'changes gather')
    await clock.advance(10_000)
    await remembered.flush()
    assert.notDeepEqual(await readFile(join(directory, file)), before)
    await writeFile(join(directory, file), 'SKS1 torn')
    assert.equal(await known(SLICES), undefined)
    for (let i = 0; i < 70; i++) answer(`/api/v1/namespaces/n${i}/configmaps`, list(slice(`s${i}`)))
    await remembered.flush()
    assert.equal((await readdir(directory)).length, 64)
  })
})
