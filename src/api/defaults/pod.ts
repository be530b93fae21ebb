/** Defaults of pods and pod templates: what Kubernetes fills in so that readers need not know what absence means. */
import type { Container, Lifecycle, PersistentVolumeSpec, Pod, PodSpec, PodTemplateSpec, Probe, Volume } from '../gen/types.ts'
import { fill, fillEmpty } from './fill.ts'
import { podRequests, requestsFromLimits, roundAmounts, roundRequirements } from './quantities.ts'

/** Octal 0644: mode of files from volumes. */
const FILE_MODE = 0o644

/** A pod of its own; templates get a little less. */
export function defaultPod(pod: Pod): void {
  if (!pod.spec) return
  const { spec } = pod
  defaultPodSpec(spec)
  fill(spec, { enableServiceLinks: true })
  for (const c of [...(spec.initContainers ?? []), ...spec.containers]) {
    requestsFromLimits(c.resources)
    if (spec.hostNetwork) for (const p of c.ports ?? []) fillEmpty(p, { hostPort: p.containerPort })
  }
  podRequests(spec)
}

/** The pod spec of a template; absent is left absent. */
export function defaultTemplate(template: PodTemplateSpec | undefined): void {
  if (template?.spec) defaultPodSpec(template.spec)
}

function defaultPodSpec(spec: PodSpec): void {
  // The old name of the field stays in step with the new one.
  if (spec.serviceAccountName === undefined && spec.serviceAccount !== undefined) spec.serviceAccountName = spec.serviceAccount
  if (spec.serviceAccountName !== undefined && spec.serviceAccountName !== '') spec.serviceAccount = spec.serviceAccountName
  fill(spec, { terminationGracePeriodSeconds: 30, securityContext: {}, containers: [] })
  fillEmpty(spec, { restartPolicy: 'Always', dnsPolicy: 'ClusterFirst', schedulerName: 'default-scheduler' })
  roundAmounts(spec.overhead)
  roundRequirements(spec.resources)
  for (const c of [...(spec.initContainers ?? []), ...spec.containers]) defaultContainer(c)
  for (const c of spec.ephemeralContainers ?? []) defaultContainer(c as Container)
  for (const v of spec.volumes ?? []) defaultVolume(v)
}

function defaultContainer(c: Container): void {
  fill(c, { resources: {} })
  fillEmpty(c, {
    terminationMessagePath: '/dev/termination-log', terminationMessagePolicy: 'File', imagePullPolicy: isLatest(c.image ?? '') ? 'Always' : 'IfNotPresent',
  })
  roundRequirements(c.resources)
  for (const p of c.ports ?? []) fillEmpty(p, { protocol: 'TCP' })
  for (const e of c.env ?? []) {
    if (e.valueFrom?.fieldRef) fillEmpty(e.valueFrom.fieldRef, { apiVersion: 'v1' })
    if (e.valueFrom?.fileKeyRef) fill(e.valueFrom.fileKeyRef, { optional: false })
  }
  for (const probe of [c.livenessProbe, c.readinessProbe, c.startupProbe]) if (probe) defaultProbe(probe)
  defaultLifecycle(c.lifecycle)
}

/** An image without a tag means `latest`; one with a digest is never latest. */
function isLatest(image: string): boolean {
  if (image.includes('@')) return false
  const name = image.slice(image.lastIndexOf('/') + 1)
  return !name.includes(':') || name.endsWith(':latest')
}

function defaultProbe(probe: Probe): void {
  fillEmpty(probe, { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 })
  if (probe.httpGet) fillEmpty(probe.httpGet, { path: '/', scheme: 'HTTP' })
  if (probe.grpc) fill(probe.grpc, { service: '' })
}

function defaultLifecycle(lifecycle: Lifecycle | undefined): void {
  for (const hook of [lifecycle?.postStart, lifecycle?.preStop]) if (hook?.httpGet) fillEmpty(hook.httpGet, { path: '/', scheme: 'HTTP' })
}

function defaultVolume(v: Volume): void {
  if (Object.keys(v).every((k) => k === 'name')) v.emptyDir = {}
  if (v.secret) fill(v.secret, { defaultMode: FILE_MODE })
  if (v.configMap) fill(v.configMap, { defaultMode: FILE_MODE })
  if (v.image) fillEmpty(v.image, { pullPolicy: isLatest(v.image.reference ?? '') ? 'Always' : 'IfNotPresent' })
  defaultSource(v)
  if (v.downwardAPI) {
    fill(v.downwardAPI, { defaultMode: FILE_MODE })
    for (const item of v.downwardAPI.items ?? []) if (item.fieldRef) fillEmpty(item.fieldRef, { apiVersion: 'v1' })
  }
  const claim = v.ephemeral?.volumeClaimTemplate?.spec
  if (claim) {
    fill(claim, { volumeMode: 'Filesystem' })
    roundRequirements(claim.resources)
  }
  if (!v.projected) return
  fill(v.projected, { defaultMode: FILE_MODE })
  for (const s of v.projected.sources ?? []) {
    if (s.serviceAccountToken) fill(s.serviceAccountToken, { expirationSeconds: 3600 })
    if (s.podCertificate) fill(s.podCertificate, { maxExpirationSeconds: 86_400 })
    for (const item of s.downwardAPI?.items ?? []) if (item.fieldRef) fillEmpty(item.fieldRef, { apiVersion: 'v1' })
  }
}

type Sources = Pick<Volume, 'hostPath' | 'iscsi' | 'rbd' | 'scaleIO' | 'azureDisk'> | Pick<PersistentVolumeSpec, 'hostPath' | 'iscsi' | 'rbd' | 'scaleIO' | 'azureDisk'>

/** Defaults of where a volume comes from, in a pod or a PersistentVolume. */
export function defaultSource(v: Sources): void {
  if (v.hostPath) fill(v.hostPath, { type: '' })
  if (v.iscsi) fillEmpty(v.iscsi, { iscsiInterface: 'default' })
  if (v.rbd) fillEmpty(v.rbd, { pool: 'rbd', user: 'admin', keyring: '/etc/ceph/keyring' })
  if (v.scaleIO) fillEmpty(v.scaleIO, { storageMode: 'ThinProvisioned', fsType: 'xfs' })
  if (v.azureDisk) fill(v.azureDisk, { cachingMode: 'ReadWrite', kind: 'Shared', fsType: 'ext4', readOnly: false })
}
