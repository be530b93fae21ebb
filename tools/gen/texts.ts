/**
 * Reads the published words for types, fields and enumerations from the packages `kubernetes-models` and
 * `@kubernetes-models/apimachinery` (devDependencies), which carry them as OpenAPI version 3 does: also for fields that refer to another
 * type, with line breaks, and with the values a field may have. Used by `tools/gen-schemas.ts` only.
 */
import { existsSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

export interface TypeTexts {
  readonly about: string | undefined
  readonly fields: ReadonlyMap<string, string>
  /** The values of a field (or of the items of a list) that has only a few. */
  readonly enums: ReadonlyMap<string, readonly string[]>
}

const PACKAGES = ['kubernetes-models', '@kubernetes-models/apimachinery']

/** Manifests of the packages: what the result depends on. */
export function textSources(): string[] {
  const require = createRequire(import.meta.url)
  return PACKAGES.map((name) => {
    const found = require.resolve.paths(name)?.map((at) => join(at, name, 'package.json')) ?? []
    return found.find((file) => existsSync(file)) ?? join(name, 'package.json')
  })
}

/** Texts by published name in the packages' spelling: `IoK8sApiCoreV1Pod` for `io.k8s.api.core.v1.Pod`. */
export async function readTexts(): Promise<Map<string, TypeTexts>> {
  const out = new Map<string, TypeTexts>()
  for (const manifest of textSources()) {
    const root = dirname(manifest)
    for (const file of await readdir(root, { recursive: true })) {
      if (!file.endsWith('.d.ts')) continue
      const text = await readFile(join(root, file), 'utf8')
      const start = text.search(/export (declare )?(interface|type|class)/)
      for (const m of text.matchAll(/as I(Io\w+)/g)) if (!out.has(m[1] as string)) out.set(m[1] as string, typeTexts(text, start))
    }
  }
  return out
}

/** The packages' spelling of a published name. */
export function spelling(published: string): string {
  return published.split(/[.-]/).map((part) => part.charAt(0).toUpperCase() + part.slice(1)).join('')
}

function typeTexts(text: string, start: number): TypeTexts {
  const head = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*$/.exec(text.slice(0, start))
  const fields = new Map<string, string>()
  const enums = new Map<string, readonly string[]>()
  for (const [, doc, name, type] of text.slice(start).matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*"([^"]+)"\??: ([^;]*);/g)) {
    fields.set(name as string, clean(doc as string))
    const values = /^(?:Array<)?((?:"[^"]*"(?: \| )?)+)>?$/.exec(type as string)
    if (values) enums.set(name as string, [...(values[1] as string).matchAll(/"([^"]*)"/g)].map((v) => v[1] as string))
  }
  return { about: head ? clean(head[1] as string) : undefined, fields, enums }
}

function clean(doc: string): string {
  return doc
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, ''))
    .join('\n')
    .replace(/^\s*\n/, '')
    .replace(/\n@deprecated[\s\S]*$/, '')
    .trimEnd()
    .replaceAll(/\\([*/])/g, '$1')
}
