import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { MemoryRecords } from '../../../test/kit/records.ts'
import { AppError, type ErrorCode } from '../../base/errors.ts'
import { setLogSink } from '../../base/log.ts'
import { clusterTokenPath, rotateClusterToken } from './cluster-token.ts'
import { addKey, keysInStore } from './secrets.ts'
import { changeCommon, shareIdentity } from './shared-identity.ts'

const former = setLogSink(() => undefined)
const root = mkdtempSync(join(tmpdir(), 'skerry-cluster-token-'))
after(() => {
  setLogSink(former)
  rmSync(root, { recursive: true })
})
const fails = (code: ErrorCode, text: RegExp) => (e: unknown) => e instanceof AppError && e.code === code && text.test(e.message)
const CHANGED = fails('forbidden', /token does not open it.* was changed \(skerry store rotate-cluster-token\): copy server\/cluster-token .* --cluster-token-file/)
let n = 0

/** Two servers of one store, with a key for what is encrypted. */
async function pair(): Promise<{ records: MemoryRecords; one: string; two: string; token: (dir: string) => string; keyOf: (dir: string) => Promise<string | undefined>; ca: (dir: string) => Promise<string> }> {
  const at = join(root, String(n++))
  const [records, one, two] = [new MemoryRecords(), join(at, 'one'), join(at, 'two')]
  await shareIdentity(one, records, undefined)
  await shareIdentity(two, records, clusterTokenPath(one))
  await addKey(keysInStore(records, one))
  return {
    records,
    one,
    two,
    token: (dir) => readFileSync(clusterTokenPath(dir), 'utf8').trim(),
    keyOf: async (dir) => (await keysInStore(records, dir).read())?.keys[0]?.id,
    ca: async (dir) => (await changeCommon(dir, records, async (now) => now))['ca.crt'],
  }
}

test('everything is sealed with the new token at once; a server with the former one is told, and is in again with the new one', async () => {
  const { records, one, two, token, keyOf, ca } = await pair()
  const [before, key, cert] = [token(one), await keyOf(one), await ca(one)]
  const sealed = [...records.kept.values()]
  const steps: number[] = []
  records.before = (changes) => steps.push(changes.length)
  await rotateClusterToken(one, records, undefined)
  assert.deepEqual(steps, [2], 'one transaction')
  assert.notEqual(token(one), before)
  assert.ok([...records.kept.values()].every((text) => !sealed.includes(text)))
  assert.deepEqual([await keyOf(one), await ca(one)], [key, cert])
  await shareIdentity(one, records, undefined)
  for (const act of [() => shareIdentity(two, records, undefined), () => ca(two), () => keyOf(two), () => addKey(keysInStore(records, two)), () => rotateClusterToken(two, records, undefined)]) await assert.rejects(act, CHANGED)
  assert.equal(token(two), before)
  await shareIdentity(two, records, clusterTokenPath(one))
  assert.deepEqual([token(two), await keyOf(two)], [token(one), key])
  // Whose settings still name the former one.
  writeFileSync(join(root, 'old'), before)
  await shareIdentity(two, records, join(root, 'old'))
  assert.equal(token(two), token(one))
})

test('a token that is given becomes the one; a bad one, the same one, and a store without servers are refused', async () => {
  const { records, one, token } = await pair()
  const file = join(root, 'given')
  writeFileSync(file, 'short')
  await assert.rejects(rotateClusterToken(one, records, file), fails('invalid', /5 characters are too few/))
  writeFileSync(file, 'a token of our own choice\n')
  await rotateClusterToken(one, records, file)
  assert.equal(token(one), 'a token of our own choice')
  await assert.rejects(rotateClusterToken(one, records, file), fails('invalid', /is in use already/))
  await assert.rejects(rotateClusterToken(join(root, 'none'), records, undefined), fails('not-found', /there is none in .*--data-dir/))
  await assert.rejects(rotateClusterToken(one, new MemoryRecords(), undefined), fails('not-found', /holds nothing that servers share/))
  await shareIdentity(one, records, undefined)
})

test('broken off before or after the transaction nothing is lost: a server starts, and the next try finishes', async () => {
  for (const [at, then] of [['before', 'start'], ['before', 'again'], ['after', 'start'], ['after', 'given']] as const) {
    const { records, one, token, keyOf } = await pair()
    const [key, was] = [await keyOf(one), token(one)]
    records[at] = () => {
      throw new AppError('unavailable', 'the machine went down')
    }
    await assert.rejects(rotateClusterToken(one, records, undefined), fails('unavailable', /went down/))
    records[at] = () => {}
    assert.equal(token(one), was)
    if (then === 'start') {
      await shareIdentity(one, records, undefined)
      assert.equal(token(one) === was, at === 'before', 'what opens the store is what is kept')
    } else {
      writeFileSync(join(root, 'next'), 'a token that was chosen later')
      await rotateClusterToken(one, records, then === 'given' ? join(root, 'next') : undefined)
      assert.equal(token(one) === 'a token that was chosen later', then === 'given')
      assert.notEqual(token(one), was)
      assert.ok(!existsSync(`${clusterTokenPath(one)}.next`))
    }
    assert.equal(await keyOf(one), key, `${at}, ${then}`)
    await shareIdentity(one, records, undefined)
  }
})

test('changes that others make meanwhile are kept, and of two that change the token one is refused', async () => {
  const { records, one, two, keyOf } = await pair()
  let once = (): void => {
    once = () => {}
    records.kept.set('encryption', sealedLater)
  }
  const fresh = await addKey(keysInStore(records, two))
  const sealedLater = records.kept.get('encryption') ?? ''
  await addKey(keysInStore(records, two))
  records.before = () => once()
  await rotateClusterToken(one, records, undefined)
  assert.equal(await keyOf(one), fresh.keys[0]?.id, 'what stood there at the moment of the change')
  // The other one wins just before.
  await shareIdentity(two, records, clusterTokenPath(one))
  let raced: Promise<unknown> | undefined
  records.before = () => {
    records.before = () => {}
    raced ??= rotateClusterToken(two, records, undefined)
  }
  const won = await Promise.allSettled([rotateClusterToken(one, records, undefined)])
  const other = await Promise.allSettled([raced])
  assert.deepEqual([...won, ...other].map((w) => w.status).toSorted(), ['fulfilled', 'rejected'])
  const loser = won[0]?.status === 'rejected' ? one : two
  assert.ok(!existsSync(`${clusterTokenPath(loser)}.next`), 'a token that never counted is not kept')
  await assert.rejects(keyOf(loser), CHANGED)
  await shareIdentity(loser, records, clusterTokenPath(loser === one ? two : one))
  assert.equal(await keyOf(loser), fresh.keys[0]?.id)
})
