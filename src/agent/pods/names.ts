/** Labels and annotations the agent puts on sandboxes and containers (the kubelet's, so that crictl shows them), and small pod helpers. */
import type { Container as ContainerSpec, ContainerStatus, Pod } from '../../api/gen/types.ts'
import { createHash } from 'node:crypto'

export const LABEL_POD_NAME = 'io.kubernetes.pod.name'
export const LABEL_POD_NAMESPACE = 'io.kubernetes.pod.namespace'
export const LABEL_POD_UID = 'io.kubernetes.pod.uid'
export const LABEL_CONTAINER_NAME = 'io.kubernetes.container.name'
export const ANNOTATION_HASH = 'io.kubernetes.container.hash'
export const ANNOTATION_RESTARTS = 'io.kubernetes.container.restartCount'
export const ANNOTATION_GRACE = 'io.kubernetes.pod.terminationGracePeriod'
export const ANNOTATION_TERMINATION_PATH = 'io.kubernetes.container.terminationMessagePath'
export const ANNOTATION_TERMINATION_POLICY = 'io.kubernetes.container.terminationMessagePolicy'
/** Of static pods: which file content made them, when and whence; and on the pod that shows them in the API. The kubelet's. */
export const ANNOTATION_CONFIG_HASH = 'kubernetes.io/config.hash'
export const ANNOTATION_CONFIG_SEEN = 'kubernetes.io/config.seen'
export const ANNOTATION_CONFIG_SOURCE = 'kubernetes.io/config.source'
export const ANNOTATION_MIRROR = 'kubernetes.io/config.mirror'
/** Milliseconds to wait after this container's end before the next one starts; carries the crash backoff over agent restarts. */
export const ANNOTATION_DELAY = 'skerry.io/crash-delay-ms'

/** What a container was made with of CPU and memory. */
export const ANNOTATION_RESOURCES = 'skerry.io/resources'

export type ContainerKind = 'init' | 'sidecar' | 'main' | 'ephemeral'

export interface NamedContainer {
  readonly kind: ContainerKind
  readonly spec: ContainerSpec
  /** Of an ephemeral container: the one whose processes it sees. */
  readonly target?: string
}

/** All containers of a pod in order of start; a restartable init container is a `sidecar`. Ephemeral ones wait for nothing and stand last. */
export function containersOf(pod: Readonly<Pod>): readonly NamedContainer[] {
  const init = (pod.spec?.initContainers ?? []).map((spec): NamedContainer => ({ kind: isSidecar(spec) ? 'sidecar' : 'init', spec }))
  const ephemeral = (pod.spec?.ephemeralContainers ?? []).map(({ targetContainerName, ...spec }): NamedContainer => ({
    kind: 'ephemeral',
    spec: spec as ContainerSpec,
    ...(targetContainerName ? { target: targetContainerName } : {}),
  }))
  return [...init, ...(pod.spec?.containers ?? []).map((spec): NamedContainer => ({ kind: 'main', spec })), ...ephemeral]
}

/** An init container that keeps running beside the main ones. */
export function isSidecar(spec: ContainerSpec): boolean {
  return spec.restartPolicy === 'Always'
}

/** What must not change under a running container: its name and image. Other fields are immutable or resized in place. */
export function hashOf(spec: ContainerSpec): string {
  return createHash('sha256').update(JSON.stringify([spec.name, spec.image])).digest('hex').slice(0, 8)
}

/** The pod's uid; empty for an object that has none. */
export function uidOf(pod: Readonly<Pod>): string {
  return pod.metadata?.uid ?? ''
}

/** `namespace/name`, for logs and messages. */
export function keyOf(pod: Readonly<Pod>): string {
  return `${pod.metadata?.namespace}/${pod.metadata?.name}`
}

/** The API says this pod has ended for good. */
export function isTerminal(pod: Readonly<Pod>): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed'
}

/** A container's status as the API last had it. */
export function formerStatus(pod: Readonly<Pod>, name: string): ContainerStatus | undefined {
  const find = (list: readonly ContainerStatus[] | undefined): ContainerStatus | undefined => list?.find((s) => s.name === name)
  return find(pod.status?.containerStatuses) ?? find(pod.status?.initContainerStatuses) ?? find(pod.status?.ephemeralContainerStatuses)
}

/** A container's id as the API has it. */
export function idOf(c: { readonly id: string }): string {
  return `containerd://${c.id}`
}

/** Seconds a terminating pod's processes get. */
export function graceOf(pod: Readonly<Pod>): number {
  return pod.metadata?.deletionGracePeriodSeconds ?? pod.spec?.terminationGracePeriodSeconds ?? 30
}
