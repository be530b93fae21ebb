import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import test from 'node:test'
import type { MountSpec } from '../../cri/mod.ts'
import { setLogSink } from '../../base/log.ts'
import { testNode, testPod } from '../testing.ts'

setLogSink(() => {})

const spec = {
  volumes: [{ name: 'files', image: { reference: 'model', pullPolicy: 'IfNotPresent' } }],
  containers: [{ name: 'main', image: 'app', imagePullPolicy: 'IfNotPresent', volumeMounts: [{ name: 'files', mountPath: '/files' }] }],
}

test('an image volume is pulled, mounted read-only and released with its pod, also by an agent that did not mount it', async () => {
  const mounted: string[] = []
  const views = new Map<string, string>()
  const mounter = { tmpfs: async () => {}, hugePages: async () => {}, readOnly: async (path: string, what: MountSpec) => void mounted.push(`${what.source} ${path}`), unmountUnder: async () => {} }
  await using n = await testNode({ app: {}, model: { present: false } }, { mounter })
  Object.assign(n.runtime, {
    views: {
      view: async (key: string, image: string) => (views.set(key, image), { type: 'overlay', source: image, options: [] }),
      release: async (key: string) => void views.delete(key),
    },
  })
  await n.stop()
  n.start()
  n.api.put('pods', testPod('web', spec))
  await n.until('running', () => n.api.pod('web').status?.phase === 'Running')
  assert.ok(n.runtime.calls.includes('images.pull model'))
  assert.deepEqual([...views.keys()], ['skerry-volume-uid-web-files'])
  assert.match(mounted[0] ?? '', /^sha256:\w+ .*\/run\/pods\/uid-web\/volumes\/files$/)
  await n.stop()
  n.api.remove('pods', 'default', 'web')
  n.start()
  await n.pass(61_000)
  await n.until('released', () => views.size === 0)
  assert.ok(!existsSync(`${n.dirs.data}/pods/uid-web`))
})

test('an image that cannot be had is told like a container’s own', async () => {
  await using n = await testNode({ app: {} })
  n.api.put('pods', testPod('web', spec))
  await n.until('the reason', () => n.api.pod('web').status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImagePull')
})
