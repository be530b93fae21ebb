/** How large an emptyDir in memory may get, and of which pages one is made: the kubelet's rules. Pure. */
import type { Pod } from '../../api/gen/types.ts'
import { AppError } from '../../base/errors.ts'
import { amount, HUGE_PAGES, hugePageSizes, podLimit } from '../pods/quantities.ts'

/** Bytes: what the volume says, at most what the pod may use, at most what the node has for pods; 0 when none of them is known. */
export function memorySize(pod: Readonly<Pod>, sizeLimit: string | number | undefined, allocatable: Readonly<Record<string, string>>): number {
  const limits = [amount(allocatable['memory']), pod.spec ? podLimit(pod.spec, 'memory') : 0, amount(sizeLimit)].filter((bytes) => bytes > 0)
  return limits.length === 0 ? 0 : Math.floor(Math.min(...limits))
}

/** Size of the pages of a medium, bytes: `HugePages` takes the one that the pod asks for, `HugePages-2Mi` says it. @throws AppError `invalid` */
export function pageSize(pod: Readonly<Pod>, medium: string): number {
  const [, said] = /^HugePages(?:-(.+))?$/.exec(medium) ?? []
  if (!medium.startsWith('HugePages')) throw new AppError('unsupported', `medium "${medium}" is not supported, use "", "Memory", "HugePages" or "HugePages-<size>"`)
  const asked = hugePageSizes(pod.spec)
  const [only] = asked
  if (only === undefined) throw new AppError('invalid', `medium "${medium}": no container asks for huge pages, give one a limit of ${HUGE_PAGES}${said ?? '2Mi'}`)
  if (said === undefined && asked.length > 1) throw new AppError('invalid', `medium "${medium}": the pod asks for pages of ${asked.join(' and ')}, say which as "HugePages-${only}"`)
  if (said !== undefined && !asked.some((size) => amount(size) === amount(said))) throw new AppError('invalid', `medium "${medium}": the pod asks for pages of ${asked.join(' and ')} only, give a container a limit of ${HUGE_PAGES}${said}`)
  return amount(said ?? only)
}
