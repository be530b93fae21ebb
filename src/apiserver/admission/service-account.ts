/**
 * ServiceAccount: a pod names an account (`default` when it names none) that exists, gets its pull secrets, and unless it
 * opts out a projected volume with a token of its own, the cluster's CA and its namespace, in every container.
 */
import { randomBytes } from 'node:crypto'
import { forbidden } from '../../api/status.ts'
import { KINDS } from '../../api/kinds.ts'
import { keyOf } from '../resources.ts'
import type { AdmissionPlugin } from './chain.ts'

const MOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
/** Kubernetes' own life time of the mounted token, seconds; nodes renew it before. */
const TOKEN_SECONDS = 3_607
/** How long a new namespace's `default` account is waited for before a pod is refused, ms. */
const WAIT_MS = 1_000
const MIRROR = 'kubernetes.io/config.mirror'

interface Container {
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[]
}
interface PodSpec {
  serviceAccountName?: string
  serviceAccount?: string
  automountServiceAccountToken?: boolean
  imagePullSecrets?: object[]
  volumes?: { name?: string }[]
  containers?: Container[]
  initContainers?: Container[]
}

export const serviceAccount: AdmissionPlugin = {
  name: 'ServiceAccount',
  async admit({ core, call, verb, object }) {
    if (verb !== 'create' || call.def !== KINDS.Pod) return
    const spec = (object.spec ??= {}) as PodSpec
    if (object.metadata.annotations?.[MIRROR] !== undefined) {
      if (spec.serviceAccountName) throw forbidden(call.def, object.metadata.name ?? '', 'a mirror pod may not reference service accounts')
      return
    }
    spec.serviceAccountName ||= 'default'
    spec.serviceAccount = spec.serviceAccountName
    const key = keyOf(KINDS.ServiceAccount, object.metadata.namespace, spec.serviceAccountName)
    const accounts = core.cache.resource('serviceaccounts')
    const until = core.clock.monotonic() + WAIT_MS
    while (!accounts.get(key)) {
      if (core.clock.monotonic() >= until) {
        throw forbidden(call.def, object.metadata.name ?? '', `error looking up service account ${object.metadata.namespace}/${spec.serviceAccountName}: serviceaccount "${spec.serviceAccountName}" not found`)
      }
      await core.clock.sleep(50, call.signal)
    }
    const account = accounts.get(key)?.parsed(true) as { imagePullSecrets?: object[]; automountServiceAccountToken?: boolean }
    if (!spec.imagePullSecrets?.length && account.imagePullSecrets?.length) spec.imagePullSecrets = structuredClone(account.imagePullSecrets)
    if (spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true) mountToken(spec)
  },
}

function mountToken(spec: PodSpec): void {
  const missing = [...(spec.initContainers ?? []), ...(spec.containers ?? [])].filter((c) => !c.volumeMounts?.some((m) => m.mountPath === MOUNT))
  if (missing.length === 0) return
  // In the second round of admission the volume is there already.
  const known = spec.volumes?.find((v) => v.name?.startsWith('kube-api-access-'))?.name
  const name = known ?? `kube-api-access-${randomBytes(8).toString('hex').replace(/[^0-9a-z]/g, '').slice(0, 5)}`
  for (const container of missing) container.volumeMounts = [...(container.volumeMounts ?? []), { name, readOnly: true, mountPath: MOUNT }]
  if (known !== undefined) return
  const sources = [
    { serviceAccountToken: { expirationSeconds: TOKEN_SECONDS, path: 'token' } },
    { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
    { downwardAPI: { items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }] } },
  ]
  const volume = { name, projected: { defaultMode: 0o644, sources } }
  spec.volumes = [...(spec.volumes ?? []), volume]
}
