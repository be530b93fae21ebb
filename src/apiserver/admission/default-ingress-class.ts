/** DefaultIngressClass: an Ingress that names no class gets the default one; of several the newest. */
import { KINDS } from '../../api/kinds.ts'
import { storageName } from '../resources.ts'
import type { AdmissionPlugin } from './chain.ts'

const DEFAULT = 'ingressclass.kubernetes.io/is-default-class'
/** How the class was named before there was a field. */
const OLD_NAME = 'kubernetes.io/ingress.class'

export const defaultIngressClass: AdmissionPlugin = {
  name: 'DefaultIngressClass',
  admit({ core, call, verb, object }) {
    if (verb !== 'create' || call.def !== KINDS.Ingress) return
    const spec = (object.spec ??= {}) as { ingressClassName?: string }
    if (spec.ingressClassName !== undefined || object.metadata.annotations?.[OLD_NAME] !== undefined) return
    const defaults = [...core.cache.resource(storageName(KINDS.IngressClass)).scan()].map((e) => e.parsed().metadata).filter((m) => m.annotations?.[DEFAULT] === 'true')
    defaults.sort((a, b) => String(b.creationTimestamp).localeCompare(String(a.creationTimestamp)) || String(a.name).localeCompare(String(b.name)))
    if (defaults[0]) spec.ingressClassName = defaults[0].name as string
  },
}
