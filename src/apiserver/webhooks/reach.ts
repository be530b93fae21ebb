/** The way to a webhook: a URL as it is, a Service through the node of one of its ready pods, or to an address its endpoints name. */
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { KINDS } from '../../api/kinds.ts'
import { AppError } from '../../base/errors.ts'
import type { Core } from '../core.ts'
import { keyOf, storageName } from '../resources.ts'
import { serviceTarget } from '../service-target.ts'

export interface ClientConfig {
  readonly url?: string
  readonly service?: { readonly namespace?: string; readonly name?: string; readonly path?: string; readonly port?: number }
  /** PEM in base64. */
  readonly caBundle?: string
}

export interface Way {
  readonly url: URL
  /** Makes the connection where the URL's host is no address that this machine can resolve. */
  readonly dial?: (signal: AbortSignal) => Promise<Duplex>
}

/** Where a webhook listens. @throws AppError `invalid` for one that is not HTTPS */
export function wayTo(core: Core, client: ClientConfig): Way {
  const { service } = client
  if (service) {
    const { namespace = '', name = '', path = '', port = 443 } = service
    const ca = client.caBundle ? Buffer.from(client.caBundle, 'base64').toString() : undefined
    return {
      url: new URL(`https://${name}.${namespace}.svc:${port}${path.startsWith('/') ? path : `/${path}`}`),
      dial: async (signal) => connectTls({ socket: await dialService(core, namespace, name, port, signal), servername: `${name}.${namespace}.svc`, ...(ca ? { ca } : {}) }),
    }
  }
  if (!client.url || !URL.canParse(client.url)) throw new AppError('invalid', `reach the webhook: clientConfig.url ${JSON.stringify(client.url ?? '')} is no URL`)
  const url = new URL(client.url)
  if (url.protocol !== 'https:') throw new AppError('invalid', `reach the webhook: clientConfig.url ${client.url} is not https`)
  return { url }
}

interface Slice {
  readonly endpoints?: readonly { readonly addresses?: readonly string[]; readonly conditions?: { readonly ready?: boolean } }[]
  readonly ports?: readonly { readonly name?: string; readonly port?: number }[]
}
interface Spec {
  readonly type?: string
  readonly externalName?: string
  readonly selector?: object
  readonly ports?: readonly { readonly name?: string; readonly port?: number; readonly targetPort?: number | string }[]
}

async function dialService(core: Core, namespace: string, name: string, port: number, signal: AbortSignal): Promise<Duplex> {
  const spec = core.cache.resource('services').get(keyOf(KINDS.Service, namespace, name))?.parsed().spec as Spec | undefined
  if (!spec) throw new AppError('not-found', `service "${name}" not found`)
  if (spec.type === 'ExternalName') return dialAddress(spec.externalName ?? '', port, signal)
  if (spec.selector && Object.keys(spec.selector).length > 0) {
    if (!core.podStreams) throw new AppError('unavailable', `reach service ${namespace}/${name}: this server carries no connections to pods; give the webhook a clientConfig.url`)
    const { pod, to } = await serviceTarget(core, namespace, name, String(port))
    const node = (pod.spec as { nodeName?: string }).nodeName
    if (!node) throw new AppError('unavailable', `no endpoints available for service "${name}"`)
    return core.podStreams.connect({ node, namespace, pod: pod.metadata.name as string }, to, signal)
  }
  const wanted = spec.ports?.find((p) => p.port === port)
  if (!wanted) throw new AppError('not-found', `no service port ${port} found for service "${name}"`)
  for (const entry of core.cache.resource(storageName(KINDS.EndpointSlice)).scan(keyOf(KINDS.EndpointSlice, namespace))) {
    const slice = entry.parsed() as Slice & ReturnType<typeof entry.parsed>
    if (slice.metadata.labels?.['kubernetes.io/service-name'] !== name) continue
    const to = slice.ports?.find((p) => (p.name ?? '') === (wanted.name ?? ''))?.port
    const address = slice.endpoints?.find((e) => e.conditions?.ready !== false)?.addresses?.[0]
    if (to !== undefined && address !== undefined) return dialAddress(address, to, signal)
  }
  throw new AppError('unavailable', `no endpoints available for service "${name}"`)
}

function dialAddress(host: string, port: number, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal })
    socket.once('connect', () => resolve(socket))
    socket.once('error', reject)
  })
}
