/** A whole API server on a memory store, and short ways to call it in process. Used by the tests of `src/apiserver`. */
import { generateKeyPairSync } from 'node:crypto'
import { GROUP_MASTERS, type ApiRequest, type ApiResponse, type UserInfo } from '../../src/api/contract.ts'
import { systemClock, type Clock } from '../../src/base/clock.ts'
import { createMemoryStore } from '../../src/store/mod.ts'
import type { Store } from '../../src/store/store.ts'
import { createApiServer } from '../../src/apiserver/server.ts'
import type { ApiServer, ApiServerOptions } from '../../src/apiserver/ports.ts'
import type { Obj } from '../../src/apiserver/stored-text.ts'

export const ADMIN: UserInfo = { name: 'admin', groups: [GROUP_MASTERS, 'system:authenticated'] }

export interface Answer<T = Obj> {
  readonly status: number
  readonly body: T
  readonly headers: Readonly<Record<string, string>>
}

export interface Harness extends AsyncDisposable {
  readonly api: ApiServer
  readonly store: Store
  call<T = Obj>(method: ApiRequest['method'], path: string, body?: object | string, options?: { user?: UserInfo; headers?: Record<string, string> }): Promise<Answer<T>>
  /** Opens a watch; `next` gives the following event, `end` stops it. */
  watch(path: string, user?: UserInfo, headers?: Record<string, string>): Promise<{ next(): Promise<{ type: string; object: Obj } | undefined>; end(): Promise<void>; status: number }>
}

/** A fresh key for service-account tokens. */
export function testKey(): { privateKeyPem: string; publicKeyPem: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }) as string }
}

/** Starts a server; dispose it when done. Anything not given is a default fit for tests. */
export async function startHarness(options: Partial<ApiServerOptions> & { clock?: Clock } = {}): Promise<Harness> {
  const store = options.store ?? createMemoryStore()
  const api = await createApiServer({ clock: systemClock, serviceAccountKey: testKey(), serviceCidr: '10.43.0.0/16', ...options, store })
  const request = (method: ApiRequest['method'], path: string, body: object | string | undefined, user: UserInfo, headers: Record<string, string>): ApiRequest => {
    const [clean = '', query] = path.split('?')
    return { method, path: clean, query: new URLSearchParams(query ?? ''), headers, user, ...(body === undefined ? {} : { body }) }
  }
  return {
    api,
    store,
    async call<T>(method: ApiRequest['method'], path: string, body?: object | string, { user = ADMIN, headers = {} }: { user?: UserInfo; headers?: Record<string, string> } = {}) {
      const answer: ApiResponse = await api.handler(request(method, path, body, user, headers), new AbortController().signal)
      let text = ''
      if (typeof answer.body === 'string') text = answer.body
      else for await (const chunk of answer.body) text += Buffer.from(chunk as Uint8Array).toString()
      let parsed: unknown = text
      if (/json/.test(answer.headers['content-type'] ?? '') && text !== '') parsed = JSON.parse(text)
      return { status: answer.status, body: parsed as T, headers: answer.headers }
    },
    async watch(path, user = ADMIN, headers = {}) {
      const stop = new AbortController()
      const answer = await api.handler(request('GET', path, undefined, user, headers), stop.signal)
      if (typeof answer.body === 'string') return { status: answer.status, next: async () => JSON.parse(answer.body as string) as { type: string; object: Obj }, end: async () => undefined }
      const iterator = answer.body[Symbol.asyncIterator]()
      const lines: string[] = []
      return {
        status: answer.status,
        async next() {
          while (lines.length === 0) {
            const { done, value } = await iterator.next()
            if (done) return undefined
            lines.push(...Buffer.from(value as Uint8Array).toString().split('\n').filter((l) => l !== ''))
          }
          return JSON.parse(lines.shift() as string) as { type: string; object: Obj }
        },
        async end() {
          await iterator.return?.()
          stop.abort()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      await api.close()
      await store[Symbol.asyncDispose]()
    },
  }
}
