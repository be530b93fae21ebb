/** The AdmissionReview of one write for one webhook: what it is shown, and the options it was asked with. */
import { apiVersionOf, KINDS, type ResourceDef } from '../../api/kinds.ts'
import type { AdmissionEvent } from '../admission/chain.ts'
import { isDryRun } from '../core.ts'
import type { Obj } from '../stored-text.ts'
import type { Operation } from './match.ts'

export const OPERATIONS: Readonly<Record<AdmissionEvent['verb'], Operation>> = { create: 'CREATE', update: 'UPDATE', delete: 'DELETE', connect: 'CONNECT' }
/** By verb of the request, as Kubernetes names its options. */
const OPTIONS: Readonly<Record<string, string>> = { create: 'CreateOptions', update: 'UpdateOptions', patch: 'PatchOptions', delete: 'DeleteOptions', deletecollection: 'DeleteOptions' }

/** One write as a webhook sees it: in the version it asked for. */
export interface View {
  readonly def: ResourceDef
  readonly object: Obj | undefined
  readonly old: Obj | undefined
}

/** The request part of a review. */
export function admissionRequest({ call, verb, object, kind }: AdmissionEvent, view: View, uid: string): object {
  const { def, info, user, query } = call
  const kindOf = (d: ResourceDef): object => kind ?? { group: d.group, version: d.version, kind: d.kind }
  const resourceOf = (d: ResourceDef): object => ({ group: d.group, version: d.version, resource: d.resource })
  const sub = info.subresource
  const namespace = info.namespace ?? object.metadata.namespace ?? (def === KINDS.Namespace ? (object.metadata.name ?? info.name) : undefined)
  return {
    uid,
    kind: kindOf(view.def),
    resource: resourceOf(view.def),
    ...(sub === undefined ? {} : { subResource: sub }),
    requestKind: kindOf(def),
    requestResource: resourceOf(def),
    ...(sub === undefined ? {} : { requestSubResource: sub }),
    name: info.name ?? object.metadata.name ?? '',
    ...(namespace ? { namespace } : {}),
    operation: OPERATIONS[verb],
    userInfo: { username: user.name, ...(user.uid === undefined ? {} : { uid: user.uid }), groups: user.groups, ...(user.extra ? { extra: user.extra } : {}) },
    object: verb === 'delete' ? null : typed(view, view.object, kind),
    oldObject: typed(view, view.old, kind),
    dryRun: isDryRun(query),
    options: verb === 'connect' ? null : optionsOf(info.verb, query),
  }
}

function typed(view: View, object: Obj | undefined, kind: AdmissionEvent['kind']): object | null {
  if (!object) return null
  return kind ? withoutMeta(object) : { ...object, apiVersion: apiVersionOf(view.def), kind: view.def.kind }
}

/** Options have no metadata; the pipeline's objects always do. */
function withoutMeta({ metadata, ...rest }: Obj): object {
  return Object.keys(metadata).length === 0 ? rest : { ...rest, metadata }
}

function optionsOf(verb: string, query: URLSearchParams): object {
  const text = (key: string): object => (query.get(key) === null ? {} : { [key]: query.get(key) })
  return {
    kind: OPTIONS[verb] ?? 'UpdateOptions',
    apiVersion: 'meta.k8s.io/v1',
    ...(isDryRun(query) ? { dryRun: ['All'] } : {}),
    ...text('fieldManager'),
    ...text('fieldValidation'),
    ...(query.get('force') === null ? {} : { force: query.get('force') === 'true' }),
  }
}
