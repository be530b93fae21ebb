/**
 * OpenAPI documents, built from the table of kinds when asked: version 3 one document per group and version, version 2 all in one.
 * Pure functions that return plain objects; the API server caches their text and serves it. CRDs take part by their ResourceDefs.
 */
import { addPaths } from './openapi-paths.ts'
import type { Json } from './openapi-schemas.ts'
import { SchemaSet } from './openapi-schemas.ts'
import { apiVersionOf } from './resource.ts'
import type { ResourceDef } from './resource.ts'
import type { Descriptions } from './schema-table.ts'

/** Path of a group version below `/openapi/v3/`: `api/v1`, `apis/apps/v1`. */
export function openApiV3Path(of: { readonly group: string; readonly version: string }): string {
  return `${of.group === '' ? 'api' : 'apis'}/${apiVersionOf(of)}`
}

/** The answer of `/openapi/v3`: where each document is; `hashOf` gives a text that changes when the document does. */
export function openApiV3Index(defs: readonly ResourceDef[], hashOf: (path: string) => string): Json {
  const paths = [...new Set(defs.map(openApiV3Path))].sort()
  return { paths: Object.fromEntries(paths.map((path) => [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hashOf(path)}` }])) }
}

/**
 * The version 3 document of one group version. `defs` may hold more; only those of the group version are described.
 * `descriptions` come from `loadDescriptions()`; without them the document lacks texts but is complete for validation.
 */
export function openApiV3(defs: readonly ResourceDef[], group: string, version: string, serverVersion: string, descriptions: Descriptions = {}): Json {
  const own = defs.filter((d) => d.group === group && d.version === version)
  const schemas = new SchemaSet(3, descriptions, defs)
  const paths: Record<string, Json> = {}
  for (const def of own) addPaths(paths, def, schemas, 3)
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: serverVersion },
    paths: sorted(paths),
    components: {
      schemas: schemas.finish(),
      securitySchemes: { BearerToken: { type: 'apiKey', name: 'authorization', in: 'header', description: 'Bearer Token authentication' } },
    },
  }
}

/** The version 2 document of everything. */
export function openApiV2(defs: readonly ResourceDef[], serverVersion: string, descriptions: Descriptions = {}): Json {
  const schemas = new SchemaSet(2, descriptions, defs)
  const paths: Record<string, Json> = {}
  for (const def of defs) addPaths(paths, def, schemas, 2)
  return {
    swagger: '2.0',
    info: { title: 'Kubernetes', version: serverVersion },
    paths: sorted(paths),
    definitions: schemas.finish(),
    securityDefinitions: { BearerToken: { type: 'apiKey', name: 'authorization', in: 'header', description: 'Bearer Token authentication' } },
    security: [{ BearerToken: [] }],
  }
}

function sorted(paths: Record<string, Json>): Json {
  return Object.fromEntries(Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1)))
}
