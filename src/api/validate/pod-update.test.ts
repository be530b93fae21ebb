import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KINDS } from '../kinds.ts'
import { onUpdate, refusesUpdate, warns } from '../../../test/kit/kinds.ts'

const POD = { spec: { nodeName: 'n', terminationGracePeriodSeconds: 30, containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { cpu: '2', memory: '1Gi' } } }] } }
const C = 'spec.containers[0]'
const QUALIFIED =
  "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
const FORBIDDEN = /^spec: Forbidden: pod updates may not change fields other than `spec\.containers\[\*\]\.image`,`spec\.initContainers\[\*\]\.image`,`spec\.activeDeadlineSeconds`,`spec\.tolerations` \(only additions to existing tolerations\),`spec\.terminationGracePeriodSeconds` \(allow it to be set to 1 if it was previously negative\)/

test('a running pod changes its images, its deadline and gains tolerations, nothing else', () => {
  refusesUpdate(KINDS.Pod, POD, [
    [{ [`${C}.image`]: 'j', 'spec.activeDeadlineSeconds': 5, 'metadata.labels': { a: 'b' } }, []],
    [{ 'spec.tolerations': [{ key: 'k', operator: 'Exists' }] }, []],
    [{ [`${C}.image`]: '' }, `${C}.image: Required value`],
    [{ 'spec.containers[1]': { name: 'd', image: 'i' } }, 'spec.containers: Forbidden: pod updates may not add or remove containers'],
  ])
  for (const changes of [{ 'spec.nodeName': 'm' }, { [`${C}.command`]: ['x'] }, { 'spec.restartPolicy': 'Never' }, { 'spec.hostNetwork': true, [`${C}.ports`]: [] }, { [`${C}.resources.limits.cpu`]: '3' }]) {
    const said = onUpdate(KINDS.Pod, POD, changes)
    assert.ok(said.some((text) => FORBIDDEN.test(text)), `${JSON.stringify(changes)}: ${said.join('\n')}`)
  }
  refusesUpdate(KINDS.Pod, { spec: { ...POD.spec, activeDeadlineSeconds: 5 } }, [
    [{ 'spec.activeDeadlineSeconds': 4 }, []],
    [{ 'spec.activeDeadlineSeconds': 6 }, 'spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value'],
    [{ 'spec.activeDeadlineSeconds': undefined }, 'spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value'],
  ])
  const gated = { spec: { ...POD.spec, nodeName: undefined, schedulingGates: [{ name: 'a' }], nodeSelector: { a: 'b' } } }
  refusesUpdate(KINDS.Pod, gated, [
    [{ 'spec.schedulingGates': [], 'spec.nodeSelector': { a: 'b', c: 'd' } }, []],
    [{ 'spec.schedulingGates': [{ name: 'a' }, { name: 'b' }] }, "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"],
  ])
})

test('through its status door a pod keeps its containers and its content', () => {
  refusesUpdate(KINDS.Pod, POD, [
    [{ status: { phase: 'Running' }, [`${C}.image`]: 'j' }, []],
    [{ status: { conditions: [{ type: 'a/b/c', status: 'True' }] } }, `metadata.conditions[0].Type: Invalid value: "a/b/c": ${QUALIFIED}`],
    [{ status: { podIPs: [{ ip: 'x' }] } }, 'status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'],
  ], 'status')
})

test('ephemeral containers are added, never changed or removed', () => {
  const debug = { name: 'd', image: 'i', targetContainerName: 'c' }
  const first = { ...POD, spec: { ...POD.spec } }
  refusesUpdate(KINDS.Pod, first, [
    [{ 'spec.ephemeralContainers': [debug] }, []],
    [{ 'spec.ephemeralContainers': [{ ...debug, targetContainerName: 'x' }] }, 'spec.ephemeralContainers[0].targetContainerName: Not found: "x"'],
    [{ 'spec.ephemeralContainers': [{ ...debug, name: 'c' }] }, 'spec.ephemeralContainers[0].name: Duplicate value: "c"'],
    [{ 'spec.ephemeralContainers': [{ ...debug, ports: [{ containerPort: 1 }] }] }, 'spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container'],
  ], 'ephemeralcontainers')
})

test('a resize changes cpu and memory and keeps the class of service', () => {
  refusesUpdate(KINDS.Pod, POD, [
    [{ [`${C}.resources.requests.cpu`]: '1500m', [`${C}.resources.limits.memory`]: '2Gi' }, []],
    [{ [`${C}.resources`]: { requests: { cpu: '2', memory: '1Gi' }, limits: { cpu: '2', memory: '1Gi' } } }, 'spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'],
  ], 'resize')
})

test('what is surely not meant is warned of', () => {
  const env = [{ name: 'A', value: '1' }, { name: 'A', value: '2' }]
  warns(KINDS.Pod, POD, [
    [{}, []],
    [{ 'metadata.name': 'a.b' }, "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"],
    [{ [`${C}.env`]: env }, `${C}.env[1]: hides previous definition of "A", which may be dropped when using apply`],
    [{ [`${C}.env`]: [env[0], { name: 'A', value: '$(A):2' }] }, []],
    [{ [`${C}.resources.requests.memory`]: '100m' }, `${C}.resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer`],
    [{ [`${C}.ports`]: [{ containerPort: 80 }, { containerPort: 80 }] }, `${C}.ports[1]: duplicate port definition with ${C}.ports[0]`],
    [{ [`${C}.ports`]: [{ containerPort: 80, hostPort: 80 }, { containerPort: 80 }] }, `${C}.ports[1]: overlapping port definition with ${C}.ports[0]`],
    [{ 'spec.imagePullSecrets': [{ name: 'a' }, { name: 'a' }] }, 'spec.imagePullSecrets[1].name: duplicate name "a"'],
    [{ 'spec.volumes': [{ name: 'v', rbd: { image: 'i', monitors: ['m'] } }] }, 'spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+'],
    [{ 'spec.terminationGracePeriodSeconds': -1 }, 'spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1'],
    [{ 'spec.topologySpreadConstraints': [{ maxSkew: 1, topologyKey: 'z', whenUnsatisfiable: 'DoNotSchedule' }] }, 'spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod'],
  ])
})
