/**
 * The written policy of a workload for the time when its node is cut off: annotation `skerry.io/on-disconnect` on the pod
 * (in a Deployment: on its template). Without it, or with `keep`, a pod stays with its node however long the line is down,
 * and nobody takes its place. `replace-after=15m` lets another one run elsewhere once the node has been away for that long;
 * both may run then, as nobody can tell cut off from dead. `,keep=original` (default) or `,keep=replacement` says which one
 * goes when the node is back.
 *
 * A ReplicaSet knows stand-ins. Any other owner (an operator's, a StatefulSet, a Job) makes another pod only when this one is gone:
 * its pod object is deleted after the time, which cannot be undone, so that has to be asked for by `,keep=replacement`.
 */
import type { OwnerReference } from './gen/types.ts'
import { AppError, messageOf } from '../base/errors.ts'

export const ON_DISCONNECT = 'skerry.io/on-disconnect'
/** Condition of a pod that somebody else stands in for: True while its node is away, False for a while after its return. */
export const REPLACED = 'skerry.io/Replaced'

export interface OnDisconnect {
  /** How long the node has to be away, ms; undefined: never. */
  readonly replaceAfterMs: number | undefined
  readonly keep: 'original' | 'replacement'
}

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const KEEP: OnDisconnect = { replaceAfterMs: undefined, keep: 'original' }

/** @throws AppError `invalid` that names the value and what it may be */
export function parseOnDisconnect(text: string | undefined): OnDisconnect {
  if (text === undefined || text === 'keep') return KEEP
  const m = /^replace-after=(\d{1,6})([smhd])(?:,keep=(original|replacement))?$/.exec(text.replaceAll(' ', ''))
  const ms = m ? Number(m[1]) * (UNITS[m[2] as string] as number) : 0
  if (!m || ms === 0) throw new AppError('invalid', `annotation ${ON_DISCONNECT} is "${text}", expected "keep" or "replace-after=15m" (s, m, h or d), with ",keep=original" or ",keep=replacement" behind it`)
  return { replaceAfterMs: ms, keep: m[3] === 'replacement' ? 'replacement' : 'original' }
}

/** How another pod comes to be in the place of one: beside it, only when it is gone, or not at all. */
export type Replacing = 'beside' | 'once gone' | 'never'

/** By the kind of its controller; pods of DaemonSets and static pods belong to their node. */
export function replacing(controllerKind: string | undefined): Replacing {
  if (controllerKind === 'ReplicaSet' || controllerKind === 'Deployment') return 'beside'
  return controllerKind === undefined || controllerKind === 'DaemonSet' || controllerKind === 'Node' ? 'never' : 'once gone'
}

/** The same of an object with owners. */
export function replacingOf(owners: readonly OwnerReference[] | undefined): Replacing {
  return replacing(owners?.find((o) => o.controller === true)?.kind)
}

/** What of a written policy will not happen as it reads; undefined when it will. */
export function onDisconnectWarning(text: string | undefined, how: Replacing): string | undefined {
  try {
    const { replaceAfterMs, keep } = parseOnDisconnect(text)
    if (replaceAfterMs === undefined || how === 'beside') return undefined
    if (how === 'never') return `"${text}" has no effect: nobody makes another pod in place of this one elsewhere`
    return keep === 'replacement' ? undefined : `"${text}" has no effect: only ReplicaSets and Deployments make another pod beside this one; with ",keep=replacement" it is deleted after the time, so that its owner makes another`
  } catch (error) {
    return `${messageOf(error)}; until then the pod is kept`
  }
}
