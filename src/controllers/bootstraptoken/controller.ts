/** Removes bootstrap tokens when they expire, so that `skerry token list` shows only what still works. */
import type { Secret } from '../../api/gen/types.ts'
import { KINDS } from '../../api/kinds.ts'
import { hasCode } from '../../base/errors.ts'
import { splitKey } from '../../client/mod.ts'
import { createController, watchObjects, type Controller, type Result } from '../../control/mod.ts'
import type { ControllerContext } from '../context.ts'

const TYPE = 'bootstrap.kubernetes.io/token'

/** Milliseconds until a token expires; undefined when it never does (or does not say so readably: then it never worked). */
export function tokenExpiresInMs(secret: Readonly<Secret>, nowMs: number): number | undefined {
  const encoded = secret.data?.['expiration']
  if (secret.type !== TYPE || encoded === undefined) return undefined
  const at = Date.parse(Buffer.from(encoded, 'base64').toString('utf8'))
  return Number.isNaN(at) ? undefined : at - nowMs
}

/** Looks at each token when it changes and when it expires. */
export function createBootstrapTokenController({ client, caches, clock }: ControllerContext): Controller {
  const secrets = caches.cache<Secret>(KINDS.Secret, { namespace: 'kube-system', fieldSelector: `type=${TYPE}` })
  const reconcile = async (key: string): Promise<Result | void> => {
    const { namespace, name } = splitKey(key)
    const secret = secrets.get(name, namespace)
    const leftMs = secret && tokenExpiresInMs(secret, clock.now())
    if (!secret || leftMs === undefined) return
    if (leftMs > 0) return { requeueAfterMs: leftMs }
    await client
      .resource(KINDS.Secret)
      .delete(name, namespace, { preconditions: { uid: secret.metadata?.uid ?? '' } })
      .catch((error: unknown) => {
        if (!hasCode(error, 'not-found') && !hasCode(error, 'conflict')) throw error
      })
  }
  return createController({ name: 'bootstraptoken', clock, sources: [watchObjects(secrets)], caches: [secrets], reconcile, workers: 1 })
}
