/**
 * Pages that belong to workloads: `GET /pages/{namespace}/{name}/{file}` serves a file of the ConfigMap `name` when it is
 * labelled `skerry.io/page: "true"`. Public like any sign-in page; what a page shows it asks of the API with its reader's
 * own token. A strict content policy keeps it to files and calls of this server. ConfigMaps are kept for two seconds.
 */
import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { PATHS } from '../api/contract.ts'
import type { KubeObject } from '../api/meta.ts'
import { methodNotAllowed, pathNotFound } from '../api/status.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { AppError, hasCode } from '../base/errors.ts'
import type { Client, ResourceRef } from '../client/mod.ts'
import { checkName } from './input.ts'
import { answering, header, segments, send, type Handler } from './http.ts'

export const PAGE_LABEL = 'skerry.io/page'
const CONFIGMAPS: ResourceRef = { group: '', version: 'v1', resource: 'configmaps', kind: 'ConfigMap', namespaced: true }
const KEEP_MS = 2000
/** ConfigMaps kept at once; each is at most 1 MiB. */
const MAX_KEPT = 16

const CONTENT_POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "font-src 'self'", "img-src 'self' blob: data:", "connect-src 'self'",
  "manifest-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'",
].join('; ')

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', mjs: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8',
  json: 'application/json', webmanifest: 'application/manifest+json', svg: 'image/svg+xml', png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg',
  webp: 'image/webp', gif: 'image/gif', ico: 'image/x-icon', woff2: 'font/woff2', txt: 'text/plain; charset=utf-8', md: 'text/plain; charset=utf-8',
}

interface ConfigMap extends KubeObject {
  data?: Record<string, string>
  binaryData?: Record<string, string>
}

/** @returns the handler for everything under {@link PATHS.pages} */
export function createPages(options: { readonly client: Client; readonly clock?: Clock }): Handler {
  const clock = options.clock ?? systemClock
  const configMaps = options.client.resource<ConfigMap>(CONFIGMAPS)
  const kept = new Map<string, { readonly page: Promise<ConfigMap | undefined>; readonly until: number }>()

  function read(namespace: string, name: string): Promise<ConfigMap | undefined> {
    const key = `${namespace}/${name}`
    const found = kept.get(key)
    if (found && found.until > clock.monotonic()) return found.page
    const page = configMaps.get(name, namespace).then(
      (map) => (map.metadata?.labels?.[PAGE_LABEL] === 'true' ? map : undefined),
      (error: unknown) => {
        if (hasCode(error, 'not-found')) return undefined
        kept.delete(key)
        throw error
      },
    )
    kept.delete(key)
    kept.set(key, { page, until: clock.monotonic() + KEEP_MS })
    const oldest = kept.keys().next().value
    if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest)
    return page
  }

  return (req, res, { path }) =>
    answering(req, res, async () => {
      if (req.method !== 'GET' && req.method !== 'HEAD') throw methodNotAllowed({ group: '', resource: 'pages' }, req.method ?? '')
      const [ns, name, file, ...rest] = segments(path, PATHS.pages)
      if (ns === undefined || name === undefined || name === '' || rest.length > 0) throw pathNotFound()
      // Relative links of the page need the slash.
      if (file === undefined) return send(res, 308, { location: `${path}/` }, '')
      const map = await read(checkName(ns, 'read path: namespace'), checkName(name, 'read path: page'))
      if (!map) throw new AppError('not-found', `page "${ns}/${name}" not found: there is no ConfigMap of this name labelled ${PAGE_LABEL}=true`)
      const key = file === '' ? 'index.html' : file
      const body = contentOf(map, key)
      if (!body) throw new AppError('not-found', `file "${key}" not found in page "${ns}/${name}"`)
      const etag = `"${createHash('sha256').update(body).digest('base64url')}"`
      const headers = {
        'content-type': TYPES[key.slice(key.lastIndexOf('.') + 1).toLowerCase()] ?? 'application/octet-stream',
        'content-security-policy': CONTENT_POLICY,
        'referrer-policy': 'no-referrer',
        'cross-origin-opener-policy': 'same-origin',
        'cache-control': 'no-cache',
        etag,
      }
      if (header(req, 'if-none-match') === etag) return void (res as ServerResponse).writeHead(304, headers).end()
      send(res, 200, headers, body)
    })
}

function contentOf(map: ConfigMap, key: string): Buffer | undefined {
  const { data, binaryData } = map
  if (data && Object.hasOwn(data, key)) return Buffer.from(data[key] ?? '')
  if (binaryData && Object.hasOwn(binaryData, key)) return Buffer.from(binaryData[key] ?? '', 'base64')
  return undefined
}
