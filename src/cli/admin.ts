/** A client with the administrator's rights for commands that run beside the server or with a kubeconfig. */
import { existsSync, readFileSync } from 'node:fs'
import { AppError } from '../base/errors.ts'
import { createClient, createHttpTransport, parseKubeconfig, type Client } from '../client/mod.ts'
import { pathsOf } from './paths.ts'

/**
 * @param kubeconfig a file; else KUBECONFIG, else the server's own in the data directory
 * @throws AppError `not-found` when there is none, with the way out
 */
export function adminClient(dataDir: string, kubeconfig?: string): { client: Client; server: string; caPem: string; close(): void } {
  const own = pathsOf(dataDir).adminKubeconfig
  const path = kubeconfig ?? (existsSync(own) ? own : process.env['KUBECONFIG'])
  if (path === undefined || !existsSync(path)) {
    throw new AppError('not-found', `find the server: no admin kubeconfig at "${path ?? own}": run this on the server with its --data-dir, or give --kubeconfig`)
  }
  const config = parseKubeconfig(readFileSync(path, 'utf8'))
  const transport = createHttpTransport(config)
  return { client: createClient(transport), server: config.server, caPem: config.ca ?? '', close: () => transport.close() }
}
