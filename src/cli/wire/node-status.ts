/**
 * What a running agent says of itself to root on its own machine: `GET /status` on a socket in its run directory; and what it does
 * with images there: `GET /images`, `POST /images?archive=PATH`, `DELETE /images?name=IMAGE`; `POST /shutdown` ends its pods, as the
 * machine goes down, and answers when they have ended. Works without server, network and
 * certificates; drills and `skerry image` go by it. Nothing is kept for it: it is put together when asked.
 */
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import { chmod, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Pod } from '../../api/gen/types.ts'
import type { NodeImages } from '../../agent/mod.ts'
import { AppError, messageOf, type ErrorCode } from '../../base/errors.ts'
import type { InstancePaths } from '../paths.ts'

export interface PodState {
  readonly name: string
  readonly uid: string
  readonly ready: boolean
  /** Whether its containers are started again when they have ended. */
  readonly restarts: boolean
  /** Containers running now. */
  readonly containers: readonly string[]
}

export interface AgentStatus {
  readonly node: string
  readonly pid: number
  readonly connected: boolean
  /** Where it looks for its server, in the order tried; with a proxy on the way, the proxy too. */
  readonly servers: readonly string[]
  readonly pods: readonly PodState[]
  readonly devices: readonly { readonly name: string; readonly state: string }[]
}

/** What is told and done there. */
export interface NodeStatusParts {
  readonly status: () => AgentStatus
  readonly images: Pick<NodeImages, 'list' | 'import' | 'remove'>
  /** Ends all pods within the time that is set for it. */
  readonly shutDown: () => Promise<void>
}

/** A pod as the status tells it. */
export function podState(pod: Readonly<Pod>): PodState {
  const { namespace = '', name = '', uid = '' } = pod.metadata ?? {}
  const running = (pod.status?.containerStatuses ?? []).filter((c) => c.state?.running)
  return {
    name: `${namespace}/${name}`,
    uid,
    ready: pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false,
    restarts: (pod.spec?.restartPolicy ?? 'Always') === 'Always',
    containers: running.map((c) => c.containerID ?? ''),
  }
}

const socketOf = (paths: InstancePaths): string => join(paths.run, 'agent.sock')

/** Answers until the signal aborts. A socket that a dead agent left is taken over; the lock on the data directory says that there is no other. */
export async function serveNodeStatus(paths: InstancePaths, node: NodeStatusParts, signal: AbortSignal): Promise<void> {
  const path = socketOf(paths)
  await rm(path, { force: true })
  const server = createServer((req, res) => {
    answer(req, node, signal).then(
      (body) => (body === undefined ? res.writeHead(404).end() : send(res, 200, body)),
      (error: unknown) => send(res, 500, { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) }),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  await chmod(path, 0o600)
  await new Promise<void>((resolve) => {
    const end = (): void => {
      server.closeAllConnections()
      server.close(() => resolve())
    }
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })
}

async function answer(req: IncomingMessage, { status, images, shutDown }: NodeStatusParts, signal: AbortSignal): Promise<unknown> {
  const { pathname, searchParams } = new URL(req.url ?? '/', 'http://agent')
  switch (`${req.method} ${pathname}`) {
    case 'GET /status':
      return status()
    case 'GET /images':
      return await images.list()
    case 'POST /images':
      return await images.import(searchParams.get('archive') ?? '', signal)
    case 'DELETE /images':
      await images.remove(searchParams.get('name') ?? '')
      return {}
    case 'POST /shutdown':
      await shutDown()
      return {}
    default:
      return undefined
  }
}

function send(res: ServerResponse, code: number, body: unknown): void {
  res.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** Asks the agent of an instance. @throws AppError `unavailable` when none answers within two seconds */
export function askAgent(paths: InstancePaths): Promise<AgentStatus> {
  return callAgent<AgentStatus>(paths, 'GET', '/status', 2000)
}

/** Any request to the agent of an instance. @throws AppError of the agent, or `unavailable` when none answers in time */
export function callAgent<T>(paths: InstancePaths, method: 'GET' | 'POST' | 'DELETE', path: string, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(new AppError('unavailable', `ask agent: nobody answers on "${socketOf(paths)}" (${error.message}): start \`skerry agent\`, or name its --data-dir`, { cause: error }))
    const asking = request({ socketPath: socketOf(paths), method, path, timeout: timeoutMs }, (res) => {
      const parts: Buffer[] = []
      res.on('data', (part: Buffer) => parts.push(part))
      res.on('error', fail)
      res.on('end', () => {
        try {
          const body: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'))
          if (res.statusCode === 200) resolve(body as T)
          else reject(new AppError((body as { code: ErrorCode }).code, (body as { message: string }).message))
        } catch (error) {
          fail(error as Error)
        }
      })
    })
    asking.on('timeout', () => asking.destroy(new Error(`no answer within ${timeoutMs / 1000} s`)))
    asking.on('error', fail)
    asking.end()
  })
}
