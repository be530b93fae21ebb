/** Small built-in admission: priorities of pods, the default storage class, and certificates for the administrators' group. */
import { createPublicKey } from 'node:crypto'
import { GROUP_MASTERS } from '../../api/contract.ts'
import { KINDS } from '../../api/kinds.ts'
import { fieldInvalid, forbidden, invalid } from '../../api/status.ts'
import { messageOf } from '../../base/errors.ts'
import { parseCsr } from '../../base/pki.ts'
import type { Core } from '../core.ts'
import { keyOf, storageName } from '../resources.ts'
import type { AdmissionPlugin } from './chain.ts'

/** The two classes every cluster has, whether or not they are stored. */
const SYSTEM_PRIORITIES: Readonly<Record<string, number>> = { 'system-node-critical': 2_000_001_000, 'system-cluster-critical': 2_000_000_000 }
const DEFAULT_CLASS = ['storageclass.kubernetes.io/is-default-class', 'storageclass.beta.kubernetes.io/is-default-class']

interface PriorityClass {
  value?: number
  globalDefault?: boolean
  preemptionPolicy?: string
}

interface Prioritized {
  priorityClassName?: string
  priority?: number
  preemptionPolicy?: string
}

/** The two classes of the system stay. As in Kubernetes, a delete of the whole collection takes them; the next start makes them anew. */
export const systemPriorities: AdmissionPlugin = {
  name: 'SystemPriorityClasses',
  validate({ call, object }) {
    const name = object.metadata.name ?? ''
    if (call.info.verb === 'delete' && call.def === KINDS.PriorityClass && SYSTEM_PRIORITIES[name] !== undefined) throw forbidden(call.def, name, 'this is a system priority class and cannot be deleted')
  },
}

/** Priority: a pod's class becomes its number; who names none gets the default class, or 0. */
export const priority: AdmissionPlugin = {
  name: 'Priority',
  admit({ core, call, verb, object, old }) {
    if (call.def !== KINDS.Pod || call.info.subresource !== undefined) return
    const spec = (object.spec ??= {}) as Prioritized
    if (verb === 'update') {
      // Who replaces a pod by what they once wrote has not written these.
      const before = (old?.spec ?? {}) as Prioritized
      if (before.priority !== undefined) spec.priority ??= before.priority
      if (before.preemptionPolicy !== undefined) spec.preemptionPolicy ??= before.preemptionPolicy
      return
    }
    const classes = core.cache.resource(storageName(KINDS.PriorityClass))
    let found: PriorityClass | undefined
    if (spec.priorityClassName) {
      const system = SYSTEM_PRIORITIES[spec.priorityClassName]
      found = (classes.get(keyOf(KINDS.PriorityClass, undefined, spec.priorityClassName))?.parsed() as PriorityClass | undefined) ?? (system === undefined ? undefined : { value: system })
      if (!found) throw forbidden(call.def, object.metadata.name ?? '', `no PriorityClass with name ${spec.priorityClassName} was found`)
    } else {
      const chosen = defaultClass(core)
      if (chosen) spec.priorityClassName = chosen.name
      found = chosen?.of
    }
    const value = found?.value ?? 0
    if (spec.priority !== undefined && spec.priority !== value) throw forbidden(call.def, object.metadata.name ?? '', `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${value} from the given PriorityClass name`)
    spec.priority = value
    const policy = found?.preemptionPolicy ?? 'PreemptLowerPriority'
    if (spec.preemptionPolicy !== undefined && spec.preemptionPolicy !== policy) throw forbidden(call.def, object.metadata.name ?? '', `the string value of PreemptionPolicy (${spec.preemptionPolicy}) must not be provided in pod spec; priority admission controller computed ${policy} from the given PriorityClass name`)
    spec.preemptionPolicy = policy
  },
  validate({ core, call, verb, object }) {
    if (call.def !== KINDS.PriorityClass || verb === 'delete' || (object as PriorityClass).globalDefault !== true) return
    const name = object.metadata.name ?? ''
    const other = defaultClass(core)
    if (other && (verb === 'create' || other.name !== name)) throw forbidden(call.def, name, `PriorityClass ${other.name} is already marked as default. Only one default can exist`)
  },
}

/** The class of pods that name none; of several, which only writes at the same moment can make, the lowest, as in Kubernetes. */
function defaultClass(core: Core): { readonly name: string; readonly of: PriorityClass } | undefined {
  let found: { name: string; of: PriorityClass } | undefined
  for (const entry of core.cache.resource(storageName(KINDS.PriorityClass)).scan()) {
    const of = entry.parsed() as PriorityClass
    if (of.globalDefault && (!found || (of.value ?? 0) < (found.of.value ?? 0))) found = { name: entry.name, of }
  }
  return found
}

/** DefaultStorageClass: a claim that names no class gets the newest default one. */
export const defaultStorageClass: AdmissionPlugin = {
  name: 'DefaultStorageClass',
  admit({ core, call, verb, object }) {
    if (verb !== 'create' || call.def !== KINDS.PersistentVolumeClaim) return
    const spec = (object.spec ??= {}) as { storageClassName?: string; volumeName?: string }
    if (spec.storageClassName !== undefined || object.metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] !== undefined) return
    const defaults = [...core.cache.resource(storageName(KINDS.StorageClass)).scan()].map((e) => e.parsed()).filter((c) => DEFAULT_CLASS.some((a) => c.metadata.annotations?.[a] === 'true'))
    defaults.sort((a, b) => String(b.metadata.creationTimestamp).localeCompare(String(a.metadata.creationTimestamp)) || String(a.metadata.name).localeCompare(String(b.metadata.name)))
    if (defaults[0]) spec.storageClassName = defaults[0].metadata.name as string
  },
}

/**
 * Certificate requests: whoever makes one holds its key. And CertificateSubjectRestriction: nobody asks for a client certificate of
 * the administrators' group. Reading one is another thread's work, so it is judged after all the other fields.
 */
export const certificateSubject: AdmissionPlugin = {
  name: 'CertificateSubjectRestriction',
  async validate({ call, verb, object }) {
    if (verb !== 'create' || call.def !== KINDS.CertificateSigningRequest) return
    const { signerName = '', request = '' } = (object.spec ?? {}) as { signerName?: string; request?: string }
    const said = await parseCsr(Buffer.from(request, 'base64').toString()).catch((error: unknown) => messageOf(error))
    const wrong = typeof said === 'string' ? said : said.signatureValid ? undefined : (FORGED[createPublicKey(said.publicKeyPem).asymmetricKeyType ?? ''] ?? 'x509: cannot verify signature: algorithm unimplemented')
    if (wrong !== undefined) throw invalid(call.def, object.metadata.name ?? '', [fieldInvalid('spec.request', request, wrong)])
    if (typeof said !== 'string' && signerName === 'kubernetes.io/kube-apiserver-client' && said.o.includes(GROUP_MASTERS)) {
      throw forbidden(call.def, object.metadata.name ?? '', `use of ${signerName} signer with ${GROUP_MASTERS} group is not allowed`)
    }
  },
}

/** What Go says of a signature by another key, by the type of the one that is certified. */
const FORGED: Readonly<Record<string, string>> = { ec: 'x509: ECDSA verification failure', rsa: 'crypto/rsa: verification error', ed25519: 'x509: Ed25519 verification failure' }
