import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Pod, Taint, Toleration } from '../../api/gen/types.ts'
import { mayStayMs } from './plan.ts'

const pod = (...tolerations: Toleration[]): Pod => ({ metadata: { name: 'p' }, spec: { containers: [], tolerations } })
const taint = (key: string, effect = 'NoExecute', value?: string): Taint => ({ key, effect, ...(value === undefined ? {} : { value }) })
const forever: Toleration = { key: 'a', operator: 'Exists', effect: 'NoExecute' }

test('a pod leaves at once, after the shortest time it says, or never', () => {
  const cases: readonly (readonly [string, Pod, Taint[], number | undefined])[] = [
    ['no taints', pod(), [], undefined],
    ['taints of another effect', pod(), [taint('a', 'NoSchedule')], undefined],
    ['not tolerated', pod(), [taint('a')], 0],
    ['tolerated for ever', pod(forever), [taint('a')], undefined],
    ['one of two not tolerated', pod(forever), [taint('a'), taint('b')], 0],
    ['for a time', pod({ ...forever, tolerationSeconds: 6 }), [taint('a')], 6000],
    ['the shortest of several', pod({ ...forever, tolerationSeconds: 6 }, { key: 'b', operator: 'Exists', tolerationSeconds: 4 }), [taint('a'), taint('b')], 4000],
    ['a time beside one for ever', pod({ ...forever, tolerationSeconds: 6 }, { key: 'b', operator: 'Exists' }), [taint('a'), taint('b')], 6000],
    ['a time in the past', pod({ ...forever, tolerationSeconds: -1 }), [taint('a')], 0],
    ['another value', pod({ key: 'a', operator: 'Equal', value: 'x', effect: 'NoExecute' }), [taint('a', 'NoExecute', 'y')], 0],
    ['whatever it is', pod({ operator: 'Exists' }), [taint('a', 'NoExecute', 'y')], undefined],
  ]
  for (const [what, p, taints, expected] of cases) assert.equal(mayStayMs(p, taints), expected, what)
})
