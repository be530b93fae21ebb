/** What Events and statuses say of a pod: whom they are about, and the kubelet's sentence of a crash backoff. Pure. */
import type { Container as ContainerSpec, Pod } from '../../api/gen/types.ts'
import type { InvolvedObject } from '../../client/mod.ts'
import type { CheckResult } from './checks.ts'
import { containersOf } from './names.ts'

/** The pod, or one container of it, as an Event names it. */
export function aboutPod(pod: Readonly<Pod>, container: ContainerSpec | undefined): InvolvedObject {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {}
  const kind = container && containersOf(pod).find((c) => c.spec.name === container.name)?.kind
  const list = kind === 'main' || kind === undefined ? 'containers' : kind === 'ephemeral' ? 'ephemeralContainers' : 'initContainers'
  const fieldPath = container ? `spec.${list}{${container.name}}` : undefined
  return { apiVersion: 'v1', kind: 'Pod', namespace, name, uid, ...(fieldPath === undefined ? {} : { fieldPath }) }
}

/** Reason and message of the Event that tells what a probe has seen. */
export function probeWords(kind: string, seen: CheckResult): [reason: string, message: string] {
  const which = `${kind[0]?.toUpperCase()}${kind.slice(1)} probe`
  if (seen.unknown) return ['Unhealthy', `${which} errored and resulted in unknown state: ${seen.output}`]
  return seen.warning ? ['ProbeWarning', `${which} warning: ${seen.output}`] : ['Unhealthy', `${which} failed: ${seen.output}`]
}

/** A pod as the kubelet writes it in messages: `name_namespace(uid)`. */
export function fullName(pod: Readonly<Pod>): string {
  return `${pod.metadata?.name}_${pod.metadata?.namespace}(${pod.metadata?.uid})`
}

/** Why a container waits in CrashLoopBackOff, with the whole wait. */
export function backoffMessage(pod: Readonly<Pod>, container: string, seconds: number): string {
  const wait = seconds % 60 === 0 ? `${seconds / 60}m0s` : seconds > 60 ? `${Math.floor(seconds / 60)}m${seconds % 60}s` : `${seconds}s`
  return `back-off ${wait} restarting failed container=${container} pod=${fullName(pod)}`
}
