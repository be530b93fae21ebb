import assert from 'node:assert/strict'
import { test } from 'node:test'
import { warns } from '../../test/kit/kinds.ts'
import { KINDS } from './kinds.ts'
import { parseOnDisconnect } from './on-disconnect.ts'

test('a policy is keep, or a time after which a pod is replaced, and who stays', () => {
  assert.deepEqual(parseOnDisconnect(undefined), { replaceAfterMs: undefined, keep: 'original' })
  assert.deepEqual(parseOnDisconnect('keep'), { replaceAfterMs: undefined, keep: 'original' })
  assert.deepEqual(parseOnDisconnect('replace-after=15m'), { replaceAfterMs: 900_000, keep: 'original' })
  assert.deepEqual(parseOnDisconnect('replace-after=2h, keep=replacement'), { replaceAfterMs: 7_200_000, keep: 'replacement' })
})

test('anything else names what was seen and what it may be', () => {
  for (const text of ['', 'Keep', 'replace', 'replace-after=', 'replace-after=5', 'replace-after=0s', 'replace-after=-5m', 'replace-after=5m,keep=both', 'replace-after=5w']) {
    assert.throws(() => parseOnDisconnect(text), { code: 'invalid', message: new RegExp(`is "${text}", expected "keep" or "replace-after=15m"`) })
  }
})

test('a policy that will not act as it reads is warned of when the workload is written', () => {
  const spec = { containers: [{ name: 'c', image: 'i' }] }
  const template = { metadata: { labels: { a: 'b' } }, spec }
  const workload = { metadata: { name: 'w', namespace: 'n' }, spec: { selector: { matchLabels: { a: 'b' } }, template } }
  const AT = 'metadata.annotations[skerry.io/on-disconnect]'
  const nobody = '"replace-after=5m" has no effect: nobody makes another pod in place of this one elsewhere'
  const gone = '"replace-after=5m" has no effect: only ReplicaSets and Deployments make another pod beside this one; with ",keep=replacement" it is deleted after the time, so that its owner makes another'
  warns(KINDS.Deployment, workload, [
    [{ [`spec.template.${AT}`]: 'replace-after=5m' }, []],
    [{ [`spec.template.${AT}`]: 'replace-after=never' }, `spec.template.${AT}: annotation skerry.io/on-disconnect is "replace-after=never", expected "keep" or "replace-after=15m" (s, m, h or d), with ",keep=original" or ",keep=replacement" behind it; until then the pod is kept`],
    [{ [AT]: 'keep' }, `${AT}: has no effect here; it belongs to the pods, in spec.template.metadata.annotations`],
    [{ [AT]: 'keep', [`spec.template.${AT}`]: 'keep' }, []],
  ])
  warns(KINDS.StatefulSet, { ...workload, spec: { ...workload.spec, serviceName: 's' } }, [
    [{ [`spec.template.${AT}`]: 'keep' }, []],
    [{ [`spec.template.${AT}`]: 'replace-after=5m' }, `spec.template.${AT}: ${gone}`],
    [{ [`spec.template.${AT}`]: 'replace-after=5m,keep=replacement' }, []],
  ])
  warns(KINDS.DaemonSet, workload, [[{ [`spec.template.${AT}`]: 'replace-after=5m' }, `spec.template.${AT}: ${nobody}`]])
  const owner = (kind: string): object[] => [{ apiVersion: 'apps/v1', kind, name: 'o', uid: 'u', controller: true }]
  warns(KINDS.Pod, { metadata: { name: 'p', namespace: 'n' }, spec }, [
    [{ [AT]: 'replace-after=5m' }, `${AT}: ${nobody}`],
    [{ [AT]: 'replace-after=5m', 'metadata.ownerReferences': owner('ReplicaSet') }, []],
    [{ [AT]: 'replace-after=5m', 'metadata.ownerReferences': owner('Camera') }, `${AT}: ${gone}`],
    [{ [AT]: 'replace-after=5m,keep=replacement', 'metadata.ownerReferences': owner('Camera') }, []],
  ])
})
