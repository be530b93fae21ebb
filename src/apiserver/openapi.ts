/**
 * /openapi/v2, /openapi/v3 and the documents of group versions, built from the table of kinds when asked, CRDs included.
 * A document's hash stands in the index, so clients keep what they have. Bound: the last {@link KEPT} texts are remembered.
 */
import { createHash } from 'node:crypto'
import type { ApiRequest, ApiResponse } from '../api/contract.ts'
import { SCHEMAS_JSON } from '../api/gen/schemas.ts'
import type { ResourceDef } from '../api/kinds.ts'
import { openApiV2, openApiV3, openApiV3Index, openApiV3Path } from '../api/openapi.ts'
import { loadDescriptions } from '../api/schema-table.ts'
import type { Resources } from './resources.ts'

const KEPT = 3
const PROTOBUF = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf'

/** Answers the OpenAPI paths. */
export class OpenApi {
  readonly #resources: Resources
  readonly #version: string
  readonly #texts = new Map<string, Promise<string>>()
  #hashes = new Map<string, string>()
  #seen = -1

  /** @param version the server's, part of each hash */
  constructor(resources: Resources, version: string) {
    this.#resources = resources
    this.#version = version
  }

  /** undefined when the path is not one of OpenAPI. */
  async answer(path: string, request: Pick<ApiRequest, 'headers' | 'query'>): Promise<ApiResponse | undefined> {
    if (!path.startsWith('/openapi/')) return undefined
    if (this.#seen !== this.#resources.version) {
      this.#seen = this.#resources.version
      this.#hashes = this.#hashAll()
      this.#texts.clear()
    }
    const clean = path.endsWith('/') ? path.slice(0, -1) : path
    if (clean === '/openapi/v3') {
      return reply(JSON.stringify(openApiV3Index(this.#resources.all, (p) => this.#hashes.get(p) ?? '')), 'no-cache')
    }
    if (clean === '/openapi/v2') {
      const protobuf = (request.headers?.accept ?? '').startsWith('application/com.github.proto-openapi')
      const etag = `"${createHash('sha256').update([protobuf, ...this.#hashes.values()].join()).digest('hex').toUpperCase()}"`
      if (request.headers?.['if-none-match'] === etag) return { status: 304, headers: { etag }, body: '' }
      if (protobuf) return { status: 200, headers: { 'content-type': PROTOBUF, 'cache-control': 'no-cache', vary: 'Accept', etag }, body: this.#protobuf() }
      const text = await this.#text(clean, async () => openApiV2(this.#resources.all, this.#version, await loadDescriptions()))
      return reply(text, 'no-cache', etag)
    }
    const found = this.#resources.all.find((d) => clean === `/openapi/v3/${openApiV3Path(d)}`)
    if (!found) return undefined
    const hash = this.#hashes.get(openApiV3Path(found)) as string
    const etag = `"${hash}"`
    const asked = request.query?.get('hash') ?? ''
    // Who names another state of the document is sent to this one, and only this one may be kept for ever.
    if (asked !== '' && asked !== hash) return { status: 301, headers: { location: `${clean}?hash=${hash}` }, body: '' }
    if (request.headers?.['if-none-match'] === etag) return { status: 304, headers: { etag }, body: '' }
    const text = await this.#text(clean, async () => openApiV3(this.#resources.all, found.group, found.version, this.#version, await loadDescriptions()))
    return reply(text, asked === '' ? 'no-cache, private' : 'public, immutable', etag)
  }

  /** Made when asked: those who read it keep it, and ask with its ETag. */
  async *#protobuf(): AsyncGenerator<Uint8Array> {
    const { openApiProtobuf } = await import('./protobuf/openapi.ts')
    yield openApiProtobuf(openApiV2(this.#resources.all, this.#version, await loadDescriptions()))
  }

  #text(key: string, build: () => Promise<object>): Promise<string> {
    let text = this.#texts.get(key)
    if (!text) {
      text = build().then((document) => JSON.stringify(document))
      this.#texts.set(key, text)
      text.catch(() => this.#texts.delete(key))
      if (this.#texts.size > KEPT) this.#texts.delete(this.#texts.keys().next().value as string)
    }
    return text
  }

  #hashAll(): Map<string, string> {
    const groups = new Map<string, ResourceDef[]>()
    // Types may change without the version of the API that they are part of.
    const types = createHash('sha256').update(SCHEMAS_JSON).digest('hex')
    for (const d of this.#resources.all) groups.set(openApiV3Path(d), [...(groups.get(openApiV3Path(d)) ?? []), d])
    return new Map(
      [...groups].map(([path, defs]) => {
        const parts = defs.map((d) => [d.resource, d.kind, d.custom?.schema, d.subresources.map((s) => s.name)])
        return [path, createHash('sha256').update(JSON.stringify([this.#version, types, path, parts])).digest('hex').toUpperCase()]
      }),
    )
  }
}

function reply(body: string, cache: string, etag?: string): ApiResponse {
  return { status: 200, headers: { 'content-type': 'application/json', 'cache-control': cache, vary: 'Accept', ...(etag === undefined ? {} : { etag }) }, body }
}
