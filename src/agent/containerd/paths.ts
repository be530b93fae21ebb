/**
 * Where everything of one instance lives, said once: the supervisor, the network, the scripts and the tests agree on it.
 * Instances (several agents on one machine) never share a path, a bridge, an nft table or a cgroup.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { AppError } from '../../base/errors.ts'

export interface InstancePaths {
  readonly instance: string
  /** Survives power loss: images, snapshots, metadata. */
  readonly root: string
  /** Gone after a boot: sockets, tasks, network namespaces. */
  readonly run: string
  readonly state: string
  readonly socket: string
  readonly config: string
  readonly pidFile: string
  readonly log: string
  /** containerd's registry hosts. */
  readonly certs: string
  readonly runcRoot: string
  readonly execFifos: string
  readonly cniConf: string
  /** Addresses given out; under /run because no pod network outlives a boot, so neither does a lease. */
  readonly cniLeases: string
  /** Name of the CNI network; its cached results are `/var/lib/cni/results/<name>-*`. */
  readonly network: string
  readonly bridge: string
  readonly nftTable: string
  /** Root of the pods' cgroups in every hierarchy. */
  readonly cgroupRoot: string
}

/**
 * @param instance lower-case letters, digits and dashes, at most 40
 * @param runDir the instance's own directory on a tmpfs, e.g. `/run/skerry/default`; at most 60 bytes, for unix sockets
 */
export function instancePaths(options: { instance: string; dataDir: string; runDir: string }): InstancePaths {
  const { instance, dataDir, runDir } = options
  if (!/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/.test(instance)) {
    throw new AppError('invalid', `lay out an instance: name "${instance}" must be 1 to 40 lower-case letters, digits or dashes`)
  }
  if (Buffer.byteLength(runDir) > 60) throw new AppError('invalid', `lay out an instance: run directory "${runDir}" is over 60 bytes, too long for unix sockets`)
  const hash = createHash('sha256').update(instance).digest('hex').slice(0, 8)
  const root = join(dataDir, 'agent', 'containerd')
  return {
    instance,
    root,
    run: runDir,
    state: join(runDir, 'containerd'),
    socket: join(runDir, 'containerd.sock'),
    config: join(runDir, 'containerd.toml'),
    pidFile: join(runDir, 'containerd.pid'),
    log: join(dataDir, 'agent', 'containerd.log'),
    certs: join(runDir, 'certs.d'),
    runcRoot: join(runDir, 'runc'),
    execFifos: join(runDir, 'exec'),
    cniConf: join(runDir, 'cni', 'net.d'),
    cniLeases: join(runDir, 'cni', 'leases'),
    network: `skerry-${hash}`,
    // 15 bytes is the kernel's limit for an interface name.
    bridge: `sk-${hash}`,
    nftTable: `skerry_${hash}`,
    cgroupRoot: `/skerry-${instance}`,
  }
}
