/** Validation of pods and pod templates: what holds across containers and volumes. What an update may change stands in `pod-update.ts`. */
import type { Pod, PodSpec, PodTemplate, PodTemplateSpec } from '../gen/types.ts'
import { dnsLabelErrors, dnsSearchErrors, dnsSubdomainErrors, labelKeyErrors } from '../names.ts'
import type { FieldError } from '../status.ts'
import { allContainers, hostProcess, operatingSystem, podSecurity } from './security.ts'
import { containers, fileKeyVolumes } from './container.ts'
import { findings } from './field.ts'
import type { Findings } from './field.ts'
import { annotationErrors, labelErrors } from './meta.ts'
import { affinity, spread, tolerations } from './placement.ts'
import { podRequirements, requirements } from './quantities.ts'
import { volumes } from './volume.ts'

const RESTART_POLICIES = ['Always', 'OnFailure', 'Never']
const DNS_POLICIES = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None']
const MAX_INT32 = 2147483647
/** Of the C library's resolver. */
const MAX_NAMESERVERS = 3
const MAX_SEARCHES = 32
const MAX_SEARCH_CHARS = 2048
const MAX_HOSTNAME = 64

export const MIRROR = 'kubernetes.io/config.mirror'
const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost'

/** A pod, on create and on update. */
export function podErrors(pod: Pod): FieldError[] {
  return findings((e) => {
    const spec = pod.spec ?? { containers: [] }
    podAnnotations(e, 'metadata.annotations', pod.metadata?.annotations ?? {}, spec)
    podSpec(e, 'spec', spec, { podName: pod.metadata?.name, isPod: true })
    if (spec.serviceAccountName) return
    for (const [i, v] of (spec.volumes ?? []).entries()) {
      for (const [j, s] of (v.projected?.sources ?? []).entries()) {
        const at = `spec.volumes[${i}].projected.sources[${j}].serviceAccountToken`
        if (s.serviceAccountToken) e.forbidden(at, 'must not be specified when serviceAccountName is not set')
      }
    }
  })
}

/** What only a create may not have. */
export function podCreateErrors(pod: Pod): FieldError[] {
  return findings((e) => {
    if (pod.spec?.ephemeralContainers?.length) e.forbidden('spec.ephemeralContainers', 'cannot be set on create')
    if (pod.spec?.nodeName && pod.spec.schedulingGates?.length) e.forbidden('spec.nodeName', 'cannot be set until all schedulingGates have been cleared')
  })
}

export const podTemplateErrors = (t: PodTemplate): FieldError[] => findings((e) => podTemplate(e, 'template', t.template))

/** A pod template at `path`, e.g. `spec.template`. */
export function podTemplate(e: Findings, path: string, template: PodTemplateSpec | undefined): void {
  const spec = template?.spec ?? { containers: [] }
  const annotations = template?.metadata?.annotations
  e.add(labelErrors(template?.metadata?.labels, `${path}.labels`))
  e.add(annotationErrors(annotations, `${path}.annotations`))
  podAnnotations(e, `${path}.annotations`, annotations ?? {}, spec)
  podSpec(e, `${path}.spec`, spec, { podName: undefined, isPod: false })
  if (spec.ephemeralContainers?.length) e.forbidden(`${path}.spec.ephemeralContainers`, 'ephemeral containers not allowed in pod template')
}

function podAnnotations(e: Findings, path: string, annotations: Readonly<Record<string, string>>, spec: PodSpec): void {
  const mirror = annotations[MIRROR]
  if (mirror !== undefined && !spec.nodeName) e.invalid(`${path}[${MIRROR}]`, mirror, 'must set spec.nodeName if mirror pod annotation is set')
  const cost = annotations[DELETION_COST]
  // No plus sign and no leading zero, as Kubernetes has it.
  if (cost !== undefined && !(/^(0|-?[1-9]\d*)$/.test(cost) && Math.abs(Number(cost)) <= MAX_INT32)) {
    e.invalid(`${path}[${DELETION_COST}]`, cost, 'must be a 32bit integer')
  }
}

interface SpecOptions {
  readonly podName: string | undefined
  readonly isPod: boolean
}

/** A pod spec at `path`. */
export function podSpec(e: Findings, path: string, spec: PodSpec, options: SpecOptions): void {
  const valid = volumes(e, `${path}.volumes`, spec.volumes ?? [], options)
  resourceClaims(e, `${path}.resourceClaims`, spec)
  containers(e, path, spec, valid, options.isPod)
  podRequirements(e, `${path}.resources`, spec)
  hostNetwork(e, path, spec, options.isPod)
  e.choice(`${path}.restartPolicy`, spec.restartPolicy, RESTART_POLICIES)
  e.choice(`${path}.dnsPolicy`, spec.dnsPolicy, DNS_POLICIES)
  e.add(labelErrors(spec.nodeSelector, `${path}.nodeSelector`))
  podSecurity(e, path, spec)
  affinity(e, `${path}.affinity`, spec.affinity)
  dnsConfig(e, `${path}.dnsConfig`, spec)
  for (const [i, g] of (spec.readinessGates ?? []).entries()) e.text(`${path}.readinessGates[${i}].conditionType`, g.conditionType ?? '', labelKeyErrors)
  schedulingGates(e, `${path}.schedulingGates`, spec)
  spread(e, `${path}.topologySpreadConstraints`, spec)
  hostProcess(e, path, spec)
  hostUsers(e, path, spec)
  hostnameOverride(e, `${path}.hostnameOverride`, spec)
  e.optional(`${path}.serviceAccountName`, spec.serviceAccountName, dnsSubdomainErrors)
  e.optional(`${path}.nodeName`, spec.nodeName, dnsSubdomainErrors)
  e.between(`${path}.activeDeadlineSeconds`, spec.activeDeadlineSeconds, 1, MAX_INT32)
  e.optional(`${path}.hostname`, spec.hostname, dnsLabelErrors)
  e.optional(`${path}.subdomain`, spec.subdomain, dnsLabelErrors)
  tolerations(e, `${path}.tolerations`, spec.tolerations ?? [])
  hostAliases(e, `${path}.hostAliases`, spec)
  e.optional(`${path}.priorityClassName`, spec.priorityClassName, dnsSubdomainErrors)
  e.text(`${path}.runtimeClassName`, spec.runtimeClassName, dnsSubdomainErrors)
  e.chosen(`${path}.preemptionPolicy`, spec.preemptionPolicy, ['PreemptLowerPriority', 'Never'])
  if (spec.overhead) requirements(e, `${path}.overhead`, { limits: spec.overhead }, new Set())
  operatingSystem(e, path, spec)
  fileKeyVolumes(e, allContainers(spec, path), spec.volumes ?? [])
}

function resourceClaims(e: Findings, path: string, spec: PodSpec): void {
  const names = new Set<string>()
  for (const [i, c] of (spec.resourceClaims ?? []).entries()) {
    const at = `${path}[${i}]`
    if (names.has(c.name)) e.duplicate(`${at}.name`, c.name)
    else e.named(`${at}.name`, c.name, dnsLabelErrors)
    names.add(c.name)
    const [claim, template] = [c.resourceClaimName, c.resourceClaimTemplateName]
    if (claim !== undefined && template !== undefined) {
      e.invalid(at, c, 'at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified')
    }
    if (claim === undefined && template === undefined) e.invalid(at, c, 'must specify one of: `resourceClaimName`, `resourceClaimTemplateName`')
    e.text(`${at}.resourceClaimName`, claim, dnsSubdomainErrors)
    e.text(`${at}.resourceClaimTemplateName`, template, dnsSubdomainErrors)
  }
}

/** On the host's network a container's port is the host's; a template may leave that to the pod's defaults. */
function hostNetwork(e: Findings, path: string, spec: PodSpec, isPod: boolean): void {
  if (!spec.hostNetwork) return
  for (const [i, c] of (spec.containers ?? []).entries()) {
    for (const [j, p] of (c.ports ?? []).entries()) {
      const port = p.hostPort ?? 0
      if ((isPod || port !== 0) && port !== p.containerPort) {
        e.invalid(`${path}.containers[${i}].ports[${j}].hostPort`, port, 'must match `containerPort` when `hostNetwork` is true')
      }
    }
  }
}

function dnsConfig(e: Findings, path: string, spec: PodSpec): void {
  const { dnsConfig: config, dnsPolicy } = spec
  if (dnsPolicy === 'None') {
    if (!config) return e.required(path, 'must provide `dnsConfig` when `dnsPolicy` is None')
    if (!config.nameservers?.length) return e.required(`${path}.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None')
  }
  const { nameservers = [], searches = [], options = [] } = config ?? {}
  if (nameservers.length > MAX_NAMESERVERS) e.invalid(`${path}.nameservers`, nameservers, `must not have more than ${MAX_NAMESERVERS} nameservers`)
  for (const [i, server] of nameservers.entries()) e.ip(`${path}.nameservers[${i}]`, server)
  if (searches.length > MAX_SEARCHES) e.invalid(`${path}.searches`, searches, `must not have more than ${MAX_SEARCHES} search paths`)
  if (searches.join(' ').length > MAX_SEARCH_CHARS) {
    e.invalid(`${path}.searches`, searches, `must not have more than ${MAX_SEARCH_CHARS} characters (including spaces) in the search list`)
  }
  for (const [i, s] of searches.entries()) if (s !== '.') e.text(`${path}.searches[${i}]`, s.replace(/\.$/, ''), dnsSearchErrors)
  for (const [i, o] of options.entries()) if (!o.name) e.required(`${path}.options[${i}]`, 'must not be empty')
}

function schedulingGates(e: Findings, path: string, spec: PodSpec): void {
  const seen = new Set<string>()
  for (const [i, g] of (spec.schedulingGates ?? []).entries()) {
    e.text(`${path}[${i}]`, g.name ?? '', labelKeyErrors)
    if (seen.has(g.name)) e.duplicate(`${path}[${i}]`, g.name)
    seen.add(g.name)
  }
}

function hostUsers(e: Findings, path: string, spec: PodSpec): void {
  if (spec.hostUsers !== false) return
  const text = 'when `hostUsers` is false'
  if (spec.hostNetwork) e.forbidden(`${path}.hostNetwork`, text)
  if (spec.hostPID) e.forbidden(`${path}.HostPID`, text)
  if (spec.hostIPC) e.forbidden(`${path}.HostIPC`, text)
  for (const [c, at] of allContainers(spec, path)) if (c.volumeDevices?.length) e.forbidden(`${at}.volumeDevices`, text)
}

function hostnameOverride(e: Findings, path: string, spec: PodSpec): void {
  const name = spec.hostnameOverride
  if (name === undefined) return
  if (spec.setHostnameAsFQDN) e.forbidden(path, 'may not be specified when setHostnameAsFQDN is true')
  if (spec.hostNetwork) e.forbidden(path, 'may not be specified when hostNetwork is true')
  if (name.length > MAX_HOSTNAME) e.tooLong(path, MAX_HOSTNAME)
  e.text(path, name, dnsSubdomainErrors)
}

function hostAliases(e: Findings, path: string, spec: PodSpec): void {
  for (const [i, h] of (spec.hostAliases ?? []).entries()) {
    e.ip(`${path}[${i}].ip`, h.ip)
    for (const [j, name] of (h.hostnames ?? []).entries()) e.text(`${path}[${i}].hostnames[${j}]`, name, dnsSubdomainErrors)
  }
}
