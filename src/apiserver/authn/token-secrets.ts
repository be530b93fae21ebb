/**
 * Secrets of type `kubernetes.io/service-account-token`: filled with a token that lives as long as they do, removed with their
 * account, dated when their token is used, and filled anew when the key of their token counts no more: while it does, whoever has
 * a copy of the token goes on with it. Servers that share a store do the same; who is second finds it done.
 */
import { KINDS } from '../../api/kinds.ts'
import { hasCode, isAbort } from '../../base/errors.ts'
import { logger } from '../../base/log.ts'
import { SELF } from '../bootstrap.ts'
import type { Call, Core } from '../core.ts'
import type { Obj } from '../stored-text.ts'
import { removeObject } from '../verbs/delete.ts'
import { changeObject } from '../verbs/write.ts'
import type { CacheEvent } from '../watch-cache.ts'

const log = logger('apiserver.token-secrets')
const TYPE = 'kubernetes.io/service-account-token'
const ACCOUNT = 'kubernetes.io/service-account.name'
const ACCOUNT_UID = 'kubernetes.io/service-account.uid'
const LAST_USED = 'kubernetes.io/legacy-token-last-used'
/** After a failure it is tried again so late, ms. */
const RETRY_MS = 2_000

type SecretObject = Obj & { type?: string; data?: Record<string, string> }

/** Runs until the signal aborts. @param caPem what the Secrets carry as `ca.crt` */
export async function keepTokenSecrets(core: Core, caPem: () => string, signal: AbortSignal): Promise<void> {
  const [secrets, accounts] = [core.cache.resource('secrets'), core.cache.resource('serviceaccounts')]
  /** `namespace/name` of Secrets to look at; at most as many as there are. */
  const dirty = new Set<string>()
  const used = new Set<string>()
  let wake: () => void = () => undefined
  const isOurs = (text: string): boolean => text.includes(TYPE)
  const all = (account?: string): void => {
    for (const entry of secrets.scan()) {
      if (!isOurs(entry.text) || (account !== undefined && `${entry.namespace}/${entry.parsed().metadata.annotations?.[ACCOUNT]}` !== account)) continue
      dirty.add(`${entry.namespace}/${entry.name}`)
    }
  }
  const on = (look: (event: CacheEvent) => void) => (event: CacheEvent | 'reset'): void => {
    if (event === 'reset') all()
    else look(event)
    if (dirty.size > 0) wake()
  }
  const stops = [
    secrets.subscribe(on(({ type, entry }) => void (type === 'put' && isOurs(entry.text) && dirty.add(`${entry.namespace}/${entry.name}`)))),
    // Only what comes and goes matters: an account's other changes do not touch its tokens.
    accounts.subscribe(on(({ type, entry, previous }) => void ((type === 'delete' || !previous) && all(`${entry.namespace}/${entry.name}`)))),
  ]
  core.tokens.onSecretUsed = (path) => {
    used.add(path)
    wake()
  }
  // With the keys the CA may have changed.
  core.tokens.onKeys = () => {
    all()
    wake()
  }
  const end = (): void => wake()
  signal.addEventListener('abort', end, { once: true })
  all()
  try {
    while (!signal.aborted) {
      if (dirty.size + used.size === 0) await new Promise<void>((resolve) => (wake = resolve))
      if (signal.aborted) return
      await core.cache.refresh()
      for (const path of [...used]) {
        used.delete(path)
        await date(core, path, signal)
      }
      for (const path of [...dirty]) {
        dirty.delete(path)
        try {
          await fill(core, path, caPem(), signal)
        } catch (error) {
          // Written by another meanwhile: that change is looked at next. Anything else may pass.
          if (hasCode(error, 'not-found') || hasCode(error, 'conflict')) continue
          if (isAbort(error)) return
          log.warn('Secret of a service account not filled, trying again', { secret: path, error })
          dirty.add(path)
          await core.clock.sleep(RETRY_MS, signal)
        }
      }
    }
  } catch (error) {
    if (!isAbort(error) && !signal.aborted) throw error
  } finally {
    for (const stop of stops) stop()
    core.tokens.onSecretUsed = () => undefined
    core.tokens.onKeys = () => undefined
    signal.removeEventListener('abort', end)
  }
}

async function fill(core: Core, path: string, caPem: string, signal: AbortSignal): Promise<void> {
  const [namespace = '', name = ''] = path.split('/')
  const secret = find(core, path)
  const accountName = secret?.metadata.annotations?.[ACCOUNT]
  if (!secret || secret.type !== TYPE || secret.metadata.deletionTimestamp || !accountName) return
  const accounts = core.cache.resource('serviceaccounts')
  const account = accounts.get(`${accounts.prefix}${namespace}/${accountName}`)?.parsed().metadata
  const wantedUid = secret.metadata.annotations?.[ACCOUNT_UID]
  if (!account || (wantedUid !== undefined && wantedUid !== account.uid)) {
    log.info('Secret removed: its service account is gone', { secret: path, account: accountName })
    await removeObject(core, callOn(namespace, name, 'delete', signal), name, { preconditions: { uid: secret.metadata.uid as string } })
    return
  }
  const ca = Buffer.from(caPem).toString('base64')
  const at = Buffer.from(namespace).toString('base64')
  const kept = secret.data?.['token']
  const token = kept !== undefined && core.tokens.isSpent(Buffer.from(kept, 'base64').toString()) ? undefined : kept
  if (token && secret.data?.['ca.crt'] === ca && secret.data['namespace'] === at && wantedUid === account.uid) return
  const made = token ?? Buffer.from(await core.tokens.signForSecret({ namespace, name: accountName, uid: account.uid as string, secret: name })).toString('base64')
  await changeObject(core, callOn(namespace, name, 'update', signal), async (current) => {
    const { data, metadata } = current as SecretObject
    return { ...current, metadata: { ...metadata, annotations: { ...metadata.annotations, [ACCOUNT_UID]: account.uid as string } }, data: { ...data, 'ca.crt': ca, namespace: at, token: data?.['token'] === kept ? made : (data?.['token'] ?? made) } }
  })
}

/** Notes the day of use, once a day. */
async function date(core: Core, path: string, signal: AbortSignal): Promise<void> {
  const [namespace = '', name = ''] = path.split('/')
  const today = new Date(core.clock.now()).toISOString().slice(0, 10)
  if (!find(core, path) || find(core, path)?.metadata.labels?.[LAST_USED] === today) return
  try {
    await changeObject(core, callOn(namespace, name, 'update', signal), async (current) => ({ ...current, metadata: { ...current.metadata, labels: { ...current.metadata.labels, [LAST_USED]: today } } }))
  } catch (error) {
    if (isAbort(error)) throw error
    // The next use notes it.
    log.debug('use of a token not noted', { secret: path, error })
  }
}

function find(core: Core, path: string): Readonly<SecretObject> | undefined {
  const secrets = core.cache.resource('secrets')
  return secrets.get(secrets.prefix + path)?.parsed()
}

function callOn(namespace: string, name: string, verb: 'update' | 'delete', signal: AbortSignal): Call {
  const def = KINDS.Secret
  const info = { isResource: true as const, verb, group: def.group, version: def.version, namespace, resource: def.resource, name, subresource: undefined, rest: '' }
  return { def, info, user: SELF, query: new URLSearchParams({ fieldManager: 'kube-controller-manager' }), headers: {}, body: undefined, accepted: { shape: 'object', yaml: false }, signal, warnings: [] }
}
