/** Validation of containers: of the pod, those that run before it, and those that come later to look at it. */
import type { Container, EphemeralContainer, PodSpec, Volume } from '../gen/types.ts'
import { dnsLabelErrors, portNameErrors } from '../names.ts'
import { environment } from './env.ts'
import type { Findings } from './field.ts'
import { descendingPath } from './paths.ts'
import { PROBES, handlers } from './probe.ts'
import { requirements } from './quantities.ts'
import { containerSecurity } from './security.ts'

export { PORT_TEXT, isPort, supported } from './field.ts'

export const PULL_POLICIES: readonly string[] = ['Always', 'IfNotPresent', 'Never']
export const PROTOCOLS: readonly string[] = ['SCTP', 'TCP', 'UDP']
const RESTART_POLICIES = ['Always', 'Never', 'OnFailure']
const MAX_RESTART_RULES = 20
const MAX_EXIT_CODES = 255
const SIDECAR_TEXT = 'may not be set for init containers without restartPolicy=Always'
const EPHEMERAL_TEXT = 'cannot be set for an Ephemeral Container'

/** What a container's rules need to know of its pod. */
interface PodFacts {
  readonly volumes: ReadonlyMap<string, Volume>
  readonly claims: ReadonlySet<string>
  readonly grace: number | undefined
  readonly restartPolicy: string | undefined
  readonly hostUsers: boolean
  /** A pod of its own, not a template of one. */
  readonly isPod: boolean
}

/** All containers of the pod spec at `path`. `volumes` are those that are valid. */
export function containers(e: Findings, path: string, spec: PodSpec, volumes: ReadonlyMap<string, Volume>, isPod: boolean): void {
  const pod: PodFacts = {
    volumes,
    claims: new Set((spec.resourceClaims ?? []).flatMap((c) => c.name || [])),
    grace: spec.terminationGracePeriodSeconds,
    restartPolicy: spec.restartPolicy,
    hostUsers: spec.hostUsers !== false,
    isPod,
  }
  const regular = new Set<string>()
  if (!spec.containers?.length) e.required(`${path}.containers`)
  for (const [i, c] of (spec.containers ?? []).entries()) {
    const at = `${path}.containers[${i}]`
    common(e, at, c, pod)
    unique(e, `${at}.name`, c.name, regular)
    handlers(e, at, c, pod.grace)
    restartRules(e, at, c)
  }
  hostPorts(e, `${path}.containers`, spec.containers ?? [])
  const names = new Set(regular)
  for (const [i, c] of (spec.initContainers ?? []).entries()) initContainer(e, `${path}.initContainers`, i, c, names, pod)
  const others = new Set(names)
  for (const [i, c] of (spec.ephemeralContainers ?? []).entries()) ephemeral(e, `${path}.ephemeralContainers[${i}]`, c, names, others, pod)
}

function unique(e: Findings, path: string, name: string, names: Set<string>): void {
  if (name && names.has(name)) e.duplicate(path, name)
  names.add(name)
}

function initContainer(e: Findings, list: string, i: number, c: Container, names: Set<string>, pod: PodFacts): void {
  const at = `${list}[${i}]`
  common(e, at, c, pod)
  restartRules(e, at, c)
  unique(e, `${at}.name`, c.name, names)
  // They run one after the other, so only ports within one can collide.
  hostPorts(e, list, [c])
  if (c.restartPolicy === 'Always') return handlers(e, at, c, pod.grace)
  for (const key of ['lifecycle', ...PROBES] as const) if (c[key]) e.forbidden(`${at}.${key}`, SIDECAR_TEXT)
}

const EPHEMERAL_FIELDS = new Set([
  'name', 'image', 'command', 'args', 'workingDir', 'envFrom', 'env', 'volumeMounts', 'volumeDevices', 'terminationMessagePath',
  'terminationMessagePolicy', 'imagePullPolicy', 'securityContext', 'stdin', 'stdinOnce', 'tty', 'targetContainerName',
])

function ephemeral(e: Findings, at: string, c: EphemeralContainer, names: Set<string>, others: ReadonlySet<string>, pod: PodFacts): void {
  common(e, at, c as Container, pod)
  unique(e, `${at}.name`, c.name, names)
  if (c.targetContainerName && !others.has(c.targetContainerName)) e.notFound(`${at}.targetContainerName`, c.targetContainerName)
  for (const [key, value] of Object.entries(c)) {
    if (!EPHEMERAL_FIELDS.has(key) && !isEmpty(value)) e.forbidden(`${at}.${key}`, EPHEMERAL_TEXT)
  }
  for (const [i, m] of (c.volumeMounts ?? []).entries()) {
    for (const key of ['subPath', 'subPathExpr'] as const) if (m[key]) e.forbidden(`${at}.volumeMounts[${i}].${key}`, EPHEMERAL_TEXT)
  }
}

const isEmpty = (value: unknown): boolean => value === undefined || (typeof value === 'object' && value !== null && Object.keys(value).length === 0)

/** What holds for every container. */
function common(e: Findings, at: string, c: Container, pod: PodFacts): void {
  e.named(`${at}.name`, c.name, dnsLabelErrors)
  e.named(`${at}.image`, c.image)
  e.choice(`${at}.terminationMessagePolicy`, c.terminationMessagePolicy, ['File', 'FallbackToLogsOnError'])
  ports(e, `${at}.ports`, c)
  environment(e, at, c)
  mounts(e, `${at}.volumeMounts`, c, pod.volumes)
  devices(e, `${at}.volumeDevices`, c, pod.volumes)
  e.choice(`${at}.imagePullPolicy`, c.imagePullPolicy, PULL_POLICIES)
  requirements(e, `${at}.resources`, c.resources, pod.claims)
  resizePolicy(e, `${at}.resizePolicy`, c, pod.restartPolicy)
  containerSecurity(e, `${at}.securityContext`, c.securityContext, pod.hostUsers)
  if (pod.isPod && c.image && c.image.trim() !== c.image) e.invalid(`${at}.image`, c.image, 'must not have leading or trailing whitespace')
}

function ports(e: Findings, path: string, c: Container): void {
  const names = new Set<string>()
  for (const [i, p] of (c.ports ?? []).entries()) {
    const at = `${path}[${i}]`
    if (p.name) {
      const wrong = portNameErrors(p.name)
      for (const detail of wrong) e.invalid(`${at}.name`, p.name, detail)
      if (wrong.length === 0) unique(e, `${at}.name`, p.name, names)
    }
    if (!p.containerPort) e.required(`${at}.containerPort`)
    else e.port(`${at}.containerPort`, p.containerPort)
    if (p.hostPort) e.port(`${at}.hostPort`, p.hostPort)
    e.choice(`${at}.protocol`, p.protocol, PROTOCOLS)
  }
}

function hostPorts(e: Findings, path: string, list: readonly Container[]): void {
  const taken = new Set<string>()
  for (const [i, c] of list.entries()) {
    for (const [j, p] of (c.ports ?? []).entries()) {
      if (!p.hostPort) continue
      const key = `${p.protocol ?? 'TCP'}/${p.hostIP ?? ''}/${p.hostPort}`
      if (taken.has(key)) e.duplicate(`${path}[${i}].ports[${j}].hostPort`, key)
      taken.add(key)
    }
  }
}

function mounts(e: Findings, path: string, c: Container, volumes: ReadonlyMap<string, Volume>): void {
  const points = new Set<string>()
  const devices = c.volumeDevices ?? []
  for (const [i, m] of (c.volumeMounts ?? []).entries()) {
    const at = `${path}[${i}]`
    const volume = volumes.get(m.name)
    e.named(`${at}.name`, m.name)
    if (!volume) e.notFound(`${at}.name`, m.name ?? '')
    e.named(`${at}.mountPath`, m.mountPath)
    if (points.has(m.mountPath)) e.invalid(`${at}.mountPath`, m.mountPath, 'must be unique')
    points.add(m.mountPath)
    if (devices.some((d) => d.name === m.name)) e.invalid(`${at}.name`, m.name, 'must not already exist in volumeDevices')
    if (devices.some((d) => d.devicePath === m.mountPath)) e.invalid(`${at}.mountPath`, m.mountPath, 'must not already exist as a path in volumeDevices')
    // Kubernetes tells of these three by the list, not by the item.
    if (m.subPath) descendingPath(e, `${path}.subPath`, m.subPath)
    if (m.subPathExpr) {
      if (m.subPath) e.invalid(`${at}.subPathExpr`, m.subPathExpr, 'subPathExpr and subPath are mutually exclusive')
      descendingPath(e, `${path}.subPathExpr`, m.subPathExpr)
    }
    e.chosen(`${path}.mountPropagation`, m.mountPropagation, ['Bidirectional', 'HostToContainer', 'None'])
    if (m.mountPropagation === 'Bidirectional' && !c.securityContext?.privileged) {
      e.forbidden(`${path}.mountPropagation`, 'Bidirectional mount propagation is available only to privileged containers')
    }
    e.chosen(`${path}.recursiveReadOnly`, m.recursiveReadOnly, ['Disabled', 'Enabled', 'IfPossible'])
    if (m.recursiveReadOnly !== 'Enabled' && m.recursiveReadOnly !== 'IfPossible') continue
    if (!m.readOnly) e.forbidden(`${path}.recursiveReadOnly`, 'may only be specified when readOnly is true')
    if (m.mountPropagation !== undefined && m.mountPropagation !== 'None') {
      e.forbidden(`${path}.recursiveReadOnly`, 'may only be specified when mountPropagation is None or not specified')
    }
  }
}

function devices(e: Findings, path: string, c: Container, volumes: ReadonlyMap<string, Volume>): void {
  const paths = new Set<string>()
  const names = new Set<string>()
  for (const [i, d] of (c.volumeDevices ?? []).entries()) {
    const at = `${path}[${i}]`
    const volume = volumes.get(d.name)
    e.named(`${at}.name`, d.name)
    if (names.has(d.name)) e.invalid(`${at}.name`, d.name, 'must be unique')
    if (!volume) e.notFound(`${at}.name`, d.name)
    else if (!volume.persistentVolumeClaim && !volume.ephemeral) {
      e.invalid(`${at}.name`, d.name, 'can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode')
    }
    e.named(`${at}.devicePath`, d.devicePath)
    if (paths.has(d.devicePath)) e.invalid(`${at}.devicePath`, d.devicePath, 'must be unique')
    if (d.devicePath?.split('/').includes('..')) e.invalid(`${at}.devicePath`, d.devicePath, "can not contain backsteps ('..')")
    else paths.add(d.devicePath)
    for (const m of c.volumeMounts ?? []) {
      if (m.name === d.name) e.invalid(`${at}.name`, d.name, 'must not already exist in volumeMounts')
      if (m.mountPath === d.devicePath) e.invalid(`${at}.devicePath`, d.devicePath, 'must not already exist as a path in volumeMounts')
    }
    names.add(d.name)
  }
}

function resizePolicy(e: Findings, path: string, c: Container, podRestart: string | undefined): void {
  const seen = new Set<string>()
  for (const [i, p] of (c.resizePolicy ?? []).entries()) {
    if (seen.has(p.resourceName)) e.duplicate(`${path}[${i}]`, p.resourceName)
    seen.add(p.resourceName)
    e.choice(path, p.resourceName, ['cpu', 'memory'])
    e.choice(path, p.restartPolicy, ['NotRequired', 'RestartContainer'])
    if (podRestart === 'Never' && p.restartPolicy !== 'NotRequired') e.invalid(path, p.restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'")
  }
}

/** A container's own restart policy and the exit codes after which it is started again. */
function restartRules(e: Findings, at: string, c: Container): void {
  const rules = c.restartPolicyRules ?? []
  if (c.restartPolicy === undefined) {
    if (rules.length === 0) return
    e.required(`${at}.restartPolicy`, 'must specify restartPolicy when restart rules are used')
  }
  e.chosen(`${at}.restartPolicy`, c.restartPolicy, RESTART_POLICIES)
  if (rules.length > MAX_RESTART_RULES) e.tooMany(`${at}.restartPolicyRules`, rules.length, MAX_RESTART_RULES)
  for (const [i, rule] of rules.entries()) {
    const path = `${at}.restartPolicyRules[${i}]`
    e.chosen(`${path}.action`, rule.action ?? '', ['Restart'])
    if (!rule.exitCodes) {
      e.required(`${path}.exitCodes`, 'must be specified')
      continue
    }
    e.chosen(`${path}.exitCodes.operator`, rule.exitCodes.operator ?? '', ['In', 'NotIn'])
    const count = rule.exitCodes.values?.length ?? 0
    if (count > MAX_EXIT_CODES) e.tooMany(`${path}.exitCodes.values`, count, MAX_EXIT_CODES)
  }
}

/** A file that gives an environment variable is of an emptyDir of the pod. */
export function fileKeyVolumes(e: Findings, list: readonly [Container, string][], volumes: readonly Volume[]): void {
  for (const [c, at] of list) {
    for (const [i, v] of (c.env ?? []).entries()) {
      const name = v.valueFrom?.fileKeyRef?.volumeName
      if (name === undefined) continue
      const path = `${at}.env[${i}].valueFrom.fileKeyRef.volumeName`
      const volume = volumes.find((x) => x.name === name)
      if (!volume) e.notFound(path, name)
      else if (!volume.emptyDir) e.invalid(path, name, 'referenced volume must be of type emptyDir')
    }
  }
}
