/** What an administrator may ask of a running server's store over the one port: to forget history and give its room back. */
import type { ServerResponse } from 'node:http'
import { GROUP_MASTERS } from '../../api/contract.ts'
import { toStatus } from '../../api/status.ts'
import type { Route } from '../../apiserver/mod.ts'
import { AppError } from '../../base/errors.ts'
import type { Store, StoreReclaim, StoreStats } from '../../store/mod.ts'

/** The handler of `PATHS.compact`; answers every request itself, failures included as Status. */
export function compactRoute(store: Pick<Store, 'compact'> & StoreStats & StoreReclaim): Route['handler'] {
  return async (req, res, { user }) => {
    const out = res as ServerResponse
    const send = (status: number, value: object): void => {
      const text = JSON.stringify(value)
      out.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      out.end(text)
    }
    try {
      if (!user?.groups.includes(GROUP_MASTERS)) throw new AppError('forbidden', `compact the store: "${user?.name ?? 'anonymous'}" is no administrator`)
      if (req.method !== 'POST') throw new AppError('invalid', `compact the store: the method is ${req.method}, POST is expected`)
      const { bytes: before, revision } = await store.stats()
      await store.compact(revision)
      await store.reclaim()
      send(200, { before, after: (await store.stats()).bytes })
    } catch (error) {
      const status = toStatus(error)
      send(status.code ?? 500, status)
    }
  }
}
