/**
 * APIServices as kube-apiserver keeps them: one for each group and version that is served here, made and removed with what is served,
 * and a status for all. One that names a Service elsewhere is kept and told that requests are not passed on to it.
 */
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import type { APIService } from '../api/gen/types.ts'
import { apiVersionOf, KINDS } from '../api/kinds.ts'
import { compareVersions } from '../api/crd.ts'
import { AppError, isAbort } from '../base/errors.ts'
import { logger } from '../base/log.ts'
import type { Core } from './core.ts'
import { storageName } from './resources.ts'
import type { CacheEntry } from './watch-cache.ts'

const log = logger('apiserver.apiservices')
const PATH = '/apis/apiregistration.k8s.io/v1/apiservices'
const MANAGED = 'kube-aggregator.kubernetes.io/automanaged'
/** How long a round that failed waits for the next, ms. */
const RETRY_MS = 5_000

/** Priority of a group among groups, as kube-apiserver has it; those of CRDs come after all of these. */
const PRIORITIES: Readonly<Record<string, number>> = {
  '': 18_000, apps: 17_800, 'events.k8s.io': 17_750, 'authentication.k8s.io': 17_700, 'authorization.k8s.io': 17_600, autoscaling: 17_500, batch: 17_400,
  'certificates.k8s.io': 17_300, 'networking.k8s.io': 17_200, policy: 17_100, 'rbac.authorization.k8s.io': 17_000, 'storage.k8s.io': 16_800,
  'admissionregistration.k8s.io': 16_700, 'apiextensions.k8s.io': 16_700, 'scheduling.k8s.io': 16_600, 'coordination.k8s.io': 16_500, 'node.k8s.io': 16_300,
  'discovery.k8s.io': 16_200, 'flowcontrol.apiserver.k8s.io': 16_100, 'resource.k8s.io': 16_200,
}
const CUSTOM_PRIORITY = 1_000
/** Groups that are served and have no APIService: the one of APIServices, and what an add-on may register itself. */
const WITHOUT = new Set(['apiregistration.k8s.io', 'metrics.k8s.io'])

type Service = APIService & { readonly metadata: NonNullable<APIService['metadata']> }

/** What should be there, by name; pure. */
export function wantedServices(defs: readonly { readonly group: string; readonly version: string; readonly custom?: unknown }[]): Map<string, Service> {
  const wanted = new Map<string, Service>()
  for (const { group, version, custom } of defs) {
    const name = `${version}.${group}`
    if (wanted.has(name) || WITHOUT.has(group)) continue
    const versions = [...new Set(defs.filter((d) => d.group === group).map((d) => d.version))].sort(compareVersions)
    wanted.set(name, {
      metadata: { name, labels: { [MANAGED]: custom === undefined ? 'onstart' : 'true' } },
      spec: {
        ...(group !== '' && { group }),
        version,
        groupPriorityMinimum: PRIORITIES[group] ?? CUSTOM_PRIORITY,
        versionPriority: group === '' ? 1 : custom === undefined ? 15 * (versions.length - versions.indexOf(version)) : 100 - versions.indexOf(version),
      },
    })
  }
  return wanted
}

/** What is to be said of one; undefined when it is said already. Pure. */
export function availability(service: Service, served: boolean): { status: string; reason: string; message: string } | undefined {
  const said = service.spec?.service
    ? { status: 'False', reason: 'NotPassedOn', message: 'this server does not pass requests on to other API servers' }
    : served
      ? { status: 'True', reason: 'Local', message: 'Local APIServices are always available' }
      : { status: 'False', reason: 'NotServed', message: 'this server does not serve the group and version' }
  const before = service.status?.conditions?.find((c) => c.type === 'Available')
  return before?.status === said.status && before.reason === said.reason ? undefined : said
}

/** Makes what is missing; resolves when it is there. */
export async function ensureApiServices(core: Core, handle: (request: ApiRequest) => Promise<ApiResponse>, signal?: AbortSignal): Promise<void> {
  await round(core, async (request) => (signal?.throwIfAborted(), handle(request)), [...core.cache.resource(storageName(KINDS.APIService)).scan()].map(found))
}

/** Keeps them until the signal aborts. @param handle calls the API as the server itself */
export async function keepApiServices(core: Core, handle: (request: ApiRequest) => Promise<ApiResponse>, signal: AbortSignal): Promise<void> {
  const services = core.cache.resource(storageName(KINDS.APIService))
  const definitions = core.cache.resource(storageName(KINDS.CustomResourceDefinition))
  let dirty = false
  let wake: (() => void) | undefined
  const look = (): void => {
    dirty = true
    wake?.()
  }
  const stops = [services.subscribe(look), definitions.subscribe(look)]
  const end = (): void => wake?.()
  signal.addEventListener('abort', end, { once: true })
  try {
    while (!signal.aborted) {
      dirty = false
      try {
        await ensureApiServices(core, handle, signal)
      } catch (error) {
        if (isAbort(error) || signal.aborted) return
        log.warn('APIServices could not be brought up to date, trying again', { error })
        await core.clock.sleep(RETRY_MS, signal)
        continue
      }
      if (!dirty && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve))
      wake = undefined
    }
  } catch (error) {
    if (!isAbort(error)) throw error
  } finally {
    signal.removeEventListener('abort', end)
    for (const stop of stops) stop()
  }
}

function found(entry: CacheEntry): Service {
  const service = entry.parsed() as unknown as Service
  return { ...service, metadata: { ...service.metadata, resourceVersion: String(entry.revision) } }
}

async function round(core: Core, handle: (request: ApiRequest) => Promise<ApiResponse>, there: readonly Service[]): Promise<void> {
  const send = async (method: ApiRequest['method'], path: string, body?: object): Promise<void> => {
    const answer = await handle({ method, path, headers: { 'content-type': 'application/json' }, ...(body && { body }) })
    // Another server, or a person, came first: what they wrote wakes the next round.
    if (answer.status < 300 || answer.status === 404 || answer.status === 409) return
    throw new AppError('internal', `keep APIServices: ${method} ${path} was answered ${answer.status} ${String(answer.body)}`)
  }
  const wanted = wantedServices(core.resources.all)
  const served = new Set(core.resources.all.map((d) => apiVersionOf(d)))
  for (const service of there) {
    const { name = '', labels } = service.metadata
    if (labels?.[MANAGED] !== undefined && !wanted.has(name)) await send('DELETE', `${PATH}/${name}`)
    else {
      const said = availability(service, served.has(apiVersionOf({ group: service.spec?.group ?? '', version: service.spec?.version ?? '' })))
      if (said) await send('PUT', `${PATH}/${name}/status`, { ...service, status: { conditions: [condition(core, said)] } })
    }
  }
  const names = new Set(there.map((s) => s.metadata.name))
  await Promise.all([...wanted].filter(([name]) => !names.has(name)).map(([, service]) => send('POST', PATH, service)))
}

function condition(core: Core, said: { status: string; reason: string; message: string }): object {
  return { type: 'Available', ...said, lastTransitionTime: new Date(core.clock.now()).toISOString().replace(/\.\d+Z$/, 'Z') }
}
