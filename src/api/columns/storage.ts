/** Printed columns of storage kinds. */
import type { CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass } from '../gen/types.ts'
import { age, nameOf, orNone, printer } from './column.ts'
import type { Printer } from './column.ts'
import type { KubeObject } from '../meta.ts'

/** The name with a mark when an annotation makes this class the default one. */
function classNameOf(o: KubeObject, ...annotations: readonly string[]): string {
  return nameOf(o) + (annotations.some((a) => o.metadata?.annotations?.[a] === 'true') ? ' (default)' : '')
}

export const storageClasses: Printer = printer<StorageClass>(
  [
    'Name', 'Provisioner | StorageClass.provisioner', 'ReclaimPolicy | StorageClass.reclaimPolicy', 'VolumeBindingMode | StorageClass.volumeBindingMode',
    'AllowVolumeExpansion | StorageClass.allowVolumeExpansion', 'Age',
  ],
  (s, now) => [
    classNameOf(s, 'storageclass.kubernetes.io/is-default-class', 'storageclass.beta.kubernetes.io/is-default-class'), s.provisioner,
    s.reclaimPolicy ?? 'Delete', s.volumeBindingMode ?? 'Immediate', s.allowVolumeExpansion ?? false, age(s, now),
  ],
)

export const volumeAttributesClasses: Printer = printer<VolumeAttributesClass>(['Name', 'DriverName | VolumeAttributesClass.driverName', 'Age'], (c, now) => [
  classNameOf(c, 'volumeattributesclass.kubernetes.io/is-default-class'), c.driverName, age(c, now),
])

export const csiDrivers: Printer = printer<CSIDriver>(
  [
    'Name', 'b:AttachRequired | CSIDriverSpec.attachRequired', 'b:PodInfoOnMount | CSIDriverSpec.podInfoOnMount', 'b:StorageCapacity | CSIDriverSpec.storageCapacity',
    'TokenRequests | CSIDriverSpec.tokenRequests', 'b:RequiresRepublish | CSIDriverSpec.requiresRepublish', 'Modes | CSIDriverSpec.volumeLifecycleModes', 'Age',
  ],
  (d, now) => [
    nameOf(d), d.spec.attachRequired ?? true, d.spec.podInfoOnMount ?? false, d.spec.storageCapacity ?? false,
    d.spec.tokenRequests ? d.spec.tokenRequests.map((t) => t.audience).join(',') : '<unset>', d.spec.requiresRepublish ?? false,
    orNone(d.spec.volumeLifecycleModes ?? []), age(d, now),
  ],
)

export const csiNodes: Printer = printer<CSINode>(['Name', 'n:Drivers | Drivers indicates the number of CSI drivers registered on the node', 'Age'], (n, now) => [
  nameOf(n), n.spec.drivers?.length ?? 0, age(n, now),
])

export const csiStorageCapacities: Printer = printer<CSIStorageCapacity>(
  ['Name', 'StorageClassName | CSIStorageCapacity.storageClassName', 'Capacity | CSIStorageCapacity.capacity'],
  (c) => [nameOf(c), c.storageClassName, c.capacity ?? '<unset>'],
)

export const volumeAttachments: Printer = printer<VolumeAttachment>(
  [
    'Name', 'Attacher | VolumeAttachmentSpec.attacher', 'PV | VolumeAttachmentSource.persistentVolumeName', 'Node | VolumeAttachmentSpec.nodeName',
    'b:Attached | VolumeAttachmentStatus.attached', 'Age',
  ],
  (v, now) => [nameOf(v), v.spec.attacher, v.spec.source?.persistentVolumeName ?? '', v.spec.nodeName, v.status?.attached ?? false, age(v, now)],
)
