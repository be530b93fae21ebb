/** PersistentVolumeClaimResize: a claim may ask for more only when it is bound and its class can make its volumes larger. */
import type { PersistentVolumeClaim, StorageClass } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { forbidden } from '../../api/status.ts'
import { classOf, storageOf } from '../../api/volumes.ts'
import { keyOf, storageName } from '../resources.ts'
import type { AdmissionPlugin } from './chain.ts'

export const claimResize: AdmissionPlugin = {
  name: 'PersistentVolumeClaimResize',
  validate({ core, call, verb, object, old }) {
    if (verb !== 'update' || call.def !== KINDS.PersistentVolumeClaim || call.info.subresource !== undefined) return
    const [next, before] = [object as PersistentVolumeClaim, old as PersistentVolumeClaim | undefined]
    if (storageOf(next.spec?.resources?.requests) <= storageOf(before?.spec?.resources?.requests)) return
    const refuse = (why: string): Error => forbidden(call.def, object.metadata.name ?? '', why)
    if (before?.status?.phase !== 'Bound') throw refuse('Only bound persistent volume claims can be expanded')
    const found = core.cache.resource(storageName(KINDS.StorageClass)).get(keyOf(KINDS.StorageClass, undefined, classOf(next)))?.parsed() as StorageClass | undefined
    if (found?.allowVolumeExpansion !== true) throw refuse('only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize')
  },
}
