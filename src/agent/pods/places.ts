/** Where a pod writes on this machine: for what it uses, what is won back when it goes, and its logs. */
import { join } from 'node:path'
import type { Pod, Volume } from '../../api/gen/types.ts'
import type { PodPlaces } from '../stats/whole.ts'
import type { Volumes } from '../volumes/volumes.ts'
import { uidOf } from './names.ts'

/** The directories of pods; see the header. */
export class Places {
  readonly #volumes: Pick<Volumes, 'pathOf'>
  readonly #logRoot: string

  constructor(volumes: Pick<Volumes, 'pathOf'>, logRoot: string) {
    this.#volumes = volumes
    this.#logRoot = logRoot
  }

  /** Directory of a pod's container logs. */
  logDir(namespace: string, name: string, uid: string): string {
    return join(this.#logRoot, `${namespace}_${name}_${uid}`)
  }

  logsOf(pod: Readonly<Pod>): string {
    return this.logDir(pod.metadata?.namespace ?? '', pod.metadata?.name ?? '', uidOf(pod))
  }

  /** What goes with the pod: its volumes on the node's disk, and its logs. */
  own(pod: Readonly<Pod>): { readonly volumes: readonly string[]; readonly logs: string } {
    return { volumes: (pod.spec?.volumes ?? []).filter((v) => v.emptyDir && !v.emptyDir.medium).map((v) => this.#volumes.pathOf(pod, v)), logs: this.logsOf(pod) }
  }

  /** Everything that counts as the pod's; `pid` is one of its processes, where its network is its own. */
  all(pod: Readonly<Pod>, pid: number | undefined): PodPlaces {
    const volumes = (pod.spec?.volumes ?? []).filter((v) => written(v) || v.emptyDir)
    return {
      pod,
      volumes: volumes.map((v) => ({ name: v.name, path: this.#volumes.pathOf(pod, v), owned: written(v), claim: v.persistentVolumeClaim?.claimName ?? (v.ephemeral && `${pod.metadata?.name ?? ''}-${v.name}`) })),
      logs: this.logsOf(pod),
      pid,
    }
  }
}

function written(v: Volume): boolean {
  return (v.emptyDir !== undefined && !v.emptyDir.medium) || v.persistentVolumeClaim !== undefined || v.ephemeral !== undefined
}
