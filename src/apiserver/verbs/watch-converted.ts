/**
 * A watch of custom objects whose versions a webhook converts: the events of the stored objects, each converted in its turn,
 * so that their order stays. Selectors on fields are judged on what the webhook made. Used by `watch.ts`.
 */
import { metaVersion } from '../negotiate.ts'
import type { ApiResponse } from '../../api/contract.ts'
import { apiVersionOf } from '../../api/kinds.ts'
import { toStatus } from '../../api/status.ts'
import { inVersion } from '../conversion.ts'
import type { Call, Core } from '../core.ts'
import { customText } from '../custom-text.ts'
import { encodeOne } from '../encode.ts'
import { selection } from '../selection.ts'
import type { Obj } from '../stored-text.ts'
import { CacheEntry } from '../watch-cache.ts'

type Watch = (core: Core, call: Call) => Promise<ApiResponse>
interface Event {
  readonly type: string
  readonly object: Obj
}

/** @param plain the watch of objects that need no conversion */
export async function watchConverted(core: Core, call: Call, plain: Watch): Promise<ApiResponse> {
  const { def, query, accepted } = call
  const select = query.get('fieldSelector') ? selection(def, query) : undefined
  const inner = new URLSearchParams(query)
  inner.delete('fieldSelector')
  const stored = { ...def, custom: { ...(def.custom as NonNullable<typeof def.custom>), keepsMark: true } }
  const answer = await plain(core, { ...call, def: stored, query: inner, accepted: { ...accepted, shape: 'object' } })
  if (answer.status !== 200 || typeof answer.body === 'string') return answer
  let first = true
  const line = async ({ type, object }: Event): Promise<string> => {
    if (type === 'BOOKMARK' || type === 'ERROR') {
      const head = accepted.shape === 'meta' ? { kind: 'PartialObjectMetadata', apiVersion: metaVersion(accepted) } : { kind: def.kind, apiVersion: apiVersionOf(def) }
      return `${JSON.stringify({ type, object: type === 'ERROR' ? object : { ...object, ...head } })}\n`
    }
    const revision = Number(object.metadata.resourceVersion)
    const version = (object.apiVersion ?? '').split('/').at(-1)
    const [shown] = await inVersion(core, def, [{ text: customText(def, object, version), revision }], call.signal)
    if (!shown) return ''
    const matches = !select || select.matches(new CacheEntry(`/registry/x/${object.metadata.namespace ?? ''}/${object.metadata.name ?? ''}`, shown.text, revision, revision))
    if (!matches && type === 'ADDED') return ''
    const text = encodeOne(call, shown, core.clock.now(), first)
    first = false
    return `{"type":"${matches ? type : 'DELETED'}","object":${text}}\n`
  }
  return { ...answer, body: converted(answer.body, line) }
}

async function* converted(body: AsyncIterable<string | Uint8Array>, line: (event: Event) => Promise<string>): AsyncGenerator<string> {
  for await (const chunk of body) {
    for (const text of (typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()).split('\n')) {
      if (text === '') continue
      try {
        yield await line(JSON.parse(text) as Event)
      } catch (error) {
        // The watch cannot go on past an object that it cannot show.
        yield `${JSON.stringify({ type: 'ERROR', object: toStatus(error) })}\n`
        return
      }
    }
  }
}
