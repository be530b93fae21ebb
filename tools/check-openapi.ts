/**
 * Compares our schema table with a published Kubernetes OpenAPI document (version 2, plain or gzipped), field by field, and lists the
 * differences. The document is an oracle only: given by path or SKERRY_OPENAPI_ORACLE, never kept here and never read by the product.
 *
 *     bin/node tools/check-openapi.ts kubernetes-openapi.json.gz
 */
import { readFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { RESOURCES } from '../src/api/kinds.ts'
import { openApiV2 } from '../src/api/openapi.ts'
import { NEWER_FACTS, factLines } from '../src/api/schema-facts.ts'
import { loadDescriptions, schemaTable } from '../src/api/schema-table.ts'
import type { Descriptions } from '../src/api/schema-table.ts'

type Json = Record<string, unknown>
interface Document {
  readonly definitions: Readonly<Record<string, Json>>
  readonly paths: Readonly<Record<string, Json>>
}

export interface Findings {
  /** Where we differ and should not. */
  readonly differences: string[]
  readonly types: number
  readonly fields: number
  readonly paths: number
}

/** Facts compared of each field and type. */
const FACTS = ['type', 'format', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys', 'x-kubernetes-map-type', 'x-kubernetes-patch-merge-key', 'x-kubernetes-patch-strategy']

/** Compares every type that the resources we serve need, and every path of theirs; with `descriptions` also the words for types and fields. */
export function compareWith(oracle: Document, descriptions: Descriptions = {}): Findings {
  const ours = openApiV2(RESOURCES, '', descriptions) as unknown as Document
  const words = Object.keys(descriptions).length > 0
  const differences: string[] = []
  const newer = new Map(factLines(NEWER_FACTS).map(([type, ...fields]) => [type, fields]))
  const shortName = new Map(Object.entries(schemaTable()).map(([name, schema]) => [schema['x-name'], name]))
  let fields = 0
  for (const [name, mine] of Object.entries(ours.definitions)) {
    const theirs = oracle.definitions[name]
    if (theirs === undefined) {
      differences.push(`type ${name}: not published under this name`)
      continue
    }
    compareFacts(name, mine, theirs, differences)
    compareRequired(name, mine, theirs, differences)
    if (words) compareWords(name, mine, theirs, differences)
    const [a, b] = [propertiesOf(mine), propertiesOf(theirs)]
    const skipped = newer.get(shortName.get(name) ?? '') ?? []
    for (const field of new Set([...Object.keys(a), ...Object.keys(b)])) {
      fields++
      if (skipped.includes(field)) continue
      if (a[field] === undefined) differences.push(`${name}.${field}: published, but not ours`)
      else if (b[field] === undefined) differences.push(`${name}.${field}: ours, but not published`)
      else {
        compareField(`${name}.${field}`, a[field], b[field], differences)
        if (words) compareWords(`${name}.${field}`, a[field], b[field], differences)
      }
    }
  }
  for (const [path, mine] of Object.entries(ours.paths)) comparePath(path, mine, oracle.paths[path], differences)
  return { differences, types: Object.keys(ours.definitions).length, fields, paths: Object.keys(ours.paths).length }
}

function propertiesOf(schema: Json): Record<string, Json> {
  return (schema.properties ?? {}) as Record<string, Json>
}

function compareField(where: string, mine: Json, theirs: Json, out: string[]): void {
  compareFacts(where, mine, theirs, out)
  if (mine.$ref !== theirs.$ref) out.push(`${where}: $ref is ${String(mine.$ref)}, published ${String(theirs.$ref)}`)
  for (const inner of ['items', 'additionalProperties']) {
    if (mine[inner] !== undefined && theirs[inner] !== undefined) compareField(`${where}.${inner}`, mine[inner] as Json, theirs[inner] as Json, out)
    else if (mine[inner] !== theirs[inner]) out.push(`${where}: ${inner} is ${JSON.stringify(mine[inner])}, published ${JSON.stringify(theirs[inner])}`)
  }
}

/** Where nothing is published we may say something. A Quantity is written about at length elsewhere. */
function compareWords(where: string, mine: Json, theirs: Json, out: string[]): void {
  if (theirs.description === undefined || where.endsWith('.Quantity') || mine.description === theirs.description) return
  out.push(`${where}: described as ${JSON.stringify(mine.description)}, published ${JSON.stringify(theirs.description)}`)
}

function compareFacts(where: string, mine: Json, theirs: Json, out: string[]): void {
  for (const fact of FACTS) {
    const [a, b] = [JSON.stringify(mine[fact]), JSON.stringify(theirs[fact])]
    if (a !== b) out.push(`${where}: ${fact} is ${a}, published ${b}`)
  }
}

function compareRequired(where: string, mine: Json, theirs: Json, out: string[]): void {
  const list = (s: Json): string => [...((s.required ?? []) as string[])].sort().join(' ')
  if (list(mine) !== list(theirs)) out.push(`${where}: required is "${list(mine)}", published "${list(theirs)}"`)
}

function comparePath(path: string, mine: Json, theirs: Json | undefined, out: string[]): void {
  if (theirs === undefined) {
    out.push(`path ${path}: not published`)
    return
  }
  for (const method of ['get', 'put', 'post', 'patch', 'delete']) {
    const [a, b] = [mine[method] as Json | undefined, theirs[method] as Json | undefined]
    if ((a === undefined) !== (b === undefined)) out.push(`path ${path}: ${method} is ${a ? 'ours only' : 'published only'}`)
    if (!a || !b) continue
    for (const fact of ['operationId', 'x-kubernetes-action', 'x-kubernetes-group-version-kind']) {
      const sorted = (v: unknown): string => JSON.stringify(v !== null && typeof v === 'object' ? Object.entries(v).sort() : v)
      if (sorted(a[fact]) !== sorted(b[fact])) out.push(`path ${path}: ${method} ${fact} is ${JSON.stringify(a[fact])}, published ${JSON.stringify(b[fact])}`)
    }
  }
}

/** Reads a document, gunzipping it when its name ends in `.gz`. */
export async function readDocument(path: string): Promise<Document> {
  const bytes = await readFile(path)
  return JSON.parse((path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')) as Document
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = process.argv[2] ?? process.env.SKERRY_OPENAPI_ORACLE
  if (path === undefined) {
    console.error('check-openapi: name a published OpenAPI document as argument or in SKERRY_OPENAPI_ORACLE')
    process.exitCode = 2
  } else {
    const { differences, types, fields, paths } = compareWith(await readDocument(path), await loadDescriptions())
    for (const d of differences) console.log(d)
    console.log(`${types} types, ${fields} fields, ${paths} paths compared: ${differences.length} differences`)
    process.exitCode = differences.length > 0 ? 1 : 0
  }
}
