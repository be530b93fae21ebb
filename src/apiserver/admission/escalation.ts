/**
 * Nobody hands out more than they have: writing a role needs all its rights (or `escalate`), binding a role needs all its
 * rights (or `bind`), approving or signing a certificate needs the right for that signer.
 */
import { KINDS } from '../../api/kinds.ts'
import { forbidden, notFound } from '../../api/status.ts'
import { GROUP_MASTERS, type UserInfo } from '../../api/contract.ts'
import { covers, missingRules, quoted } from '../authz/cover.ts'
import type { PolicyRule } from '../authz/rbac.ts'
import type { Core } from '../core.ts'
import type { Attributes } from '../ports.ts'
import type { AdmissionEvent, AdmissionPlugin } from './chain.ts'

const GROUP = 'rbac.authorization.k8s.io'
const EVERYTHING: readonly PolicyRule[] = [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }, { verbs: ['*'], nonResourceURLs: ['*'] }]

export const escalation: AdmissionPlugin = {
  name: 'RBACEscalation',
  validate(event) {
    const { core, call, verb, object, old } = event
    const { user, def } = call
    if (verb === 'delete' || user.groups.includes(GROUP_MASTERS)) return
    if (def === KINDS.CertificateSigningRequest) return certificates(event)
    const namespace = object.metadata.namespace
    if (def === KINDS.Role || def === KINDS.ClusterRole) {
      if (old && same(old.rules, object.rules) && same(old.aggregationRule, object.aggregationRule)) return
      if (may(core, user, { verb: 'escalate', group: GROUP, resource: def.resource, ...place(namespace, object.metadata.name) })) return
      if (object.aggregationRule) {
        const held = core.rbac.rules(user, undefined)
        if (!EVERYTHING.every((rule) => covers(held, rule))) throw forbidden(def, object.metadata.name ?? '', 'must have cluster-admin privileges to use the aggregationRule')
      }
      refuseMissing(event, (object.rules ?? []) as PolicyRule[], namespace)
    } else if (def === KINDS.RoleBinding || def === KINDS.ClusterRoleBinding) {
      if (old && same(old.subjects, object.subjects)) return
      const ref = object.roleRef as { kind: string; name: string } | undefined
      if (!ref) return
      const resource = ref.kind === 'Role' ? 'roles' : 'clusterroles'
      if (may(core, user, { verb: 'bind', group: GROUP, resource, ...place(namespace, ref.name) })) return
      // A role that is not there yet could be anything once it is.
      const rules = core.rbac.roleRules(ref.kind, ref.name, namespace)
      if (!rules) throw notFound({ group: GROUP, resource }, ref.name)
      refuseMissing(event, rules, namespace)
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

function refuseMissing({ core, call, object }: AdmissionEvent, rules: readonly PolicyRule[], namespace: string | undefined): void {
  const missing = missingRules(core.rbac.rules(call.user, namespace), rules)
  if (missing.length === 0) return
  const who = `user ${JSON.stringify(call.user.name)} (groups=${quoted(call.user.groups)})`
  throw forbidden(call.def, object.metadata.name ?? '', `${who} is attempting to grant RBAC permissions not currently held:\n${missing.join('\n')}`)
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

function may(core: Core, user: UserInfo, attributes: Attributes): boolean {
  return core.authorizer.authorize(user, attributes).allowed
}

function place(namespace: string | undefined, name: string | undefined): { namespace?: string; name?: string } {
  return { ...(namespace ? { namespace } : {}), ...(name ? { name } : {}) }
}
