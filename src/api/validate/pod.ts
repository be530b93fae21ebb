/** Validation of pods and pod templates: what holds across containers and volumes, and which few fields an update may change. */
import { isIpv4, isIpv6 } from '../formats.ts'
import type { Container, Pod, PodSpec, PodTemplateSpec } from '../gen/types.ts'
import { dnsLabelErrors, dnsSubdomainErrors } from '../names.ts'
import { equal } from '../patch/json-patch.ts'
import { fieldDuplicate, fieldForbidden, fieldInvalid, fieldNotFound, fieldRequired } from '../status.ts'
import type { FieldError } from '../status.ts'
import { containerErrors, supported } from './container.ts'
import { annotationErrors, labelErrors } from './meta.ts'
import { affinityErrors, spreadErrors, tolerationErrors } from './placement.ts'
import { volumeErrors } from './volume.ts'

const RESTART_POLICIES = ['Always', 'Never', 'OnFailure']
const DNS_POLICIES = ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None']

/** A pod, on create and on update. */
export function podErrors(pod: Pod): FieldError[] {
  return pod.spec ? podSpecErrors(pod.spec, 'spec') : [fieldRequired('spec.containers')]
}

/** What only a create may not have. */
export function podCreateErrors(pod: Pod): FieldError[] {
  return pod.spec?.ephemeralContainers?.length ? [fieldForbidden('spec.ephemeralContainers', 'cannot be set on create')] : []
}

/** A pod template at `path`, e.g. `spec.template`. */
export function templateErrors(template: PodTemplateSpec | undefined, path: string): FieldError[] {
  if (!template) return [fieldRequired(path)]
  const meta = [
    ...labelErrors(template.metadata?.labels, `${path}.metadata.labels`),
    ...annotationErrors(template.metadata?.annotations, `${path}.metadata.annotations`),
  ]
  return template.spec ? [...meta, ...podSpecErrors(template.spec, `${path}.spec`)] : [...meta, fieldRequired(`${path}.spec.containers`)]
}

/** A pod spec at `path`. */
export function podSpecErrors(spec: PodSpec, path: string): FieldError[] {
  const errors: FieldError[] = []
  const volumes = new Set<string>()
  for (const [i, v] of (spec.volumes ?? []).entries()) {
    errors.push(...volumeErrors(v, `${path}.volumes[${i}]`))
    if (v.name && volumes.has(v.name)) errors.push(fieldDuplicate(`${path}.volumes[${i}].name`, v.name))
    volumes.add(v.name)
  }
  errors.push(...containersErrors(spec, path, volumes))
  supported(spec.restartPolicy, RESTART_POLICIES, `${path}.restartPolicy`, errors)
  supported(spec.dnsPolicy, DNS_POLICIES, `${path}.dnsPolicy`, errors)
  if (spec.dnsPolicy === 'None' && !spec.dnsConfig?.nameservers?.length) {
    errors.push(fieldRequired(`${path}.dnsConfig.nameservers`, 'must provide at least one DNS nameserver when `dnsPolicy` is None'))
  }
  if ((spec.terminationGracePeriodSeconds ?? 0) < 0) {
    errors.push(fieldInvalid(`${path}.terminationGracePeriodSeconds`, spec.terminationGracePeriodSeconds, 'must be greater than or equal to 0'))
  }
  if ((spec.activeDeadlineSeconds ?? 1) < 1) {
    errors.push(fieldInvalid(`${path}.activeDeadlineSeconds`, spec.activeDeadlineSeconds, 'must be between 1 and 2147483647, inclusive'))
  }
  for (const [key, rule] of NAMES) {
    const value = spec[key]
    if (value) errors.push(...rule(value).map((e) => fieldInvalid(`${path}.${key}`, value, e)))
  }
  for (const [i, h] of (spec.hostAliases ?? []).entries()) {
    if (!isIpv4(h.ip) && !isIpv6(h.ip)) errors.push(fieldInvalid(`${path}.hostAliases[${i}].ip`, h.ip, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'))
  }
  errors.push(
    ...labelErrors(spec.nodeSelector, `${path}.nodeSelector`),
    ...affinityErrors(spec.affinity, `${path}.affinity`),
    ...(spec.tolerations ?? []).flatMap((t, i) => tolerationErrors(t, `${path}.tolerations[${i}]`)),
    ...spreadErrors(spec, path),
  )
  return errors
}

const NAMES = [
  ['serviceAccountName', dnsSubdomainErrors],
  ['nodeName', dnsSubdomainErrors],
  ['priorityClassName', dnsSubdomainErrors],
  ['runtimeClassName', dnsSubdomainErrors],
  ['hostname', dnsLabelErrors],
  ['subdomain', dnsLabelErrors],
] as const

function containersErrors(spec: PodSpec, path: string, volumes: ReadonlySet<string>): FieldError[] {
  const errors: FieldError[] = []
  if (!spec.containers?.length) errors.push(fieldRequired(`${path}.containers`))
  const names = new Set<string>()
  const hostPorts = new Set<string>()
  for (const field of ['initContainers', 'containers'] as const) {
    const init = field === 'initContainers'
    for (const [i, c] of (spec[field] ?? []).entries()) {
      const at = `${path}.${field}[${i}]`
      errors.push(...containerErrors(c, at, { volumes, hostNetwork: spec.hostNetwork ?? false, init }))
      if (c.name && names.has(c.name)) errors.push(fieldDuplicate(`${at}.name`, c.name))
      names.add(c.name)
      if (init) continue
      for (const [j, p] of (c.ports ?? []).entries()) {
        if (!p.hostPort) continue
        const key = `${p.protocol ?? 'TCP'}/${p.hostIP ?? ''}/${p.hostPort}`
        if (hostPorts.has(key)) errors.push(fieldDuplicate(`${at}.ports[${j}].hostPort`, key))
        hostPorts.add(key)
      }
    }
  }
  for (const [i, c] of (spec.ephemeralContainers ?? []).entries()) {
    const at = `${path}.ephemeralContainers[${i}]`
    const target = c.targetContainerName
    if (!c.image) errors.push(fieldRequired(`${at}.image`))
    if (names.has(c.name)) errors.push(fieldDuplicate(`${at}.name`, c.name))
    if (target && !names.has(target)) errors.push(fieldNotFound(`${at}.targetContainerName`, target))
    names.add(c.name)
  }
  return errors
}

const UPDATE_TEXT =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)'

/** What an update of a pod may change: images, a deadline that comes nearer, more tolerations; nothing else of the spec. */
export function podUpdateErrors(next: Pod, old: Pod): FieldError[] {
  const errors: FieldError[] = []
  if (!next.spec || !old.spec) return errors
  for (const [field, words] of [['containers', 'containers'], ['initContainers', 'init containers']] as const) {
    if ((next.spec[field]?.length ?? 0) !== (old.spec[field]?.length ?? 0)) {
      return [fieldForbidden(`spec.${field}`, `pod updates may not add or remove ${words}`)]
    }
  }
  const [before, after] = [old.spec.activeDeadlineSeconds, next.spec.activeDeadlineSeconds]
  if (before !== undefined && after === undefined) errors.push(fieldInvalid('spec.activeDeadlineSeconds', null, 'must not update from a positive integer to nil value'))
  else if (before !== undefined && after !== undefined && after > before) {
    errors.push(fieldInvalid('spec.activeDeadlineSeconds', after, 'must be less than or equal to previous value'))
  }
  const kept = next.spec.tolerations ?? []
  const timeless = (t: object): object => ({ ...t, tolerationSeconds: 0 })
  if (!(old.spec.tolerations ?? []).every((t) => kept.some((k) => equal(timeless(k), timeless(t))))) {
    errors.push(fieldForbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds'))
  }
  if (!equal(unchangeable(next.spec, old.spec), unchangeable(old.spec, old.spec))) errors.push(fieldForbidden('spec', UPDATE_TEXT))
  return errors
}

/** The part of a spec that must stay; undefined values are left out of the comparison. */
function unchangeable(spec: PodSpec, old: PodSpec): unknown {
  const plain = (list: readonly Container[] | undefined): unknown => list?.map(({ image: _image, ...rest }) => rest)
  const { activeDeadlineSeconds: _deadline, tolerations: _tolerations, schedulingGates: _gates, ...rest } = spec
  const out: Record<string, unknown> = { ...rest, containers: plain(spec.containers), initContainers: plain(spec.initContainers) ?? null }
  if ((old.terminationGracePeriodSeconds ?? 0) < 0) delete out.terminationGracePeriodSeconds
  // A gated pod may lose its gates and be narrowed to nodes; that is how external schedulers release it.
  if (old.schedulingGates?.length) for (const key of ['nodeSelector', 'affinity']) delete out[key]
  return out
}
