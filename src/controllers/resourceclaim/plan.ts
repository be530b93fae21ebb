/** What is to be done about one device claim, decided from the claim and the pods that use it. Pure. */
import type { Pod, PodResourceClaim, ResourceClaimTemplate, ResourceResourceClaim } from '../../api/gen/types.ts'
import { ANN_POD_CLAIM, FINALIZER_DEVICES, isDoneWithClaims } from '../../api/claims.ts'
import { controllerOf } from '../../control/mod.ts'

type Claim = Readonly<ResourceResourceClaim>

/** The claim that a template gives a pod. Its name is the server's to make unique. */
export function claimFrom(template: Readonly<ResourceClaimTemplate>, pod: Readonly<Pod>, podClaim: Readonly<PodResourceClaim>): ResourceResourceClaim {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
  const { metadata, spec } = template.spec
  return {
    apiVersion: 'resource.k8s.io/v1',
    kind: 'ResourceClaim',
    metadata: {
      generateName: `${name}-${podClaim.name}-`,
      namespace,
      ...(metadata?.labels ? { labels: { ...metadata.labels } } : {}),
      annotations: { ...metadata?.annotations, [ANN_POD_CLAIM]: podClaim.name },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid, controller: true, blockOwnerDeletion: true }],
    },
    spec: structuredClone(spec),
  }
}

/** Whether a claim was made from a template for this pod's claim of that name. */
export function isMadeFor(claim: Claim, pod: Readonly<Pod>, podClaim: string): boolean {
  return controllerOf(claim)?.uid === pod.metadata?.uid && claim.metadata?.annotations?.[ANN_POD_CLAIM] === podClaim
}

/** What a claim should be by what its pods still need; `same` when it is that already. */
export type Upkeep =
  | { readonly act: 'same' }
  /** Pods that are done hold it no longer; without any, its devices are free. */
  | { readonly act: 'status'; readonly status: NonNullable<ResourceResourceClaim['status']> }
  /** Nothing is allocated any more: nothing holds its deletion. */
  | { readonly act: 'free'; readonly finalizers: readonly string[] }
  /** Made from a template for a pod that is done. */
  | { readonly act: 'delete' }

/** @param podOf the pod of that name now */
export function upkeep(claim: Claim, podOf: (name: string) => Readonly<Pod> | undefined): Upkeep {
  const held = claim.status?.reservedFor ?? []
  const needed = held.filter((r) => {
    if ((r.apiGroup ?? '') !== '' || r.resource !== 'pods') return true
    const pod = podOf(r.name)
    return pod?.metadata?.uid === r.uid && !isDoneWithClaims(pod)
  })
  const leaving = claim.metadata?.deletionTimestamp !== undefined
  const finalizers = claim.metadata?.finalizers ?? []
  const ours = finalizers.includes(FINALIZER_DEVICES)
  const { allocation, reservedFor: _reservedFor, devices, ...rest } = claim.status ?? {}
  if (needed.length < held.length || (leaving && needed.length === 0 && allocation && ours)) {
    const kept = needed.length > 0 ? { ...(allocation ? { allocation } : {}), reservedFor: needed, ...(devices ? { devices } : {}) } : {}
    return { act: 'status', status: { ...rest, ...kept } }
  }
  if (ours && !allocation && held.length === 0 && leaving) return { act: 'free', finalizers: finalizers.filter((f) => f !== FINALIZER_DEVICES) }
  const owner = controllerOf(claim)
  if (needed.length === 0 && !leaving && owner?.kind === 'Pod') {
    const pod = podOf(owner.name)
    if (pod?.metadata?.uid !== owner.uid || isDoneWithClaims(pod)) return { act: 'delete' }
  }
  return { act: 'same' }
}
