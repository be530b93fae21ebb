/** One manifest file as a pod of this node: decoded, defaulted and validated like a pod of the API, named after the node. */
import { createHash } from 'node:crypto'
import { load } from 'js-yaml'
import { decode } from '../../api/decode.ts'
import type { Pod } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { validateCreate } from '../../api/validate/mod.ts'
import { AppError } from '../../base/errors.ts'
import { ANNOTATION_CONFIG_HASH, ANNOTATION_CONFIG_SEEN, ANNOTATION_CONFIG_SOURCE } from '../pods/names.ts'

/** Sources of volumes that only the API has, and so a pod without it cannot use. */
const API_SOURCES = ['configMap', 'secret', 'persistentVolumeClaim', 'ephemeral', 'projected'] as const

/** @throws AppError `invalid` naming the file and what is wrong in it */
export function staticPod(text: string, file: string, node: { readonly name: string; readonly seen: string }): Pod {
  const refuse = (why: string): AppError => new AppError('invalid', `read static pod ${file}: ${why}`)
  let object: Pod
  try {
    object = load(text) as Pod
  } catch (cause) {
    throw refuse(cause instanceof Error ? (cause.message.split('\n')[0] as string) : 'it is not YAML')
  }
  if (typeof object !== 'object' || object === null || object.kind !== 'Pod') throw refuse(`it is a ${String(object?.kind ?? typeof object)}, not a Pod`)
  const hash = createHash('md5').update(`${node.name}\0${file}\0${text}`).digest('hex')
  const { name, namespace, labels, annotations } = object.metadata ?? {}
  if (!name) throw refuse('the pod has no metadata.name')
  try {
    decode(KINDS.Pod, object, { validation: 'Warn', text: undefined })
    object.metadata = {
      name: `${name}-${node.name}`,
      namespace: namespace ?? 'default',
      uid: object.metadata?.uid ?? hash,
      ...(labels ? { labels } : {}),
      annotations: { ...annotations, [ANNOTATION_CONFIG_HASH]: hash, [ANNOTATION_CONFIG_SEEN]: node.seen, [ANNOTATION_CONFIG_SOURCE]: 'file' },
    }
    object.spec = { ...object.spec, containers: object.spec?.containers ?? [], nodeName: node.name }
    const [problem] = validateCreate(KINDS.Pod, object)
    if (problem) throw new AppError('invalid', `${problem.field}: ${problem.message}`)
  } catch (cause) {
    throw refuse(cause instanceof Error ? cause.message : String(cause))
  }
  if (object.spec.serviceAccountName) throw refuse('a static pod may not reference service accounts')
  const volume = object.spec.volumes?.find((v) => API_SOURCES.some((source) => v[source] !== undefined))
  if (volume) throw refuse(`volume "${volume.name}" comes from the API, which a static pod may not need: use hostPath, emptyDir or downwardAPI`)
  // It must not be put off the node by what the server says of the node.
  object.spec.tolerations = [...(object.spec.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }]
  return object
}
