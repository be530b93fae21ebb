/** Defaults of pods and pod templates: what Kubernetes fills in so that readers need not know what absence means. */
import type { Container, Lifecycle, Pod, PodSpec, PodTemplateSpec, Probe, Volume } from '../gen/types.ts'
import { fill } from './fill.ts'

/** Octal 0644: mode of files from volumes. */
const FILE_MODE = 0o644

/** A pod of its own; templates get a little less. */
export function defaultPod(pod: Pod): void {
  if (!pod.spec) return
  defaultPodSpec(pod.spec)
  fill(pod.spec, { enableServiceLinks: true })
  for (const c of [...(pod.spec.initContainers ?? []), ...pod.spec.containers]) requestsFromLimits(c)
}

/** The pod spec of a template; absent is left absent. */
export function defaultTemplate(template: PodTemplateSpec | undefined): void {
  if (template?.spec) defaultPodSpec(template.spec)
}

function defaultPodSpec(spec: PodSpec): void {
  // The old name of the field stays in step with the new one.
  if (spec.serviceAccountName === undefined && spec.serviceAccount !== undefined) spec.serviceAccountName = spec.serviceAccount
  if (spec.serviceAccountName !== undefined && spec.serviceAccountName !== '') spec.serviceAccount = spec.serviceAccountName
  fill(spec, {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
    containers: [],
  })
  for (const c of [...(spec.initContainers ?? []), ...spec.containers]) {
    defaultContainer(c)
    if (spec.hostNetwork) for (const p of c.ports ?? []) fill(p, { hostPort: p.containerPort })
  }
  for (const c of spec.ephemeralContainers ?? []) defaultContainer(c as Container)
  for (const v of spec.volumes ?? []) defaultVolume(v)
}

function defaultContainer(c: Container): void {
  fill(c, {
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: isLatest(c.image ?? '') ? 'Always' : 'IfNotPresent',
    resources: {},
  })
  for (const p of c.ports ?? []) fill(p, { protocol: 'TCP' })
  for (const e of c.env ?? []) if (e.valueFrom?.fieldRef) fill(e.valueFrom.fieldRef, { apiVersion: 'v1' })
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
  fill(probe, { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 })
  if (probe.httpGet) fill(probe.httpGet, { path: '/', scheme: 'HTTP' })
  if (probe.grpc) fill(probe.grpc, { service: '' })
}

function defaultLifecycle(lifecycle: Lifecycle | undefined): void {
  for (const hook of [lifecycle?.postStart, lifecycle?.preStop]) if (hook?.httpGet) fill(hook.httpGet, { path: '/', scheme: 'HTTP' })
}

function requestsFromLimits(c: Container): void {
  if (!c.resources?.limits) return
  c.resources.requests = { ...c.resources.limits, ...c.resources.requests }
}

function defaultVolume(v: Volume): void {
  if (Object.keys(v).every((k) => k === 'name')) v.emptyDir = {}
  if (v.secret) fill(v.secret, { defaultMode: FILE_MODE })
  if (v.configMap) fill(v.configMap, { defaultMode: FILE_MODE })
  if (v.hostPath) fill(v.hostPath, { type: '' })
  if (v.downwardAPI) {
    fill(v.downwardAPI, { defaultMode: FILE_MODE })
    for (const item of v.downwardAPI.items ?? []) if (item.fieldRef) fill(item.fieldRef, { apiVersion: 'v1' })
  }
  if (v.ephemeral?.volumeClaimTemplate?.spec) fill(v.ephemeral.volumeClaimTemplate.spec, { volumeMode: 'Filesystem' })
  if (!v.projected) return
  fill(v.projected, { defaultMode: FILE_MODE })
  for (const s of v.projected.sources ?? []) {
    if (s.serviceAccountToken) fill(s.serviceAccountToken, { expirationSeconds: 3600 })
    for (const item of s.downwardAPI?.items ?? []) if (item.fieldRef) fill(item.fieldRef, { apiVersion: 'v1' })
  }
}
