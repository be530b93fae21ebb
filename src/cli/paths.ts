/** Where an instance keeps its things: everything from the data directory, which also names the instance. */
import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'

export const DEFAULT_DATA_DIR = '/var/lib/skerry'

export interface InstancePaths {
  readonly data: string
  /** Short name of this instance: part of directories, bridges, tables and cgroups. */
  readonly instance: string
  /** Volatile state, `/run/skerry/<instance>`. */
  readonly run: string
  readonly adminKubeconfig: string
  readonly nodeToken: string
  readonly store: string
  readonly images: string
}

/** The paths of the instance whose state is in `dataDir`. */
export function pathsOf(dataDir: string): InstancePaths {
  const data = resolve(dataDir)
  const instance = data === DEFAULT_DATA_DIR ? 'default' : createHash('sha256').update(data).digest('hex').slice(0, 8)
  return {
    data,
    instance,
    run: join('/run/skerry', instance),
    adminKubeconfig: join(data, 'server/admin.kubeconfig'),
    nodeToken: join(data, 'server/node-token'),
    store: join(data, 'server/state.db'),
    images: join(data, 'server/images'),
  }
}
