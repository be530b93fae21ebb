/**
 * What the server itself sets on objects of certain kinds, beyond defaults: allocated addresses, first status, who asked.
 * Called by the write verbs before admission and again before validation, so each must bear being run twice.
 */
import { equal } from '../api/patch/json-patch.ts'
import { prepareCreate, prepareUpdate } from '../api/prepare.ts'
import { acceptDefinition } from './crd-status.ts'
import { stamp, type Call, type Core } from './core.ts'
import { allocate } from './service-allocation.ts'
import type { Obj } from './stored-text.ts'

interface Strategy {
  create?(core: Core, call: Call, object: Obj): void
  update?(core: Core, call: Call, next: Obj, old: Obj): void
}

/** By `group/resource`. */
const STRATEGIES: Readonly<Record<string, Strategy>> = {
  '/services': {
    create: (core, _call, object) => allocate(core, object, undefined),
    update(core, call, next, old) {
      if (call.info.subresource === undefined) allocate(core, next, old)
    },
  },
  'certificates.k8s.io/certificatesigningrequests': {
    create(_core, call, object) {
      const { name, uid, groups, extra } = call.user
      object.spec = {
        ...(object.spec as object | undefined),
        username: name,
        ...(uid === undefined ? {} : { uid }),
        groups,
        ...(extra && Object.keys(extra).length > 0 ? { extra } : {}),
      }
    },
    update(_core, _call, next, old) {
      next.spec = old.spec
    },
  },
  'apiregistration.k8s.io/apiservices': {
    create(core, _call, object) {
      if ((object.spec as { service?: object } | undefined)?.service) return
      object.status = { conditions: [{ type: 'Available', status: 'True', lastTransitionTime: stamp(core), reason: 'Local', message: 'Local APIServices are always available' }] }
    },
  },
  'apiextensions.k8s.io/customresourcedefinitions': {
    create: (core, _call, object) => acceptDefinition(core, object),
    update(core, call, next) {
      if (call.info.subresource === undefined) acceptDefinition(core, next)
    },
  },
}

/** Before admission and again after it: what the kind begins with, then what this server gives out. */
export function beforeCreate(core: Core, call: Call, object: Obj): void {
  const { def } = call
  ownersOnce(call, object)
  prepareCreate(def, object)
  STRATEGIES[`${def.group}/${def.resource}`]?.create?.(core, call, object)
}

/** The same for an update: what the old state keeps, then what this server gives out. */
export function beforeUpdate(core: Core, call: Call, next: Obj, old: Obj): void {
  const { def, info } = call
  ownersOnce(call, next)
  prepareUpdate(def, next, old, info.subresource)
  STRATEGIES[`${def.group}/${def.resource}`]?.update?.(core, call, next, old)
}

/** An owner that is named twice is kept once, and the caller is told. */
function ownersOnce(call: Call, { metadata }: Obj): void {
  const owners = metadata.ownerReferences
  if (!Array.isArray(owners) || owners.length < 2) return
  const twice = owners.filter((owner, at) => owners.slice(0, at).some((before) => before.uid === owner.uid && equal(before, owner)))
  if (twice.length === 0) return
  metadata.ownerReferences = owners.filter((owner) => !twice.includes(owner))
  const uids = twice.map((owner) => owner.uid).join(', ')
  const text = `.metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: ${uids}`
  if (!call.warnings.includes(text)) call.warnings.push(text)
}
