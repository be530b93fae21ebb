/** The node-local API put together: handler, certificate, sockets. Used by the composition root. */
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { Pod } from '../../api/gen/types.ts'
import type { KubeObject } from '../../api/meta.ts'
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import { isSignedBy } from '../../base/pki.ts'
import type { ResourceRef } from '../../client/mod.ts'
import type { Agent } from '../agent.ts'
import type { Seal } from '../ports.ts'
import { Access, type Rule } from './access.ts'
import type { Known } from './answers.ts'
import { keyIdOf, type TokenKeys } from './caller.ts'
import { Documents } from './documents.ts'
import { LocalApiListener } from './listener.ts'
import { LocalApi, type Forward, type LocalApiOptions } from './local-api.ts'
import { Remembered } from './remembered.ts'
import { ServingFiles, type Serving } from './serving.ts'

/** What a client of the API asks for first; fetched with the first token, so that a pod that never asked finds its way cut off. */
const FIRST_DOCUMENTS: readonly (readonly [path: string, accept: string])[] = [
  ['/version', 'application/json'],
  ['/api', 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json'],
  ['/apis', 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json'],
]
const MOST_ANSWER = 4 << 20
/** Of a call that the node makes itself, ms. */
const CALL_MS = 20_000

export interface LocalApiParts {
  readonly nodeName: string
  readonly clock: Clock
  /** Kept state: certificate, rules, discovery documents. */
  readonly directory: string
  readonly seal?: Seal | undefined
  readonly agent: Pick<Agent, 'knowsPod' | 'podNow'>
  readonly known: () => readonly Known[]
  readonly online: () => boolean
  /** To the server without the node's certificate. */
  readonly forward: Forward
  readonly dial: () => Promise<Duplex>
  /** Has the server sign a certificate for this node's local API, with the node's own identity. */
  readonly sign: (request: { readonly csrPem: string; readonly address: string }) => Promise<{ readonly certPem: string; readonly tokens: TokenKeys }>
  /** The CA that signs now, as far as this node knows. */
  readonly caPem?: (() => string) | undefined
  readonly port: number
  readonly table?: LocalApiOptions['table']
}

export interface RunningLocalApi {
  /** Serves on this address of the pod bridge, and on loopback, until the signal aborts. */
  run(address: string, signal: AbortSignal): Promise<void>
  linkBack(): void
  /** A pod has a new token: what it may do is learnt while the server is there. */
  learn(token: string): void
}

/** Makes it; nothing listens before `run`. */
export function createLocalApi(parts: LocalApiParts): RunningLocalApi {
  const { clock, directory, seal } = parts
  let serving: Serving | undefined
  let wake = Promise.withResolvers<void>()
  const call = (method: string, path: string, token: string, accept: string, body?: object): Promise<{ contentType: string; text: string }> => callServer(parts, { method, path, token, accept, body })
  const documents = new Documents(join(directory, 'documents'))
  const access = new Access({
    directory: join(directory, 'access'),
    clock,
    seal,
    ask: async (token, namespace) => {
      const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectRulesReview', spec: { namespace } }
      const { text } = await call('POST', '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews', token, 'application/json', review)
      return (JSON.parse(text) as { status?: { resourceRules?: Rule[] } }).status?.resourceRules ?? []
    },
  })
  const remembered = new Remembered({ directory: join(directory, 'answers'), clock, seal })
  const api = new LocalApi({
    nodeName: parts.nodeName,
    clock,
    forward: parts.forward,
    online: parts.online,
    known: parts.known,
    keys: () => serving?.tokens,
    podHere: (uid) => parts.agent.knowsPod(uid),
    access,
    documents,
    remembered,
    now: (ref: ResourceRef, object: Readonly<KubeObject>) => (ref.group === '' && ref.resource === 'pods' ? (parts.agent.podNow(object as Readonly<Pod>) as KubeObject) : object),
    ...(parts.table === undefined ? {} : { table: parts.table }),
  })
  /** A token came that is signed with a key which this node has not got. */
  let keyMissing = false
  const files = new ServingFiles({
    directory,
    clock,
    seal,
    async ask(request) {
      keyMissing = false
      return parts.sign(request)
    },
    outdated: (now) => keyMissing || (parts.caPem !== undefined && !isSignedBy(now.certPem, parts.caPem())),
  })
  let discovered = false
  return {
    linkBack() {
      wake.resolve()
      wake = Promise.withResolvers()
      api.linkBack()
    },
    learn(token) {
      api.learn(token)
      const kid = keyIdOf(token)
      if (kid !== undefined && serving?.tokens.keys.every((key) => key.kid !== undefined && key.kid !== kid) === true) {
        keyMissing = true
        wake.resolve()
        wake = Promise.withResolvers()
      }
      if (discovered || !parts.online()) return
      discovered = true
      const fetched = Promise.all(
        FIRST_DOCUMENTS.map(async ([path, accept]) => {
          const { contentType, text } = await call('GET', path, token, accept)
          await documents.keep(path, { contentType, body: text })
        }),
      )
      fetched.catch(() => (discovered = false)) // The next token tries again.
    },
    async run(address, signal) {
      const listener = new LocalApiListener({ api, addresses: [address, '127.0.0.1'], port: parts.port, dial: parts.dial })
      try {
        await files.run(
          address,
          (next) => {
            serving = next
            return listener.use(next)
          },
          () => wake.promise,
          signal,
        )
      } finally {
        api.close()
        await listener[Symbol.asyncDispose]()
        await remembered.flush()
      }
    },
  }
}

async function callServer(parts: LocalApiParts, ask: { method: string; path: string; token: string; accept: string; body: object | undefined }): Promise<{ contentType: string; text: string }> {
  const stop = new AbortController()
  const timer = parts.clock.timer('local API call', CALL_MS, () => stop.abort(new AppError('timeout', `${ask.method} ${ask.path}: no answer within ${CALL_MS / 1000} s`)))
  try {
    const answer = await parts.forward({
      method: ask.method,
      path: ask.path,
      headers: { authorization: `Bearer ${ask.token}`, accept: ask.accept, ...(ask.body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(ask.body === undefined ? {} : { body: once(Buffer.from(JSON.stringify(ask.body))) }),
      signal: stop.signal,
    })
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of answer.body) {
      chunks.push(chunk)
      if ((size += chunk.length) > MOST_ANSWER) throw new AppError('too-large', `${ask.method} ${ask.path}: the answer is over ${MOST_ANSWER} bytes`)
    }
    const text = Buffer.concat(chunks).toString()
    if (answer.status >= 300) throw new AppError(answer.status === 401 ? 'unauthorized' : 'unavailable', `${ask.method} ${ask.path}: answered ${answer.status}: ${text.slice(0, 200)}`)
    return { contentType: answer.headers['content-type'] ?? 'application/json', text }
  } finally {
    timer.cancel()
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
