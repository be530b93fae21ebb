/** Validation of what a kubelet calls in a container: probes and lifecycle hooks. */
import type { Container, Probe } from '../gen/types.ts'
import { httpHeaderErrors, portNameErrors } from '../names.ts'
import type { Findings } from './field.ts'

const PROBE_ACTIONS = ['exec', 'httpGet', 'tcpSocket', 'grpc'] as const
const HOOK_ACTIONS = ['exec', 'httpGet', 'tcpSocket', 'sleep'] as const
const COUNTS = ['initialDelaySeconds', 'timeoutSeconds', 'periodSeconds', 'successThreshold', 'failureThreshold'] as const
/** Every probe of a container, in the order in which Kubernetes judges them. */
export const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const

/** Hooks and probes of a container that runs beside others; `grace` is the pod's `terminationGracePeriodSeconds`. */
export function handlers(e: Findings, path: string, c: Container, grace: number | undefined): void {
  for (const key of ['postStart', 'preStop'] as const) {
    const hook = c.lifecycle?.[key]
    if (hook) handler(e, `${path}.lifecycle.${key}`, hook, HOOK_ACTIONS, grace)
  }
  for (const key of PROBES) {
    const p = c[key]
    if (p) probe(e, `${path}.${key}`, p, key === 'readinessProbe', grace)
  }
}

function probe(e: Findings, path: string, p: Probe, readiness: boolean, grace: number | undefined): void {
  handler(e, path, p, PROBE_ACTIONS, grace)
  e.notNegatives(path, p, COUNTS)
  const { terminationGracePeriodSeconds: own } = p
  if (own !== undefined && own <= 0) e.invalid(`${path}.terminationGracePeriodSeconds`, own, 'must be greater than 0')
  if (readiness) {
    if (own !== undefined) e.invalid(`${path}.terminationGracePeriodSeconds`, own, 'must not be set for readinessProbes')
  } else if (p.successThreshold !== 1) e.invalid(`${path}.successThreshold`, p.successThreshold ?? 0, 'must be 1')
}

type Handler = Pick<Probe, 'exec' | 'httpGet' | 'tcpSocket' | 'grpc'> & { readonly sleep?: { readonly seconds?: number } }

function handler(e: Findings, path: string, h: Handler, actions: readonly (keyof Handler)[], grace: number | undefined): void {
  const given = actions.filter((a) => h[a] !== undefined)
  const [first, ...others] = given
  if (first === undefined) return e.required(path, 'must specify a handler type')
  action(e, `${path}.${first}`, h, first, grace)
  for (const extra of others) e.forbidden(`${path}.${extra}`, 'may not specify more than 1 handler type')
}

function action(e: Findings, path: string, h: Handler, which: keyof Handler, grace: number | undefined): void {
  switch (which) {
    case 'exec':
      if (!h.exec?.command?.length) e.required(`${path}.command`)
      return
    case 'httpGet':
      e.named(`${path}.path`, h.httpGet?.path)
      portOrName(e, `${path}.port`, h.httpGet?.port)
      e.chosen(`${path}.scheme`, h.httpGet?.scheme ?? '', ['HTTP', 'HTTPS'])
      for (const header of h.httpGet?.httpHeaders ?? []) e.text(`${path}.httpHeaders`, header.name ?? '', httpHeaderErrors)
      return
    case 'tcpSocket':
      portOrName(e, `${path}.port`, h.tcpSocket?.port)
      return
    case 'grpc':
      e.port(`${path}.port`, h.grpc?.port)
      return
    case 'sleep': {
      const seconds = h.sleep?.seconds ?? 0
      if (grace !== undefined && (seconds < 0 || seconds > grace)) {
        e.invalid(path, seconds, `must be non-negative and less than terminationGracePeriodSeconds (${grace})`)
      }
    }
  }
}

/** A port's number or its name. */
export function portOrName(e: Findings, path: string, port: number | string | undefined): void {
  if (typeof port === 'string') e.text(path, port, portNameErrors)
  else e.port(path, port)
}
