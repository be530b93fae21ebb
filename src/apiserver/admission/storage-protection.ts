/** StorageObjectInUseProtection: a claim or volume that is in use is held by a finalizer, put there when it is made. */
import { KINDS } from '../../api/kinds.ts'
import { FINALIZER_CLAIM, FINALIZER_VOLUME } from '../../api/volumes.ts'
import type { AdmissionPlugin } from './chain.ts'

const HELD = new Map([
  [KINDS.PersistentVolumeClaim, FINALIZER_CLAIM],
  [KINDS.PersistentVolume, FINALIZER_VOLUME],
])

export const storageProtection: AdmissionPlugin = {
  name: 'StorageObjectInUseProtection',
  admit({ call, verb, object }) {
    const finalizer = verb === 'create' && call.info.subresource === undefined ? HELD.get(call.def) : undefined
    if (finalizer !== undefined) object.metadata.finalizers = [...new Set([...(object.metadata.finalizers ?? []), finalizer])]
  },
}
