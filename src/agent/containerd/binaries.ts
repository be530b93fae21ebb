/** The programs a node needs, found or named with the way to get them. Used by the containerd supervisor and the check. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { AppError } from '../../base/errors.ts'
import { findProgram, SYSTEM_PATH } from './command.ts'

export interface Binaries {
  readonly containerd: string
  readonly ctr: string
  readonly runc: string
  /** Directory with the CNI plugins. */
  readonly cniBin: string
  /** Directories searched, in order. */
  readonly path: readonly string[]
}

/** One command that brings all of them on Debian, Raspberry Pi OS and Ubuntu. */
export const APT_LINE = 'apt-get install -y containerd runc containernetworking-plugins nftables iproute2'

const CNI_DIRECTORIES: readonly string[] = ['/usr/lib/cni', '/opt/cni/bin', '/usr/libexec/cni']
/** The plugins of our own configuration; containerd itself calls loopback. */
export const CNI_PLUGINS: readonly string[] = ['bridge', 'host-local', 'loopback']

/** The directory that holds all {@link CNI_PLUGINS}, or undefined. */
export function findCniPlugins(binDirs: readonly string[] = []): string | undefined {
  const candidates = [...binDirs.flatMap((d) => [join(d, 'cni'), d]), ...CNI_DIRECTORIES]
  return candidates.find((d) => CNI_PLUGINS.every((name) => existsSync(join(d, name))))
}

/** @param binDirs searched first, e.g. a bundle's own. @throws AppError `not-found` naming all that is missing */
export function findBinaries(binDirs: readonly string[]): Binaries {
  const path = [...binDirs, ...SYSTEM_PATH]
  const found = (name: string): string | undefined => findProgram(name, path)
  const containerd = found('containerd')
  const ctr = found('ctr')
  const runc = found('runc')
  const shim = found('containerd-shim-runc-v2')
  const cniBin = findCniPlugins(binDirs)
  if (containerd && ctr && runc && shim && cniBin) return { containerd, ctr, runc, cniBin, path }
  const missing = [
    ...(containerd ? [] : ['containerd']), ...(ctr ? [] : ['ctr']), ...(runc ? [] : ['runc']),
    ...(shim ? [] : ['containerd-shim-runc-v2']), ...(cniBin ? [] : [`the CNI plugins ${CNI_PLUGINS.join(', ')}`]),
  ]
  throw new AppError('not-found', `find the container runtime: ${missing.join(', ')} not in ${path.join(':')}; run: ${APT_LINE}`)
}
