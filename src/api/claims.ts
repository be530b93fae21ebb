/** Device claims (DRA) in the words that controller, scheduler and node share. Pure. */
import type { Pod, PodResourceClaim, ResourceResourceClaim } from './gen/types.ts'

/** Holds a claim while devices are allocated to it. */
export const FINALIZER_DEVICES = 'resource.kubernetes.io/delete-protection'
/** On a claim made from a template: the name by which its pod calls it. */
export const ANN_POD_CLAIM = 'resource.kubernetes.io/pod-claim-name'
/** The driver of device nodes under `/dev` that every node has built in. */
export const DEVICE_DRIVER = 'dev.skerry.io'
/** Most pods that may share one claim. */
export const MAX_RESERVED = 256

/** The claim behind one of a pod's names for claims. */
export type NamedClaim =
  | { readonly state: 'named'; readonly name: string; readonly template: boolean }
  /** The template asked for nothing. */
  | { readonly state: 'none' }
  /** Made from a template, which has not happened yet. */
  | { readonly state: 'awaited' }

/** Which object one of a pod's names for claims means. */
export function claimOf(pod: Readonly<Pod>, claim: Readonly<PodResourceClaim>): NamedClaim {
  if (claim.resourceClaimName !== undefined) return { state: 'named', name: claim.resourceClaimName, template: false }
  const made = pod.status?.resourceClaimStatuses?.find((s) => s.name === claim.name)
  if (!made) return { state: 'awaited' }
  return made.resourceClaimName === undefined ? { state: 'none' } : { state: 'named', name: made.resourceClaimName, template: true }
}

/** The names of a pod's claims that exist or should. */
export function deviceClaimNames(pod: Readonly<Pod>): string[] {
  return (pod.spec?.resourceClaims ?? []).flatMap((c) => {
    const found = claimOf(pod, c)
    return found.state === 'named' ? [found.name] : []
  })
}

/** Whether the claim is held for this pod. */
export function isReservedFor(claim: Readonly<ResourceResourceClaim>, pod: Readonly<Pod>): boolean {
  return (claim.status?.reservedFor ?? []).some((r) => r.uid === pod.metadata?.uid)
}

/** Whether a pod has no more use of its devices: it ended, or is going without ever having had a node. */
export function isDoneWithClaims(pod: Readonly<Pod>): boolean {
  const phase = pod.status?.phase
  if (phase === 'Succeeded' || phase === 'Failed') return true
  return pod.metadata?.deletionTimestamp !== undefined && (pod.spec?.nodeName ?? '') === ''
}
