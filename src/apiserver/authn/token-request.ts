/** TokenRequest: a token for a service account, bound to a pod, secret or node when asked; nodes get them for their own pods only. */
import type { ApiResponse } from '../../api/contract.ts'
import { KINDS } from '../../api/kinds.ts'
import { badRequest, conflict, fieldInvalid, forbidden, invalid, notFound } from '../../api/status.ts'
import { nodeName } from '../authz/node.ts'
import { readObject } from '../body.ts'
import { answer, stamp, type Call, type Core } from '../core.ts'
import { objectOf } from '../encode.ts'
import { keyOf } from '../resources.ts'
import type { Obj } from '../stored-text.ts'
import type { BoundObject } from './service-account.ts'
import { admitSent } from '../webhooks/admission.ts'

interface TokenRequestSpec {
  audiences?: string[]
  expirationSeconds?: number
  boundObjectRef?: { kind?: string; apiVersion?: string; name?: string; uid?: string } | null
}

const OF = { group: 'authentication.k8s.io', resource: 'tokenrequests', kind: 'TokenRequest' }
const DEFAULT_SECONDS = 3_600
const MIN_SECONDS = 600
const MAX_SECONDS = 2 ** 32
const BINDABLE = { Pod: KINDS.Pod, Secret: KINDS.Secret, Node: KINDS.Node } as const

/** @throws ApiError 400, 403, 404, 409, 422 */
export async function requestToken(core: Core, call: Call): Promise<ApiResponse> {
  const { def, info } = call
  const sent = ((await readObject(call)).sent ?? {}) as Partial<Obj>
  const { name: asked, namespace } = sent.metadata ?? {}
  if (asked && asked !== info.name) throw badRequest(`name on the token request must match the service account name: "${asked}" is not "${info.name}"`)
  if (namespace && namespace !== info.namespace) throw badRequest(`namespace on the token request must match the service account namespace: "${namespace}" is not "${info.namespace}"`)
  const request: Obj & { spec?: TokenRequestSpec } = { ...sent, kind: 'TokenRequest', apiVersion: 'authentication.k8s.io/v1', metadata: { ...sent.metadata, name: info.name as string, namespace: info.namespace as string } }
  await admitSent(core, call, request, 'authentication.k8s.io', 'TokenRequest')
  const spec = request.spec ?? {}
  const { entry } = await core.store.get(keyOf(def, info.namespace, info.name))
  if (!entry) throw notFound(def, info.name as string)
  const account = objectOf(def, { text: entry.value, revision: entry.revision })
  const seconds = spec.expirationSeconds ?? DEFAULT_SECONDS
  if (!Number.isInteger(seconds) || seconds < MIN_SECONDS) throw invalid(OF, '', [fieldInvalid('spec.expirationSeconds', seconds, 'may not specify a duration less than 10 minutes')])
  if (seconds > MAX_SECONDS) throw invalid(OF, '', [fieldInvalid('spec.expirationSeconds', seconds, 'may not specify a duration larger than 2^32 seconds')])
  const audiences = spec.audiences?.length ? spec.audiences : [core.tokens.issuer]
  const bound = spec.boundObjectRef ? await findBound(core, call, spec.boundObjectRef) : undefined
  checkNode(core, call, spec, bound?.object)
  const node = bound?.ref.kind === 'Pod' ? nodeOf(core, bound.object) : undefined
  const { token, expiresMs } = await core.tokens.sign({
    namespace: info.namespace as string,
    name: info.name as string,
    uid: account.metadata.uid as string,
    audiences,
    seconds,
    ...(bound ? { bound: bound.ref } : {}),
    ...(node ? { node } : {}),
  })
  const status = { token, expirationTimestamp: new Date(expiresMs).toISOString().replace(/\.\d+Z$/, 'Z') }
  const metadata = { name: info.name, namespace: info.namespace, creationTimestamp: stamp(core) }
  return answer(call, 201, JSON.stringify({ kind: 'TokenRequest', apiVersion: 'authentication.k8s.io/v1', metadata, spec: { ...spec, audiences, expirationSeconds: seconds, boundObjectRef: spec.boundObjectRef ?? null }, status }))
}

async function findBound(core: Core, call: Call, wanted: NonNullable<TokenRequestSpec['boundObjectRef']>): Promise<{ ref: BoundObject; object: Obj }> {
  const { info, def } = call
  const { kind = '', apiVersion = '', name, uid } = wanted
  const target = apiVersion === '' || apiVersion === 'v1' ? BINDABLE[kind as keyof typeof BINDABLE] : undefined
  if (!target) throw badRequest(`cannot bind token to object of type ${apiVersion.includes('/') ? apiVersion : `/${apiVersion}`}, Kind=${kind}`)
  if (!name) throw badRequest('cannot bind token to an object without a name')
  const found = await core.store.get(keyOf(target, target.namespaced ? info.namespace : undefined, name))
  if (!found.entry) throw notFound(target, name)
  const object = objectOf(target, { text: found.entry.value, revision: found.entry.revision })
  if (uid && uid !== object.metadata.uid) throw conflict(def, info.name as string, `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`)
  if (target === KINDS.Pod && ((object.spec as { serviceAccountName?: string }).serviceAccountName || 'default') !== info.name) {
    throw badRequest(`cannot bind token for serviceaccount "${info.name}" to pod running with different serviceaccount name.`)
  }
  return { ref: { kind: kind as BoundObject['kind'], name, uid: object.metadata.uid as string }, object }
}

/** NodeRestriction: a node asks for tokens of its own pods, for the audiences these name. */
function checkNode(core: Core, call: Call, { boundObjectRef, audiences = [] }: TokenRequestSpec, pod: Obj | undefined): void {
  const node = nodeName(call.user)
  if (node === undefined) return
  const refuse = (why: string): never => {
    throw forbidden(call.def, call.info.name as string, why)
  }
  if (boundObjectRef?.kind !== 'Pod' || !pod) return refuse('node requested token not bound to a pod')
  if (!boundObjectRef.uid) return refuse('node requested token with a pod binding without a uid')
  const spec = pod.spec as { nodeName?: string; volumes?: { projected?: { sources?: { serviceAccountToken?: { audience?: string } }[] } }[] }
  if (spec.nodeName !== node) return refuse('node requested token bound to a pod scheduled on a different node')
  const mounted = (spec.volumes ?? []).flatMap((v) => v.projected?.sources ?? []).flatMap((s) => (s.serviceAccountToken ? [s.serviceAccountToken.audience || core.tokens.issuer] : []))
  for (const audience of audiences) {
    if (audience !== core.tokens.issuer && !mounted.includes(audience) && !mayAnyAudience(core, call, audience)) return refuse(`audience "${audience}" not found in pod spec volume, ${node} is not authorized to request tokens for this audience`)
  }
}

/** CSI drivers name audiences of their own; an administrator allows these with the verb Kubernetes made for it. */
function mayAnyAudience(core: Core, { user, info }: Call, audience: string): boolean {
  const named = [...core.cache.resource('csidrivers.storage.k8s.io').scan()].some((entry) => ((entry.parsed().spec as { tokenRequests?: { audience?: string }[] } | undefined)?.tokenRequests ?? []).some((t) => t.audience === audience))
  return named || core.authorizer.authorize(user, { verb: 'request-serviceaccounts-token-audience', group: '', version: 'v1', resource: audience, namespace: info.namespace as string, name: info.name as string }).allowed
}

function nodeOf(core: Core, pod: Obj): { name: string; uid?: string } | undefined {
  const name = (pod.spec as { nodeName?: string }).nodeName
  if (!name) return undefined
  const uid = core.cache.resource('nodes').get(keyOf(KINDS.Node, undefined, name))?.parsed().metadata.uid
  return { name, ...(uid === undefined ? {} : { uid }) }
}
