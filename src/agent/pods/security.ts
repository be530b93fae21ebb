/** Pod and container security contexts as what the runtime is told. Pure. */
import type { AppArmorProfile, Capabilities, Container as ContainerSpec, Pod, SeccompProfile } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import type { LinuxSecurity } from '../../cri/mod.ts'

/** @param imageUser user the image is made for: a name, a number, or empty for root. @throws AppError `invalid` when a non-root rule cannot be kept */
export function containerSecurity(pod: Readonly<Pod>, spec: ContainerSpec, imageUser: string): LinuxSecurity {
  const p = pod.spec?.securityContext
  const c = spec.securityContext
  const runAsGroup = c?.runAsGroup ?? p?.runAsGroup
  // A group alone is nothing to the runtime: the image's user goes with it.
  const image = runAsGroup === undefined ? {} : userOf(imageUser)
  const asked = c?.runAsUser ?? p?.runAsUser
  const runAsUser = asked ?? image.id
  if (c?.runAsNonRoot ?? p?.runAsNonRoot) checkNonRoot(asked, imageUser, `(pod: "${pod.metadata?.name}_${pod.metadata?.namespace}(${pod.metadata?.uid})", container: ${spec.name})`)
  const privileged = c?.privileged === true
  const unmasked = privileged || c?.procMount === 'Unmasked'
  const caps: Capabilities = c?.capabilities ?? {}
  return {
    privileged,
    runAsUser,
    runAsUserName: runAsUser === undefined ? image.name : undefined,
    runAsGroup,
    supplementalGroups: groups(pod),
    strictGroups: strict(pod),
    readOnlyRoot: c?.readOnlyRootFilesystem === true,
    noNewPrivileges: c?.allowPrivilegeEscalation === false,
    addCapabilities: caps.add ?? [],
    dropCapabilities: caps.drop ?? [],
    seccomp: privileged ? 'unconfined' : seccomp(c?.seccompProfile ?? p?.seccompProfile),
    appArmor: appArmor(c?.appArmorProfile ?? p?.appArmorProfile),
    maskedPaths: unmasked ? [] : undefined,
    readonlyPaths: unmasked ? [] : undefined,
  }
}

/** The user an image is made for; root when it names none. */
function userOf(imageUser: string): { readonly id?: number; readonly name?: string } {
  const user = imageUser.split(':')[0] ?? ''
  return user === '' ? { id: 0 } : /^\d+$/.test(user) ? { id: Number(user) } : { name: user }
}

/** The sandbox is privileged when a container is, or it could not be. */
export function sandboxSecurity(pod: Readonly<Pod>): LinuxSecurity {
  const p = pod.spec?.securityContext
  const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])]
  return {
    privileged: all.some((c) => c.securityContext?.privileged === true),
    runAsUser: p?.runAsUser,
    runAsUserName: undefined,
    runAsGroup: p?.runAsGroup,
    supplementalGroups: groups(pod),
    strictGroups: strict(pod),
    readOnlyRoot: false,
    noNewPrivileges: false,
    addCapabilities: [],
    dropCapabilities: [],
    seccomp: 'runtime/default',
    maskedPaths: undefined,
    readonlyPaths: undefined,
  }
}

const strict = (pod: Readonly<Pod>): boolean => pod.spec?.securityContext?.supplementalGroupsPolicy === 'Strict'

function groups(pod: Readonly<Pod>): readonly number[] {
  const p = pod.spec?.securityContext
  return [...(p?.supplementalGroups ?? []), ...(p?.fsGroup === undefined ? [] : [p.fsGroup])]
}

function seccomp(profile: SeccompProfile | undefined): string {
  switch (profile?.type) {
    case 'RuntimeDefault':
      return 'runtime/default'
    case 'Localhost':
      return `localhost/${profile.localhostProfile ?? ''}`
    default:
      return 'unconfined'
  }
}

function appArmor(profile: AppArmorProfile | undefined): string | undefined {
  if (!profile) return undefined
  return profile.type === 'Localhost' ? `localhost/${profile.localhostProfile ?? ''}` : profile.type === 'RuntimeDefault' ? 'runtime/default' : 'unconfined'
}

/** In the kubelet's words; `where` is the end of each. */
function checkNonRoot(runAsUser: number | undefined, imageUser: string, where: string): void {
  if (runAsUser === 0) throw new AppError('invalid', `container's runAsUser breaks non-root policy ${where}`)
  if (runAsUser !== undefined) return
  const user = imageUser.split(':')[0] ?? ''
  if (user === '' || user === '0') throw new AppError('invalid', `container has runAsNonRoot and image will run as root ${where}`)
  if (!/^\d+$/.test(user)) {
    throw new AppError('invalid', `container has runAsNonRoot and image has non-numeric user (${user}), cannot verify user is non-root ${where}: set runAsUser`)
  }
}
