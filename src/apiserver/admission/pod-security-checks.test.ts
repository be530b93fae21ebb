import assert from 'node:assert/strict'
import { test } from 'node:test'
import { violations, type CheckedSpec, type Level } from './pod-security-checks.ts'

const CLEAN: CheckedSpec = {
  securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  containers: [{ name: 'c', securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }],
}
const withPod = (security: object): CheckedSpec => ({ ...CLEAN, securityContext: { ...CLEAN.securityContext, ...security } })

test('standards are those of the version that the namespace names', () => {
  const sysctl = (name: string): CheckedSpec => withPod({ sysctls: [{ name }] })
  const probed: CheckedSpec = { ...CLEAN, containers: [{ ...(CLEAN.containers?.[0] as { name: string }), livenessProbe: { httpGet: { host: '10.0.0.1' } } }] }
  for (const [what, level, spec, older, newer, reason] of [
    ['a sysctl of 1.29', 'baseline', sysctl('net.ipv4.tcp_fin_timeout'), 'v1.28', 'v1.29', /^forbidden sysctls \(net\.ipv4\.tcp_fin_timeout\)$/],
    ['a sysctl of 1.32', 'baseline', sysctl('net.ipv4.tcp_rmem'), 'v1.31', 'v1.32', /^forbidden sysctls/],
    ['an SELinux type of 1.31', 'baseline', withPod({ seLinuxOptions: { type: 'container_engine_t' } }), 'v1.30', 'latest', /^seLinuxOptions/],
    ['Windows', 'restricted', { os: { name: 'windows' }, securityContext: { runAsNonRoot: true }, containers: [{ name: 'c' }] }, 'v1.24', 'v1.25', /^allowPrivilegeEscalation != false .*unrestricted capabilities .*seccompProfile/],
  ] as const satisfies readonly (readonly [string, Level, CheckedSpec, string, string, RegExp])[]) {
    assert.match(violations(level, older, spec) ?? '', reason, `${what}, before`)
    assert.equal(violations(level, newer, spec), undefined, `${what}, since`)
  }
  for (const [what, level, spec, older, newer, reason] of [
    ['hosts of probes', 'baseline', probed, 'v1.33', 'v1.34', /^probe or lifecycle host/],
    ['root by number', 'restricted', withPod({ runAsUser: 0 }), 'v1.22', 'v1.23', /^runAsUser=0/],
  ] as const satisfies readonly (readonly [string, Level, CheckedSpec, string, string, RegExp])[]) {
    assert.equal(violations(level, older, spec), undefined, `${what}, before`)
    assert.match(violations(level, newer, spec) ?? '', reason, `${what}, since`)
  }
})

test('a baseline check holds until the restricted one that replaces it exists', () => {
  const adding: CheckedSpec = { ...CLEAN, containers: [{ name: 'c', securityContext: { allowPrivilegeEscalation: false, capabilities: { add: ['NET_ADMIN'] } } }] }
  assert.match(violations('restricted', 'v1.21', adding) ?? '', /^non-default capabilities \(container "c" must not include "NET_ADMIN"/)
  assert.match(violations('restricted', 'v1.22', adding) ?? '', /^unrestricted capabilities \(container "c" must set securityContext\.capabilities\.drop=\["ALL"\]; container "c" must not include/)
})
