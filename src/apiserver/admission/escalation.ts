/**
 * Nobody hands out more than they have: writing a role needs all its rights (or `escalate`), binding a role needs all its
 * rights (or `bind`), approving or signing a certificate needs the right for that signer.
 */
import { KINDS } from '../../api/kinds.ts'
import { forbidden } from '../../api/status.ts'
import { GROUP_MASTERS, type UserInfo } from '../../api/contract.ts'
import type { PolicyRule } from '../authz/rbac.ts'
import { ruleAllows } from '../authz/rbac.ts'
import type { Core } from '../core.ts'
import type { Attributes } from '../ports.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'

const GROUP = 'rbac.authorization.k8s.io'

export const escalation: AdmissionPlugin = {
  name: 'RBACEscalation',
  validate(event) {
    const { core, call, verb, object, old } = event
    const { user, def } = call
    if (verb === 'delete' || user.groups.includes(GROUP_MASTERS)) return
    if (def === KINDS.CertificateSigningRequest) return certificates(event)
    const namespace = object.metadata.namespace
    if (def === KINDS.Role || def === KINDS.ClusterRole) {
      if (old && JSON.stringify(old.rules) === JSON.stringify(object.rules) && JSON.stringify(old.aggregationRule) === JSON.stringify(object.aggregationRule)) return
      if (may(core, user, { verb: 'escalate', group: GROUP, resource: def.resource, ...place(namespace, object.metadata.name) })) return
      const rules = object.aggregationRule ? [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }] : ((object.rules ?? []) as PolicyRule[])
      refuseMissing(event, rules, namespace)
    } else if (def === KINDS.RoleBinding || def === KINDS.ClusterRoleBinding) {
      if (old && JSON.stringify(old.subjects) === JSON.stringify(object.subjects)) return
      const ref = object.roleRef as { kind: string; name: string } | undefined
      if (!ref) return
      const resource = ref.kind === 'Role' ? 'roles' : 'clusterroles'
      if (may(core, user, { verb: 'bind', group: GROUP, resource, ...place(namespace, ref.name) })) return
      refuseMissing(event, core.rbac.roleRules(ref.kind, ref.name, namespace), namespace)
    }
  },
}

function certificates({ core, call, object, old }: AdmissionEvent): void {
  const { info, user, def } = call
  const verb = info.subresource === 'approval' ? 'approve' : info.subresource === 'status' ? 'sign' : undefined
  const signer = (object.spec as { signerName?: string } | undefined)?.signerName ?? ''
  if (verb === undefined || !old) return
  const wildcard = `${signer.split('/')[0]}/*`
  const ask = (name: string): boolean => may(core, user, { verb, group: 'certificates.k8s.io', resource: 'signers', name })
  if (!ask(signer) && !ask(wildcard)) throw forbidden(def, info.name ?? '', `user not permitted to ${verb} requests with signerName "${signer}"`)
}

function refuseMissing(event: AdmissionEvent, rules: readonly PolicyRule[], namespace: string | undefined): void {
  const { core, call, object } = event
  const held = core.rbac.rules(call.user, namespace)
  const missing = rules.filter((rule) => !covers(held, rule))
  if (missing.length === 0) return
  throw forbidden(call.def, object.metadata.name ?? '', `user ${JSON.stringify(call.user.name)} (groups=${JSON.stringify(call.user.groups)}) is attempting to grant RBAC permissions not currently held:\n${missing.map((r) => JSON.stringify(r)).join('\n')}`)
}

/** True when every single act of `wanted` is allowed by some held rule; a `*` wanted needs a `*` held. */
export function covers(held: readonly PolicyRule[], wanted: PolicyRule): boolean {
  const names = wanted.resourceNames?.length ? wanted.resourceNames : [undefined]
  for (const verb of wanted.verbs) {
    for (const path of wanted.nonResourceURLs ?? []) if (!held.some((h) => ruleAllows(h, { verb, path }))) return false
    for (const group of wanted.apiGroups ?? []) {
      for (const full of wanted.resources ?? []) {
        const [resource = '', subresource] = full.split('/')
        for (const name of names) {
          const act = { verb, group, resource, ...(subresource === undefined ? {} : { subresource }), ...(name === undefined ? {} : { name }) }
          if (!held.some((h) => ruleAllows(h, act))) return false
        }
      }
    }
  }
  return true
}

function may(core: Core, user: UserInfo, attributes: Attributes): boolean {
  return core.authorizer.authorize(user, attributes).allowed
}

function place(namespace: string | undefined, name: string | undefined): { namespace?: string; name?: string } {
  return { ...(namespace ? { namespace } : {}), ...(name ? { name } : {}) }
}
