import { test } from 'node:test'
import assert from 'node:assert/strict'
import type { PodSpec, Toleration } from '../../api/gen/types.ts'
import type { NodeView } from '../snapshot.ts'
import { hostPorts } from './host-ports.ts'
import { nodeName } from './node-name.ts'
import { tolerates } from './taints.ts'
import { unschedulable } from './unschedulable.ts'

const view = (over: Partial<NodeView> = {}): NodeView => ({ node: { metadata: { name: 'n' } }, name: 'n', allocatable: new Map(), requested: new Map(), ports: [], pods: [], objecting: [], ...over })
const field = { nodes: [], objecting: [] }
const pod = (spec: Partial<PodSpec>) => ({ metadata: { name: 'p' }, spec: { containers: [], ...spec } })

test('tolerations match by key, value and effect, empty meaning any', () => {
  const taint = { key: 'k', value: 'v', effect: 'NoSchedule' }
  const rows: [Toleration, boolean][] = [
    [{ key: 'k', operator: 'Equal', value: 'v', effect: 'NoSchedule' }, true],
    [{ key: 'k', value: 'v' }, true],
    [{ key: 'k', value: 'w' }, false],
    [{ key: 'k', operator: 'Exists' }, true],
    [{ operator: 'Exists' }, true],
    [{ operator: 'Exists', effect: 'NoExecute' }, false],
    [{ key: 'other', operator: 'Exists' }, false],
    [{ value: 'v' }, false],
  ]
  for (const [toleration, expected] of rows) assert.equal(tolerates(toleration, taint), expected, JSON.stringify(toleration))
})

test('a cordoned node takes only what tolerates it, a named node only its name', () => {
  const cordoned = view({ node: { metadata: { name: 'n' }, spec: { unschedulable: true } } })
  assert.equal(unschedulable(pod({}), cordoned, field).length, 1)
  assert.equal(unschedulable(pod({ tolerations: [{ key: 'node.kubernetes.io/unschedulable', operator: 'Exists' }] }), cordoned, field).length, 0)
  assert.equal(nodeName(pod({ nodeName: 'm' }), view(), field).length, 1)
  assert.equal(nodeName(pod({ nodeName: 'n' }), view(), field).length, 0)
  assert.equal(nodeName(pod({ nodeName: '' }), view(), field).length, 0, 'an empty name names none')
})

test('host ports clash on one address, or on any; protocols are apart', () => {
  const taken = view({ ports: [{ ip: '10.0.0.1', protocol: 'TCP', port: 80 }] })
  const ask = (port: object) => hostPorts(pod({ containers: [{ name: 'c', ports: [{ containerPort: 1, hostPort: 80, ...port }] }] }), taken, field).length
  assert.deepEqual([ask({}), ask({ hostIP: '10.0.0.1' }), ask({ hostIP: '10.0.0.2' }), ask({ protocol: 'UDP' }), ask({ hostPort: 81 })], [1, 1, 0, 0, 0])
  const host = pod({ hostNetwork: true, containers: [{ name: 'c', ports: [{ containerPort: 80 }] }] })
  assert.equal(hostPorts(host, taken, field).length, 1)
})
