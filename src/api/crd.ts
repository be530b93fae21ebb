/**
 * CustomResourceDefinitions: from a CRD to the rows of the table of kinds, each with its structural schema, printer, selectable
 * fields and scale paths. What is wrong with a CRD is told by `validate/crd.ts`. Used by the API server when a CRD is established.
 */
import { AppError } from '../base/errors.ts'
import { columns, since } from './columns/column.ts'
import type { Cell, ColumnDef, Printer } from './columns/column.ts'
import type { CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionVersion } from './gen/types.ts'
import { findPath, parseJsonPath } from './jsonpath.ts'
import type { KubeObject } from './meta.ts'
import { ALL_VERBS, subresource } from './resource.ts'
import type { CustomParts, ResourceDef } from './resource.ts'
import type { Schema } from './schema-types.ts'

/** One row for each served version of a CRD; the preferred one (as discovery orders versions) stands first. */
export function resourceFromCrd(crd: Readonly<CustomResourceDefinition>): ResourceDef[] {
  const { group, scope } = crd.spec
  // What another definition holds is not served under this one, even if the spec asks for it.
  const names = crd.status?.acceptedNames?.kind ? crd.status.acceptedNames : crd.spec.names
  return [...crd.spec.versions]
    .filter((v) => v.served)
    .sort((a, b) => compareVersions(a.name, b.name))
    .map((v) => ({
      group,
      version: v.name,
      resource: names.plural,
      kind: names.kind,
      namespaced: scope === 'Namespaced',
      listKind: names.listKind ?? `${names.kind}List`,
      singular: names.singular ?? names.kind.toLowerCase(),
      shortNames: names.shortNames ?? [],
      categories: names.categories ?? [],
      verbs: ALL_VERBS,
      subresources: [
        ...(v.subresources?.status !== undefined ? [subresource('status', names.kind)] : []),
        ...(v.subresources?.scale !== undefined ? [subresource('scale', names.kind)] : []),
      ],
      schema: '',
      storage: `${group}/${names.plural}`,
      served: 'full',
      selectable: Object.fromEntries((v.selectableFields ?? []).map((f) => [f.jsonPath.replace(/^\./, ''), selectableText(f.jsonPath)])),
      printer: printerOf(v.additionalPrinterColumns),
      custom: customParts(crd, v),
    }))
}

function customParts(crd: Readonly<CustomResourceDefinition>, v: CustomResourceDefinitionVersion): CustomParts {
  const scale = v.subresources?.scale
  const text = (path: string): string => path.replace(/^\./, '')
  const { strategy, webhook } = crd.spec.conversion ?? {}
  return {
    crd: crd.metadata?.name ?? '',
    schema: withRoot((v.schema?.openAPIV3Schema ?? { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }) as Schema),
    ...(v.schema?.openAPIV3Schema?.properties?.metadata?.properties && { metadata: v.schema.openAPIV3Schema.properties.metadata as Schema }),
    storageVersion: crd.spec.versions.find((x) => x.storage)?.name ?? v.name,
    ...(strategy === 'Webhook' && webhook?.clientConfig && { converter: { client: webhook.clientConfig, reviews: webhook.conversionReviewVersions } }),
    ...(v.deprecated && {
      warning: v.deprecationWarning ?? deprecation(crd, v),
    }),
    ...(scale && {
      scale: {
        spec: text(scale.specReplicasPath), status: text(scale.statusReplicasPath),
        ...(scale.labelSelectorPath !== undefined && { selector: text(scale.labelSelectorPath) }),
      },
    }),
  }
}

function deprecation({ spec }: Readonly<CustomResourceDefinition>, v: CustomResourceDefinitionVersion): string {
  const better = spec.versions.filter((x) => x.served && !x.deprecated && compareVersions(x.name, v.name) < 0).map((x) => x.name).sort(compareVersions)[0]
  return `${spec.group}/${v.name} ${spec.names.kind} is deprecated${better === undefined ? '' : `; use ${spec.group}/${better} ${spec.names.kind}`}`
}

/** Every custom object has these three, whatever its schema says of them. */
function withRoot(schema: Schema): Schema {
  return {
    ...schema,
    type: 'object',
    properties: { ...schema.properties, apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { $ref: 'ObjectMeta' } },
  }
}

function selectableText(path: string): (object: KubeObject) => string {
  const parsed = parseJsonPath(path)
  return (object) => {
    const value = findPath(parsed, object)[0]
    return value === undefined || value === null ? '' : String(value)
  }
}

/** The printer of `additionalPrinterColumns`; a path that cannot be read leaves its cells empty. */
export function printerOf(definitions: readonly CustomResourceColumnDefinition[] | undefined): Printer {
  const defs = definitions?.length ? definitions : [{ name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }]
  const read = defs.map((d) => {
    const path = tryParse(d.jsonPath)
    return (object: KubeObject, now: number): Cell => cellOf(path === undefined ? undefined : findPath(path, object)[0], d.type, now)
  })
  const columnDefs: ColumnDef[] = defs.map((d) => ({
    name: d.name,
    type: d.type as ColumnDef['type'],
    format: d.format ?? '',
    description: d.description ?? `Custom resource definition column (in JSONPath format): ${d.jsonPath}`,
    priority: d.priority ?? 0,
  }))
  return {
    columns: [...columns('Name'), ...columnDefs],
    cells: (object, now) => [object.metadata?.name ?? '', ...read.map((r) => r(object, now))],
  }
}

function tryParse(path: string): ReturnType<typeof parseJsonPath> | undefined {
  try {
    return parseJsonPath(path)
  } catch (error) {
    // A CRD stored by an older version may carry a path we refuse today; its column is empty rather than the whole list failing.
    if (error instanceof AppError) return undefined
    throw error
  }
}

function cellOf(value: unknown, type: string, now: number): Cell {
  if (value === undefined || value === null) return null
  switch (type) {
    case 'integer':
    case 'number':
      return typeof value === 'number' ? value : null
    case 'boolean':
      return typeof value === 'boolean' ? value : null
    case 'date':
      return typeof value === 'string' ? since(value, now) : null
    default:
      return typeof value === 'object' ? JSON.stringify(value) : String(value)
  }
}

/** Orders API versions as discovery does: stable before beta before alpha, higher first, then other names alphabetically. */
export function compareVersions(a: string, b: string): number {
  const rank = (v: string): readonly [number, number, number] | undefined => {
    const m = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(v)
    return m ? [m[2] === undefined ? 2 : m[2] === 'beta' ? 1 : 0, Number(m[1]), Number(m[3] ?? 0)] : undefined
  }
  const [ra, rb] = [rank(a), rank(b)]
  if (ra === undefined || rb === undefined) return ra === rb ? (a < b ? -1 : a > b ? 1 : 0) : ra === undefined ? 1 : -1
  for (let i = 0; i < 3; i++) if (ra[i] !== rb[i]) return (rb[i] as number) - (ra[i] as number)
  return 0
}
