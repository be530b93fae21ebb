/** What a user of kubectl and of the collector gets for wrong objects and records: field by field, and nothing is kept of them. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Site, type Ran } from '../kit/processes.ts'

let site: Site

before(async () => {
  site = await Site.create({ name: 'bi-api', port: 7510 })
  await site.startServer()
})
after(() => site.close())

const pod = (name: string, spec: string): string => `apiVersion: v1\nkind: Pod\nmetadata: { name: ${name} }\nspec: { ${spec} }\n`
const device = (name: string, spec: string): string => `apiVersion: devices.kubeedge.io/v1beta1\nkind: Device\nmetadata: { name: ${name} }\nspec: { ${spec} }\n`

function refused(ran: Ran, ...words: RegExp[]): void {
  assert.equal(ran.code, 1, ran.out)
  for (const word of words) assert.match(ran.err, word)
}

async function absent(kind: string, name: string): Promise<void> {
  assert.match((await site.kubectl('get', kind, name)).err, /not found/)
}

test('unknown fields: apply refuses by name and keeps nothing, warn keeps and warns, without validation they are dropped', async () => {
  const spec = 'containers: [{ name: a, image: b, imagePullPolcy: Always }], tolerance: 3'
  refused(await site.apply(pod('strict', spec)), /unknown field "spec\.containers\[0\]\.imagePullPolcy"/, /unknown field "spec\.tolerance"/)
  refused(await site.apply(pod('strict', spec), '--server-side'), /\.spec\.tolerance: field not declared in schema/)
  await absent('pod', 'strict')
  const warned = await site.apply(pod('warned', spec), '--validate=warn')
  assert.equal(warned.code, 0)
  assert.match(warned.err, /Warning: unknown field "spec\.containers\[0\]\.imagePullPolcy"/)
  const ignored = await site.apply(pod('ignored', spec), '--validate=false')
  assert.deepEqual([ignored.code, ignored.err], [0, ''])
  for (const name of ['warned', 'ignored']) {
    const kept = JSON.parse((await site.kubectl('get', 'pod', name, '-o', 'json')).out) as { spec: Record<string, unknown> }
    assert.equal(kept.spec['tolerance'], undefined)
  }
})

test('wrong types and values name the field and what was seen, also when kubectl does not look', async () => {
  const text = pod('typed', 'containers: [{ name: a, image: b, ports: [{ containerPort: "http" }] }]')
  for (const flag of ['--validate=strict', '--validate=false']) refused(await site.apply(text, flag), /cannot unmarshal string into .*containerPort of type int32/)
  refused(await site.apply(pod('typed', 'containers: [{ name: a, image: b, ports: [{ containerPort: 99999 }] }]')), /spec\.containers\[0\]\.ports\[0\]\.containerPort: Invalid value: 99999/)
  refused(await site.apply(pod('typed', 'containers: [{ name: "A_b", image: b }]')), /spec\.containers\[0\]\.name: Invalid value: "A_b"/)
  refused(await site.apply(pod('typed', 'containers: [{ name: a, image: b, resources: { limits: { memory: 12Zx } } }]')), /limits\[memory\].*12Zx/)
  refused(await site.apply(pod('typed', 'containers: []')), /spec\.containers: Required value/)
  refused(await site.apply('apiVersion: v1\nkind: Pood\nmetadata: { name: typed }\n'), /no matches for kind "Pood" in version "v1"/)
  refused(await site.apply('a: [b\n c'), /error parsing STDIN/)
  await absent('pod', 'typed')
})

test('the same for devices: a field nobody knows, a number for a name, a type that is none', async () => {
  refused(await site.apply(device('d', 'deviceModelReff: { name: x }, nodeName: n1')), /unknown field "spec\.deviceModelReff"/)
  refused(await site.apply(device('d', 'deviceModelRef: { name: 7 }, properties: [{ desired: { value: 1 } }]'), '--validate=false'), /spec\.deviceModelRef\.name: Invalid value/, /spec\.properties\[0\]\.name: Required value/)
  refused(await site.apply('apiVersion: devices.kubeedge.io/v1beta1\nkind: DeviceModel\nmetadata: { name: m }\nspec: { properties: [{ name: a, type: INTEGER }] }\n'), /spec\.properties\[0\]\.type: Unsupported value: "INTEGER": supported values: .*"INT"/)
  await absent('device', 'd')
})

test('a kind that no controller serves yet is kept, and the create says so', async () => {
  const made = await site.apply('apiVersion: batch/v1\nkind: CronJob\nmetadata: { name: nightly }\nspec: { schedule: "* * * * *", jobTemplate: { spec: { template: { spec: { restartPolicy: Never, containers: [{ name: a, image: b }] } } } } }\n')
  assert.equal(made.code, 0)
  assert.match(made.err, /Warning: CronJob is stored and served, but no controller of this server acts on it yet/)
  assert.equal((await site.kubectl('get', 'cronjob', 'nightly')).code, 0)
  const served = await site.apply(pod('served', 'containers: [{ name: a, image: b }]'))
  assert.equal(served.err, '', 'a kind that is served has no warning')
})

const RECORDS = '/collect/v1/namespaces/default/streams/violations/records'

test('records that are garbage are refused with what was seen; those before and after are kept once', async () => {
  await site.kubectl('create', 'serviceaccount', 'poster')
  await site.kubectl('create', 'clusterrolebinding', 'poster', '--clusterrole=cluster-admin', '--serviceaccount=default:poster')
  const token = (await site.kubectl('create', 'token', 'poster')).out.trim()
  const post = async (body: string, path = RECORDS): Promise<{ status: number; message: string }> => {
    const answer = await site.call('POST', path, token, body)
    return { status: answer.status, message: (JSON.parse(answer.body) as { message?: string }).message ?? '' }
  }
  const good = (id: string): string => JSON.stringify({ id, timeMs: 1, data: { lane: 1 } })
  assert.equal((await post(good('one'))).status, 201)
  const bad: [string, RegExp][] = [
    ['\u0000\u0001 not json', /the body is no JSON, it begins with "\\u0000/],
    ['[1]', /the body is \[1\], want an object/],
    ['{}', /id is missing, want 1 to 253 printable characters/],
    ['{"id":"x","timeMs":"yesterday","data":{}}', /time is "yesterday", want RFC 3339 or milliseconds/],
    ['{"id":"x","timeMs":1,"data":7}', /data is 7, want an object/],
    ['{"id":"x","timeMs":1,"data":{},"attachments":[{"name":"photo","base64":"!!"}]}', /attachment "photo" has no base64/],
    ['{"id":"x","timeMs":1,"data":{},"attachments":[{"name":"../photo","base64":"aa"}]}', /attachment name "..\/photo" has a slash/],
  ]
  for (const [body, message] of bad) {
    const answer = await post(body)
    assert.equal(answer.status, 400, body)
    assert.match(answer.message, message)
  }
  const big = await post(JSON.stringify({ id: 'x', timeMs: 1, data: { text: 'a'.repeat(2 << 20) } }))
  assert.equal(big.status, 413)
  assert.match(big.message, /characters is over \d+/)
  assert.equal((await post('garbage', '/collect/v1/ingest')).status, 403, 'only nodes hand in batches')
  assert.equal((await post(good('two'))).status, 201)
  assert.equal((await post(good('one'))).status, 200, 'known already')
  const list = JSON.parse((await site.call('GET', RECORDS, token)).body) as { items: { id: string }[] }
  assert.deepEqual(list.items.map((r) => r.id), ['one', 'two'])

  const review = (id: string, body: string): Promise<{ status: number; message: string }> => post(body, `${RECORDS}/${id}/review`)
  assert.deepEqual(await review('one', '{"decision":"maybe"}'), { status: 400, message: 'review record: decision is "maybe", want "approve" or "reject"' })
  assert.match((await review('one', '{}')).message, /decision is missing, want "approve" or "reject"/)
  assert.deepEqual(await review('nope', '{"decision":"approve"}'), { status: 404, message: 'record "nope" not found in stream "violations"' })
  assert.equal((await review('one', '{"decision":"approve"}')).status, 200)
  const second = await review('one', '{"decision":"reject"}')
  assert.equal(second.status, 409)
  assert.match(second.message, /approved it at .*; the first decision stands/)
  assert.match((await site.call('GET', `${RECORDS}?limit=many`, token)).body, /limit is \\"many\\", want a whole number/)
  assert.equal((await site.call('GET', RECORDS, 'nonsense')).status, 401)
})
