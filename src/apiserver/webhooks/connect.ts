/** CONNECT: exec, attach, port-forward and proxy as admission webhooks see them, before the connection is made. */
import type { Call, Core } from '../core.ts'
import type { Obj } from '../stored-text.ts'
import { admitConnect } from './admission.ts'

const KINDS: Readonly<Record<string, string>> = { 'pods/exec': 'PodExecOptions', 'pods/attach': 'PodAttachOptions', 'pods/portforward': 'PodPortForwardOptions', 'pods/proxy': 'PodProxyOptions', 'services/proxy': 'ServiceProxyOptions', 'nodes/proxy': 'NodeProxyOptions' }
const FLAGS = ['stdin', 'stdout', 'stderr', 'tty'] as const

/** Asks the webhooks that match CONNECT. @throws ApiError when one refuses */
export async function connectAllowed(core: Core, call: Call): Promise<void> {
  const { info, query } = call
  const kind = KINDS[`${info.resource}/${info.subresource}`]
  if (kind === undefined) return
  const flags = Object.fromEntries(FLAGS.filter((f) => query.get(f) === 'true' || query.get(f) === '1').map((f) => [f, true]))
  const options: Record<string, unknown> = info.subresource === 'proxy' ? { path: info.rest } : info.subresource === 'portforward' ? { ports: query.getAll('ports').map(Number) } : { ...flags, ...(query.get('container') ? { container: query.get('container') } : {}), ...(info.subresource === 'exec' ? { command: query.getAll('command') } : {}) }
  const object = { kind, apiVersion: 'v1', metadata: {}, ...options } as Obj
  await admitConnect({ core, call, verb: 'connect', object, old: undefined, kind: { group: '', version: 'v1', kind } })
}
