import assert from 'node:assert/strict'
import { test } from 'node:test'
import { settleFamilies } from './service-families.ts'

type Spec = Parameters<typeof settleFamilies>[0]
const settled = (spec: Spec, old?: Spec): readonly [Spec['ipFamilyPolicy'], Spec['ipFamilies']] => {
  const copy = structuredClone(spec)
  assert.deepEqual(settleFamilies(copy, old, 'IPv4'), [])
  return [copy.ipFamilyPolicy, copy.ipFamilies]
}
const app = { selector: { app: 'x' } }

test('what is left open becomes what Kubernetes makes of it on a cluster of one family', () => {
  assert.deepEqual(settled(app), ['SingleStack', ['IPv4']])
  assert.deepEqual(settled({ ...app, ipFamilyPolicy: 'PreferDualStack' }), ['PreferDualStack', ['IPv4']])
  assert.deepEqual(settled({ ...app, clusterIP: 'None' }), ['SingleStack', ['IPv4']])
  assert.deepEqual(settled({ clusterIP: 'None' }), ['RequireDualStack', ['IPv4', 'IPv6']], 'without selector its endpoints may be of both')
  assert.deepEqual(settled({ clusterIP: 'None', ipFamilyPolicy: 'SingleStack', ipFamilies: ['IPv6'] }), ['SingleStack', ['IPv6']])
  const old: Spec = { ...app, clusterIP: '10.43.0.9', clusterIPs: ['10.43.0.9'], ipFamilies: ['IPv4'], ipFamilyPolicy: 'PreferDualStack' }
  assert.deepEqual(settled({ ...app, clusterIP: '10.43.0.9' }, old), ['PreferDualStack', ['IPv4']], 'an update that says nothing keeps it')
})

test('what the cluster cannot give is refused in the words of Kubernetes', () => {
  for (const [spec, field, value, why] of [
    [{ ipFamilyPolicy: 'RequireDualStack' }, 'spec.ipFamilyPolicy', '"RequireDualStack"', 'this cluster is not configured for dual-stack services'],
    [{ ipFamilies: ['IPv6'] }, 'spec.ipFamilies[0]', '"IPv6"', 'not configured on this cluster'],
    [{ ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'PreferDualStack' }, 'spec.ipFamilies[1]', '"IPv6"', 'not configured on this cluster'],
    [{ ipFamilies: ['IPv4', 'IPv6'] }, 'spec.ipFamilyPolicy', '"SingleStack"', "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"],
    [{ clusterIP: 'fd00::1', clusterIPs: ['fd00::1'] }, 'spec.clusterIPs[0]', '["fd00::1"]', 'IPv6 is not configured on this cluster'],
    [{ clusterIP: '10.43.0.7', clusterIPs: ['10.43.0.7', 'fd00::1'] }, 'spec.ipFamilyPolicy', '"SingleStack"', "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"],
    [{ ipFamilies: ['IPv5'] }, 'spec.ipFamilies[0]', '"IPv5"', 'supported values'],
  ] as const) {
    const [first] = settleFamilies({ ...app, ...structuredClone(spec) } as Spec, undefined, 'IPv4')
    assert.equal(first?.field, field)
    assert.ok(first.message.includes(value) && first.message.includes(why), first.message)
  }
})
