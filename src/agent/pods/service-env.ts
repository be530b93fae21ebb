/** Services as environment variables, as docker links once were: host and ports of each one in the pod's namespace. Pure. */
import type { Pod, Service } from '../../api/gen/types.ts'

/** The variables of the Services a pod is told of: all of its namespace unless it asks for none, and always the API's own. */
export function serviceEnv(pod: Readonly<Pod>, services: readonly Readonly<Service>[]): Record<string, string> {
  const { namespace } = pod.metadata ?? {}
  const links = pod.spec?.enableServiceLinks !== false
  const env: Record<string, string> = {}
  for (const service of services) {
    const own = service.metadata?.namespace === namespace
    const master = service.metadata?.namespace === 'default' && service.metadata.name === 'kubernetes'
    if (master || (own && links)) Object.assign(env, variables(service))
  }
  return env
}

function variables({ metadata, spec }: Readonly<Service>): Record<string, string> {
  const host = spec?.clusterIP ?? ''
  const ports = spec?.ports ?? []
  const [first] = ports
  if (host === '' || host === 'None' || !first) return {}
  const name = (metadata?.name ?? '').toUpperCase().replaceAll('-', '_')
  const address = host.includes(':') ? `[${host}]` : host
  const url = (protocol: string, port: number): string => `${protocol.toLowerCase()}://${address}:${port}`
  const env: Record<string, string> = { [`${name}_SERVICE_HOST`]: host, [`${name}_SERVICE_PORT`]: String(first.port), [`${name}_PORT`]: url(first.protocol ?? 'TCP', first.port) }
  for (const p of ports) {
    const protocol = p.protocol ?? 'TCP'
    if (p.name) env[`${name}_SERVICE_PORT_${p.name.toUpperCase().replaceAll('-', '_')}`] = String(p.port)
    const prefix = `${name}_PORT_${p.port}_${protocol.toUpperCase()}`
    Object.assign(env, { [prefix]: url(protocol, p.port), [`${prefix}_PROTO`]: protocol.toLowerCase(), [`${prefix}_PORT`]: String(p.port), [`${prefix}_ADDR`]: host })
  }
  return env
}
