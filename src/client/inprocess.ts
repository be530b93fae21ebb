/**
 * The transport for parts that live in the server's process: the same pipeline as everyone (identity, authorization,
 * admission, verb) without sockets or re-parsing. Objects are passed as they are; neither side changes them.
 */
import type { ApiHandler, UserInfo } from '../api/contract.ts'
import type { Transport } from './ports.ts'

/** @param user the identity that authorization judges; not a back door */
export function createInProcessTransport(handler: ApiHandler, user: UserInfo): Transport {
  return {
    async request(request, signal = new AbortController().signal) {
      signal.throwIfAborted()
      return await handler({ ...request, user }, signal)
    },
  }
}
